// What javascript/editors/curve.js uses of the WebUI's page and of the panel's script.
const gradioApp = () => document;
const updateInput = (field) => field.dispatchEvent(new Event("input", {bubbles: true}));
const ctrlgen = {
  started: () => null,
  words: (text) => text,
  label(element, text) {
    if (element && element.textContent !== text) element.textContent = text;
  },
};
