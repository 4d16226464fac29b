// What gradio 3.41 leaves out for the keyboard and for screen readers, in the panel's own accordions and sliders.
const ctrlgenAccess = {
  // An accordion's bar is reached with Tab, opened with Enter or Space, and says whether it is open.
  bars() {
    gradioApp().querySelectorAll(".ctrlgen .label-wrap").forEach((bar) => {
      const open = String(bar.classList.contains("open"));
      if (bar.getAttribute("aria-expanded") === open) return;
      bar.setAttribute("aria-expanded", open);
      bar.setAttribute("role", "button");
      bar.tabIndex = 0;
    });
  },

  press(event) {
    const bar = event.target;
    if (!bar.matches?.(".ctrlgen .label-wrap") || !["Enter", " "].includes(event.key)) return;
    event.preventDefault();
    bar.click();
  },

  // A slider's number has the name of the slider.
  numbers() {
    gradioApp().querySelectorAll(".ctrlgen .head > input[type=number]").forEach((input) => {
      const label = input.parentElement.querySelector("label");
      const name = label && label.textContent.trim();
      if (name && input.getAttribute("aria-label") !== name) input.setAttribute("aria-label", name);
    });
  },

  update() {
    ctrlgenAccess.bars();
    ctrlgenAccess.numbers();
  },
};

onAfterUiUpdate(ctrlgenAccess.update);
document.addEventListener("keydown", ctrlgenAccess.press);
