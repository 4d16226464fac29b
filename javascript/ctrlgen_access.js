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

  // A tab of which all fields are hidden, because the control has none of them, is hidden.
  groups() {
    gradioApp().querySelectorAll(".ctrlgen-groups").forEach((box) => {
      const parts = [...box.children];
      const buttons = parts.filter((part) => part.classList.contains("tab-nav")).flatMap((nav) => [...nav.children]);
      parts.filter((part) => part.classList.contains("tabitem")).forEach((area, i) => {
        const isHidden = (field) => area.contains(field.closest(".hide, .hidden"));
        const empty = [...area.querySelectorAll(".block")].every(isHidden);
        if (buttons[i] && buttons[i].hidden !== empty) buttons[i].hidden = empty;
      });
      const [first] = buttons.filter((button) => !button.hidden);
      if (first && buttons.some((button) => button.hidden && button.classList.contains("selected"))) first.click();
    });
  },

  update() {
    ctrlgenAccess.bars();
    ctrlgenAccess.groups();
    ctrlgenAccess.numbers();
  },
};

onAfterUiUpdate(ctrlgenAccess.update);
document.addEventListener("keydown", ctrlgenAccess.press);
