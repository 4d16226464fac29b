// The parameters of a unit's preprocessor and control family: HTML of forms/param_html.py. Their values, as far as
// they differ from the defaults, are a JSON text in the unit's hidden field (forms/param_values.py).
const ctrlgenParams = {
  fields: (root) => [...root.querySelectorAll(".ctrlgen-param")],
  inputs: (field) => [...field.querySelectorAll("input, select")],
  store: (unit) => unit.querySelector("[id$=_param_values] :is(textarea, input)"),

  values(unit) {
    try {
      return {...JSON.parse(ctrlgenParams.store(unit).value || "{}")};
    } catch {
      return {}; // Python says what is wrong with it
    }
  },

  set(field, value, except) {
    ctrlgenParams.inputs(field).filter((input) => input !== except).forEach((input) => {
      if (input.type === "checkbox") input.checked = value;
      else input.value = value;
    });
  },

  // What an input says; undefined for a number that is not typed to its end.
  said(input) {
    if (input.type === "checkbox") return input.checked;
    if (!/number|range/.test(input.type)) return input.value;
    const number = parseFloat(input.value);
    return Number.isFinite(number) ? number : undefined;
  },

  heard({target}) {
    const field = target.closest?.(".ctrlgen-param");
    const unit = field?.closest(".ctrlgen-unit"), value = field && ctrlgenParams.said(target);
    if (!unit || value === undefined) return;
    ctrlgenParams.set(field, value, target);
    const {[field.dataset.name]: old, ...others} = ctrlgenParams.values(unit);
    const isDefault = value === JSON.parse(field.dataset.default);
    const values = isDefault ? others : {...others, [field.dataset.name]: value};
    const store = ctrlgenParams.store(unit), text = Object.keys(values).length ? JSON.stringify(values) : "";
    if (store.value === text) return;
    store.value = text;
    updateInput(store);
  },

  // A number that was left half-typed or empty becomes the one that counts.
  left({target}) {
    const unit = target.matches?.(".ctrlgen-param input[type=number]") && target.closest(".ctrlgen-unit");
    if (unit) ctrlgenParams.show(unit.id);
  },

  // Show the values of the hidden field.
  show(id) {
    const unit = gradioApp().querySelector(`#${id}`), values = ctrlgenParams.values(unit);
    ctrlgenParams.fields(unit).forEach((field) => {
      const {name} = field.dataset, value = name in values ? values[name] : JSON.parse(field.dataset.default);
      ctrlgenParams.set(field, value, document.activeElement);
    });
  },
};

document.addEventListener("input", ctrlgenParams.heard);
document.addEventListener("focusout", (event) => setTimeout(() => ctrlgenParams.left(event), 0));
