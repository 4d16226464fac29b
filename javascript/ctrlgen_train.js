// The tab "CtrlGen Train": explanations beside the pointer, and looking at trainings while one runs and the tab is open.
const ctrlgenTrain = {
  pause: 2000, // milliseconds between two looks
  timer: 0,

  part: (name) => gradioApp().querySelector(`#ctrlgen_train_${name}`),
  isOpen: () => Boolean(ctrlgenTrain.part("panel")?.offsetParent),
  isLive: () => ctrlgenTrain.part("state")?.querySelector("[data-live]")?.dataset.live === "1",

  look() {
    clearTimeout(ctrlgenTrain.timer);
    if (ctrlgenTrain.isOpen()) ctrlgenTrain.part("look")?.click();
  },

  // Called after each look: look again if there is something to see.
  again() {
    clearTimeout(ctrlgenTrain.timer);
    if (ctrlgenTrain.isOpen() && ctrlgenTrain.isLive()) ctrlgenTrain.timer = setTimeout(ctrlgenTrain.look, ctrlgenTrain.pause);
  },

  explain() {
    const place = gradioApp().querySelector(".ctrlgen-train-tips");
    if (!place) return;
    Object.entries(JSON.parse(place.dataset.texts)).forEach(([name, text]) => {
      const field = ctrlgenTrain.part(name);
      if (field) field.title = ctrlgenWords.of(text);
    });
  },
};

onUiLoaded(ctrlgenTrain.explain);
onUiTabChange(() => setTimeout(ctrlgenTrain.look, 50)); // the tab is shown after the event
