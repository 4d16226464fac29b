// The concepts of a blend: those that are used are shown, and others one by one.
const ctrlgenConcepts = {
  asked: {}, // how many are shown at least, by tab
  least: 2,

  all: (tab) => [...gradioApp().querySelectorAll(`#ctrlgen_${tab}_blend .ctrlgen-concept`)],
  box: (concept) => concept.querySelector("[id$=_used] input[type=checkbox]"),

  shown(tab) {
    const concepts = ctrlgenConcepts.all(tab);
    const used = concepts.map((concept) => Boolean(ctrlgenConcepts.box(concept)?.checked)).lastIndexOf(true) + 1;
    return Math.max(ctrlgenConcepts.least, used, ctrlgenConcepts.asked[tab] || 0);
  },

  // Show the next concept, and use it.
  add(tab) {
    const place = ctrlgenConcepts.shown(tab);
    const next = ctrlgenConcepts.all(tab)[place];
    if (!next) return;
    ctrlgenConcepts.asked[tab] = place + 1;
    ctrlgenConcepts.update();
    const box = ctrlgenConcepts.box(next);
    if (!box.checked) box.click();
    next.querySelector("[id$=_prompt] textarea, [id$=_prompt] input")?.focus();
  },

  update() {
    ctrlgen.tabs.forEach((tab) => {
      const shown = ctrlgenConcepts.shown(tab);
      const concepts = ctrlgenConcepts.all(tab);
      concepts.forEach((concept, place) => {
        const hidden = place >= shown;
        if (concept.classList.contains("ctrlgen-hidden") !== hidden) concept.classList.toggle("ctrlgen-hidden", hidden);
      });
      const button = gradioApp().querySelector(`#ctrlgen_${tab}_concept_add`);
      if (button) button.disabled = shown >= concepts.length;
    });
  },
};

ctrlgen.started(ctrlgenConcepts.update);
