// The curves of the panel's editor (javascript/editors/curve.js) over the request of this page: the text of a schedule
// is what counts there, too, and the dots are the values of lib_ctrlgen/request/schedule.py.
import {bind, make} from "./fields.js";
import {get, redo, set, undo} from "./state.js";

Object.assign(ctrlgenCurve.size, {height: 220, left: 48, bottom: 30});
ctrlgenCurve.presets = ctrlgenCurve.presets.filter((name) => name !== "From the last run");
ctrlgenCurve.tracks = (area) => area.tracks();
ctrlgenCurve.steps = () => Math.max(1, Math.min(1000, Number(get("$.steps") ?? 20) || 1));
ctrlgenCurve.back = (area, from) => (from === area.redone ? redo() : undo());

const share = (value, fallback) => (Number.isFinite(Number(value ?? fallback)) ? Number(value ?? fallback) : fallback);
const plain = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

// The curve of a schedule at a path. `unit` is the path of its unit, whose window it has.
export function curve(path, label, {fallback = 1, unit = "", kind = "weight"} = {}) {
  const area = make("div", {class: "ctrlgen-curves"});
  area.tracks = () => [{
    kind,
    label,
    id: path,
    unit: unit ? 0 : undefined,
    from: unit ? share(get(`${unit}.guidance_start`), 0) : 0,
    to: unit ? share(get(`${unit}.guidance_end`), 1) : 1,
    reuse: unit ? share(get(`${unit}.reuse`), 1) : 1,
    text: String(get(path) ?? fallback),
    put: (text) => set(path, plain(text)),
  }];
  ctrlgenCurve.build(area);
  bind(() => queueMicrotask(() => ctrlgenCurve.refresh(area)));
  return area;
}

// The curves of a schedule's text, or null for one that cannot be read.
function read(text) {
  try {
    return ctrlgenSchedule.read(String(text));
  } catch {
    return null;
  }
}

// A slider for the highest weight of a schedule, which scales the whole curve.
export function height(path, label, {fallback = 1, max = 2} = {}) {
  const range = make("input", {type: "range", min: 0, max, step: 0.05, "aria-label": label});
  const output = make("output", {});
  const single = () => {
    const curves = read(get(path) ?? fallback);
    return curves && curves.length === 1 ? curves[0] : null;
  };
  const highest = (found) => Math.max(...found.frames.map((frame) => frame.value));
  let shape = null; // the curve when the slider was taken, so that one at zero can come back
  range.addEventListener("input", () => {
    shape = shape || single();
    if (!shape) return;
    const now = highest(shape);
    const scaled = (value) => (now > 0 ? ctrlgenCurve.round(value * (Number(range.value) / now), 3) : Number(range.value));
    const frames = shape.frames.map((frame) => ({...frame, value: scaled(frame.value)}));
    set(path, plain(ctrlgenSchedule.write({...shape, frames})));
  });
  range.addEventListener("change", () => { shape = null; });
  bind(() => {
    const found = single();
    range.disabled = !found;
    if (found) range.value = highest(found);
    output.textContent = found ? ctrlgenCurve.round(highest(found), 2) : "";
  });
  return make("label", {class: "field slider"}, make("span", {}, label), output, range);
}
