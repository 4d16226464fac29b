// Elements, and fields that are bound to a path of the request.
import {get, set} from "./state.js";

const bound = []; // functions that show the request's values in the fields

// An element with attributes, listeners (`onclick`) and children; texts are never read as HTML.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  });
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const button = (text, onclick, attributes = {}) => make("button", {type: "button", onclick, ...attributes}, text);

// A number where a text is one, else the text, which the server then judges.
export const numeric = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

export function bind(show) {
  bound.push(show);
  show();
}

export const forget = () => bound.splice(0);
export const showAll = () => bound.forEach((show) => show());

const labelled = (text, input, more = {}) => make("label", {class: "field", ...more}, make("span", {}, text), input);

// Show a value without disturbing the one who types it.
function put(input, value) {
  const text = String(value ?? "");
  if (input.value !== text && !(input === document.activeElement && numeric(input.value) === value)) input.value = text;
}

// Where a field's value is: at its path, else `fallback`.
const valueOf = (path, fallback) => get(path) ?? fallback;

export function number(path, label, {fallback, min, max, step = 1, write = set} = {}) {
  const input = make("input", {"type": "number", min, max, step, "data-path": path});
  input.addEventListener("input", () => write(path, input.value === "" ? undefined : Number(input.value)));
  bind(() => put(input, valueOf(path, fallback)));
  return labelled(label, input);
}

// A number as a slider with its value in a field beside it.
export function slider(path, label, {fallback, min, max, step}) {
  const range = make("input", {type: "range", min, max, step, "aria-label": label});
  range.addEventListener("input", () => set(path, Number(range.value)));
  bind(() => { range.value = Number(valueOf(path, fallback)); });
  const exact = number(path, label, {fallback, step});
  exact.classList.add("slider");
  exact.append(range);
  return exact;
}

// A line of text; with `schedule`, a number is written as a number.
export function line(path, label, {fallback = "", schedule = false, area = false} = {}) {
  const input = make(area ? "textarea" : "input", {
    "data-path": path, "rows": area ? 2 : undefined, "spellcheck": schedule ? "false" : undefined,
  });
  input.addEventListener("input", () => set(path, schedule ? (input.value.trim() ? numeric(input.value) : undefined) : input.value));
  bind(() => put(input, valueOf(path, fallback)));
  return labelled(label, input);
}

// One of some values; `options` are values, or pairs of value and text. A value that is none of them is shown too.
export function choice(path, label, options, {fallback, read, write = (value) => set(path, value)} = {}) {
  const pairs = options.map((each) => (Array.isArray(each) ? each : [each, each]));
  const select = make("select", {"data-path": path}, ...pairs.map(([value, text]) => new Option(text, value)));
  select.addEventListener("change", () => write(select.value));
  bind(() => {
    const value = String(read ? read() : valueOf(path, fallback));
    if (![...select.options].some((each) => each.value === value)) select.append(new Option(value.replace(/^model:/, ""), value));
    select.value = value;
  });
  return labelled(label, select);
}

export function check(path, label, {fallback = false, inverse = false} = {}) {
  const input = make("input", {"type": "checkbox", "data-path": path});
  input.addEventListener("change", () => set(path, input.checked !== inverse));
  bind(() => { input.checked = Boolean(valueOf(path, fallback)) !== inverse; });
  return make("label", {class: "check"}, input, make("span", {}, label));
}

// The dial of a parameter of a preprocessor or a control.
export function param(path, {name, label, kind, default: fallback, minimum, maximum, step, choices, info}) {
  const own = `${path}.${name}`;
  const bounded = minimum !== null && maximum !== null;
  const limits = {fallback, min: minimum, max: maximum, step: step ?? (kind === "int" ? 1 : 0.01)};
  const numbers = bounded ? slider : number;
  const made = kind === "bool" ? check(own, label, {fallback})
    : kind === "choice" ? choice(own, label, choices, {fallback})
      : kind === "text" ? line(own, label, {fallback}) : numbers(own, label, limits);
  if (info) made.title = info;
  return made;
}
