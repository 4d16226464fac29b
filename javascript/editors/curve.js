// The curves of weights over the steps. The text of a field is what counts: an edit writes it when the pointer is
// released, and what is typed or pasted is drawn. An area (`.ctrlgen-curves`) shows the curves of one unit, or of
// the whole panel (`data-unit="all"`).
const ctrlgenCurve = {
  size: {width: 640, height: 180, left: 36, right: 10, top: 10, bottom: 22},
  colors: ["#f97316", "#0ea5e9", "#22c55e", "#a855f7", "#eab308", "#ec4899", "#14b8a6", "#f43f5e"],
  presets: [...Object.keys(ctrlgenSchedule.presets), "From the last run"],
  nearest: 0.001, // progress between two points
  most: 100, // points of a curve
  reach: 22, // pixels of the screen from a point within which a finger takes it

  find: (selector) => gradioApp().querySelector(selector),
  field: (id) => ctrlgenCurve.find(`#${id} textarea, #${id} input[type=text]`),
  typed(id) {
    const field = ctrlgenCurve.field(id);
    return field ? field.value.trim() : "";
  },
  round: (value, digits) => Number(value.toFixed(digits)),

  set(id, text) {
    const field = ctrlgenCurve.field(id);
    if (!field || field.value === text) return;
    field.value = text;
    updateInput(field);
  },

  // The steps of a pass.
  steps(tab, hires) {
    const first = ctrlgen.steps(tab, [])[0];
    return Math.max(1, hires ? ctrlgen.number(`${tab}_hires_steps`, 0) || first : first);
  },

  hires: (tab) => Boolean(ctrlgenCurve.find(`#${tab}_hr-checkbox input:checked, #${tab}_enable_hr input:checked`)),

  unit(tab, index) {
    const id = (name) => `ctrlgen_${tab}_unit${index}_${name}`;
    const label = `Unit ${index}`;
    const shared = {
      kind: "weight",
      unit: Number(index),
      from: ctrlgen.number(id("guidance_start"), 0),
      to: ctrlgen.number(id("guidance_end"), 1),
      reuse: ctrlgen.number(id("reuse"), 1),
    };
    const slider = ctrlgen.number(id("weight"), 1);
    const weight = {
      ...shared,
      id: id("weight_schedule"),
      name: "weight",
      label,
      text: ctrlgenCurve.typed(id("weight_schedule")) || String(slider),
      put(text) {
        const plain = text !== "" && Number(text) >= 0 && Number(text) <= 2;
        if (plain) ctrlgen.put(id("weight"), Number(text));
        ctrlgenCurve.set(id("weight_schedule"), plain ? "" : text);
      },
    };
    if (!ctrlgenCurve.hires(tab) || !ctrlgenCurve.field(id("hires"))) return [weight];
    const own = ctrlgenCurve.typed(id("hires"));
    const second = {
      ...shared,
      id: id("hires"),
      name: "hires",
      label: `${label}, hires pass`,
      hires: true,
      text: own || weight.text,
      put: (text) => ctrlgenCurve.set(id("hires"), text),
    };
    return [weight, second];
  },

  whole(tab) {
    const id = `ctrlgen_${tab}_cfg_scale`;
    const range = {from: 0, to: 1, reuse: 1};
    const scale = {
      ...range,
      kind: "guidance",
      id,
      label: "Guidance",
      text: ctrlgenCurve.typed(id) || String(ctrlgen.number(`${tab}_cfg_scale`, 7)),
      put: (text) => ctrlgenCurve.set(id, text),
    };
    return [scale, ...ctrlgenCurve.named(tab).map((each) => ({...range, ...each}))];
  },

  // The named weights of the prompt: `glow=1>0.5; sky=1`.
  named(tab) {
    const id = `ctrlgen_${tab}_prompt_weights`;
    const pairs = ctrlgenCurve.typed(id).split(";").map((part) => part.split("=")).filter((pair) => pair[1]);
    return pairs.map(([name, text], place) => ({
      kind: "weight",
      id: `${id}:${name.trim()}`,
      label: `(… :${name.trim()})`,
      text: text.trim(),
      put(changed) {
        const all = pairs.map(([each, value], i) => `${each.trim()}=${i === place ? changed : value.trim()}`);
        ctrlgenCurve.set(id, all.join("; "));
      },
    }));
  },

  tracks(area) {
    const {tab, unit} = area.dataset;
    if (unit !== "all") return ctrlgenCurve.unit(tab, unit);
    const tabs = [...gradioApp().querySelectorAll(`#ctrlgen_${tab}_panel .ctrlgen-enabled input[type=checkbox]`)];
    const units = tabs.flatMap((box, index) => (box.checked ? ctrlgenCurve.unit(tab, index) : []));
    return [...units, ...ctrlgenCurve.whole(tab)];
  },

  // What is drawn of a track: its curves, or the error of its text.
  model(area, track, place) {
    const steps = ctrlgenCurve.steps(area.dataset.tab, track.hires);
    const made = {...track, steps, color: ctrlgenCurve.colors[place % ctrlgenCurve.colors.length]};
    try {
      made.curves = ctrlgenSchedule.read(track.text);
    } catch (error) {
      return {...made, curves: [], error: error.message};
    }
    return made;
  },

  // The range of values on the plot for a kind of track.
  range(models, kind) {
    const values = models.filter((each) => each.kind === kind).flatMap((each) => each.curves)
      .flatMap((curve) => curve.frames).map((frame) => frame.value);
    const least = kind === "guidance" ? 15 : 1.5;
    const high = Math.max(least, ...values);
    return [Math.min(0, ...values), high === least ? high : ctrlgenCurve.round(high * 1.1, 2)];
  },

  values(model) {
    const inside = (step) => {
      const at = step / model.steps;
      return at >= model.from && (at < model.to || model.to >= 1);
    };
    return ctrlgenSchedule.sample(model.curves, model.steps).map((value, step) => (inside(step) ? value : 0));
  },

  note(model) {
    if (!model) return "Switch a unit on, or write a schedule, to see its curve.";
    if (model.error) return model.error;
    const values = ctrlgenCurve.values(model);
    const acting = values.filter((value) => value !== 0).length;
    const calls = ctrlgenSchedule.calls(values, model.reuse);
    const cost = model.unit === undefined ? "" : `, ${calls} calls of the network`;
    const edit = model.curves.length > 1 ? " A product of curves is changed as text." : "";
    return `${model.label}: acts at ${acting} of ${model.steps} steps${cost}.${edit}`;
  },

  // Places on the plot.
  scale(area, kind) {
    const {width, height, left, right, top, bottom} = ctrlgenCurve.size;
    const [low, high] = ctrlgenCurve.range(area.models, kind);
    const [wide, tall] = [width - left - right, height - top - bottom];
    return {
      low,
      high,
      x: (progress) => left + progress * wide,
      y: (value) => top + ((high - value) / (high - low)) * tall,
      progress: (x) => Math.min(Math.max((x - left) / wide, 0), 1),
      value: (y) => Math.min(Math.max(high - ((y - top) / tall) * (high - low), low), high),
    };
  },

  made(name, attributes, text) {
    const part = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => part.setAttribute(key, value));
    if (text !== undefined) part.textContent = text;
    return part;
  },

  // Grid, labels and the shade outside of the window.
  ground(area, model) {
    const {width, height, left, right, top, bottom} = ctrlgenCurve.size;
    const {made} = ctrlgenCurve;
    const scale = ctrlgenCurve.scale(area, model.kind);
    const parts = [];
    const every = Math.ceil(model.steps / 60);
    const labelled = Math.ceil(model.steps / 10);
    for (let step = 0; step < model.steps; step += every) {
      const x = scale.x(step / model.steps);
      parts.push(made("line", {x1: x, x2: x, y1: top, y2: height - bottom, class: "grid"}));
      if (step % labelled === 0) parts.push(made("text", {x, y: height - 7, class: "step"}, step + 1));
    }
    [scale.low, (scale.low + scale.high) / 2, scale.high].forEach((value) => {
      const y = scale.y(value);
      parts.push(made("line", {x1: left, x2: width - right, y1: y, y2: y, class: "grid"}));
      parts.push(made("text", {x: left - 5, y: y + 4, class: "value"}, ctrlgenCurve.round(value, 2)));
    });
    [[0, model.from], [model.to, 1]].filter(([from, to]) => to > from).forEach(([from, to]) => {
      const [x, w] = [scale.x(from), scale.x(to) - scale.x(from)];
      parts.push(made("rect", {x, y: top, width: w, height: height - top - bottom, class: "outside"}));
    });
    return parts;
  },

  // A track's line, and a dot for every step of the run.
  line(area, model, active) {
    const {made} = ctrlgenCurve;
    const scale = ctrlgenCurve.scale(area, model.kind);
    const group = made("g", {class: active ? "track active" : "track", stroke: model.color, fill: model.color});
    if (!model.curves.length) return group;
    const count = 240;
    const points = Array.from({length: count + 1}, (_, i) => i / count);
    model.curves.forEach((curve) => curve.frames.forEach((frame) => points.push(frame.at, frame.at - 1e-6)));
    const path = points.filter((at) => at >= 0).sort((a, b) => a - b)
      .map((at) => `${scale.x(at).toFixed(2)},${scale.y(ctrlgenSchedule.at(model.curves, at)).toFixed(2)}`);
    const dashes = model.hires ? {"stroke-dasharray": "6 4"} : {};
    group.append(made("polyline", {points: path.join(" "), fill: "none", ...dashes}));
    if (!active) return group;
    ctrlgenCurve.values(model).forEach((value, step) => {
      group.append(made("circle", {cx: scale.x(step / model.steps), cy: scale.y(value), r: 2.5, class: "dot"}));
    });
    return group;
  },

  // A point; `part` is the one that it was before.
  handle(area, model, frame, index, part = ctrlgenCurve.made("circle", {})) {
    const scale = ctrlgenCurve.scale(area, model.kind);
    const percent = Math.round(frame.at * 100);
    const step = Math.min(model.steps, Math.floor(frame.at * model.steps + 1e-9) + 1);
    const shown = `Point ${index + 1} of ${model.label}: ${frame.value} at ${percent} %, step ${step}, then ${frame.easing}`;
    const attributes = {
      "cx": scale.x(frame.at),
      "cy": scale.y(frame.value),
      "r": 6,
      "class": "point",
      "fill": model.color,
      "tabindex": 0,
      "role": "slider",
      "aria-label": ctrlgen.words(shown),
      "aria-valuenow": frame.value,
      "aria-valuemin": scale.low,
      "aria-valuemax": scale.high,
      "data-index": index,
    };
    Object.entries(attributes).forEach(([key, value]) => part.setAttribute(key, value));
    part.replaceChildren(ctrlgenCurve.made("title", {}, shown));
    return part;
  },

  active: (area) => area.models.find((model) => model.id === area.chosen) || area.models[0],
  editable: (model) => Boolean(model && !model.error && model.curves.length === 1),

  // Draw what a drag changes: the line and its point, or everything if that is not enough.
  repaint(area) {
    area.frame = 0;
    const model = ctrlgenCurve.active(area);
    const points = area.querySelectorAll(".point");
    const {frames} = model.curves[0];
    const range = String(ctrlgenCurve.range(area.models, model.kind));
    if (points.length !== frames.length || area.range !== range) {
      ctrlgenCurve.paint(area);
      return;
    }
    area.querySelector(".track.active").replaceWith(ctrlgenCurve.line(area, model, true));
    ctrlgenCurve.handle(area, model, frames[area.point], area.point, points[area.point]);
    ctrlgenCurve.say(area, model);
  },

  paint(area) {
    const svg = area.querySelector("svg");
    const model = ctrlgenCurve.active(area);
    const focused = svg.contains(document.activeElement) ? document.activeElement.dataset.index : undefined;
    const parts = model ? ctrlgenCurve.ground(area, model) : [];
    area.models.filter((each) => each !== model).forEach((each) => parts.push(ctrlgenCurve.line(area, each, false)));
    if (model) parts.push(ctrlgenCurve.line(area, model, true));
    if (ctrlgenCurve.editable(model)) {
      model.curves[0].frames.forEach((frame, i) => parts.push(ctrlgenCurve.handle(area, model, frame, i)));
    }
    svg.replaceChildren(...parts);
    svg.classList.toggle("ctrlgen-unreadable", Boolean(model && model.error));
    area.range = model && String(ctrlgenCurve.range(area.models, model.kind));
    ctrlgenCurve.say(area, model);
    if (focused !== undefined) ctrlgenCurve.focus(area, Number(focused));
    ctrlgenCurve.tools(area, model);
  },

  say(area, model) {
    const note = area.querySelector(".ctrlgen-note");
    ctrlgen.label(note, ctrlgenCurve.note(model));
    note.classList.toggle("ctrlgen-error", Boolean(model && model.error));
  },

  focus(area, index) {
    const handles = area.querySelectorAll(".point");
    if (handles.length) handles[Math.min(Math.max(index, 0), handles.length - 1)].focus({preventScroll: true});
  },

  // The chooser of the curve and the state of the tools.
  tools(area, model) {
    const select = area.querySelector(".ctrlgen-track");
    const options = area.models.map((each) => `${each.id}\n${each.label}`).join("\n");
    if (select.dataset.shown !== options) {
      select.dataset.shown = options;
      select.replaceChildren(...area.models.map((each) => new Option(ctrlgen.words(each.label), each.id)));
    }
    if (model) select.value = model.id;
    select.classList.toggle("ctrlgen-hidden", area.models.length < 2);
    const frame = ctrlgenCurve.editable(model) && model.curves[0].frames[area.point];
    const easing = area.querySelector(".ctrlgen-easing");
    easing.disabled = !frame;
    easing.value = frame ? frame.easing : "";
    area.querySelector(".ctrlgen-remove").disabled = !frame || model.curves[0].frames.length < 2;
    area.querySelector(".ctrlgen-undo").disabled = !area.undone.length;
    area.querySelector(".ctrlgen-redo").disabled = !area.redone.length;
  },

  // Read the fields again if one has changed. Nothing is drawn anew during a drag.
  refresh(area) {
    if (area.dragging || !area.isConnected) return;
    const models = ctrlgenCurve.tracks(area).map((track, place) => ctrlgenCurve.model(area, track, place));
    const shown = JSON.stringify(models);
    if (area.shown === shown) return;
    area.shown = shown;
    area.models = models;
    ctrlgenCurve.paint(area);
  },

  // Write a track's text into its field, and remember the one before.
  commit(area, model, text) {
    if (text === model.text) return;
    area.undone.push({id: model.id, text: model.text});
    area.redone = [];
    model.put(text);
    ctrlgenCurve.refresh(area);
  },

  // Write what was pasted from another tool in CtrlGen's form. A track without a text may show another one's, so the
  // tracks are read again for each of them.
  convert(area) {
    ctrlgenCurve.tracks(area).forEach((_, place) => {
      const track = ctrlgenCurve.tracks(area)[place];
      const text = ctrlgenSchedule.pasted(track.text, ctrlgenCurve.steps(area.dataset.tab, track.hires));
      ctrlgenCurve.commit(area, track, text);
    });
  },

  back(area, from, to) {
    const last = from.pop();
    const model = last && area.models.find((each) => each.id === last.id);
    if (!model) return;
    to.push({id: model.id, text: model.text});
    area.chosen = model.id;
    model.put(last.text);
    ctrlgenCurve.refresh(area);
  },

  // A copy of a curve with a point elsewhere: between its neighbours, on a step unless `free`.
  moved(model, index, at, value, free) {
    const frames = model.curves[0].frames.map((frame) => ({...frame}));
    const digits = model.kind === "guidance" ? 1 : 2;
    const low = index > 0 ? frames[index - 1].at + ctrlgenCurve.nearest : 0;
    const high = index < frames.length - 1 ? frames[index + 1].at - ctrlgenCurve.nearest : 1;
    const snapped = free ? at : Math.round(at * model.steps) / model.steps;
    frames[index].at = ctrlgenCurve.round(Math.min(Math.max(snapped, low), high), 4);
    frames[index].value = ctrlgenCurve.round(value, digits);
    return {...model.curves[0], frames};
  },

  added(model, at, value) {
    const frames = [...model.curves[0].frames];
    if (frames.length >= ctrlgenCurve.most) return null;
    const snapped = ctrlgenCurve.round(Math.round(at * model.steps) / model.steps, 4);
    if (frames.some((frame) => Math.abs(frame.at - snapped) < ctrlgenCurve.nearest)) return null;
    frames.push({at: snapped, value: ctrlgenCurve.round(value, 2), easing: "linear"});
    frames.sort((a, b) => a.at - b.at);
    return {...model.curves[0], frames};
  },

  removed(model, index) {
    const frames = model.curves[0].frames.filter((_, i) => i !== index);
    if (frames.length === 1) frames[0] = {...frames[0], at: 0, easing: "linear"};
    return frames.length ? {...model.curves[0], frames} : null;
  },

  place(area, event) {
    const svg = area.querySelector("svg");
    const bounds = svg.getBoundingClientRect();
    const {width, height} = ctrlgenCurve.size;
    const scale = ctrlgenCurve.scale(area, ctrlgenCurve.active(area).kind);
    return {
      at: scale.progress(((event.clientX - bounds.left) / bounds.width) * width),
      value: scale.value(((event.clientY - bounds.top) / bounds.height) * height),
    };
  },

  // The point that a pointer takes. A finger covers more than a point: it takes the nearest one within reach.
  taken(area, event) {
    const own = event.target.closest(".point");
    if (own || event.pointerType === "mouse") return own;
    const far = (handle) => {
      const {left, top, width, height} = handle.getBoundingClientRect();
      return Math.hypot(left + width / 2 - event.clientX, top + height / 2 - event.clientY);
    };
    const near = [...area.querySelectorAll(".point")].map((handle) => [far(handle), handle])
      .filter(([distance]) => distance <= ctrlgenCurve.reach).sort(([one], [other]) => one - other);
    return near.length ? near[0][1] : null;
  },

  grab(area, event) {
    const model = ctrlgenCurve.active(area);
    if (!ctrlgenCurve.editable(model) || event.button > 0 || area.dragging) return;
    const start = ctrlgenCurve.place(area, event);
    const handle = ctrlgenCurve.taken(area, event);
    if (ctrlgenCurve.again(area, event, handle)) return;
    let curve = handle ? model.curves[0] : ctrlgenCurve.added(model, start.at, start.value);
    if (!curve) return;
    const index = handle ? Number(handle.dataset.index) : curve.frames.findIndex(
      (frame) => !model.curves[0].frames.some((each) => each.at === frame.at),
    );
    const before = {...curve.frames[index]};
    event.preventDefault();
    area.dragging = true;
    area.point = index;
    const show = (changed) => {
      curve = changed;
      area.models = area.models.map((each) => (each.id === model.id ? {...each, curves: [curve]} : each));
      if (!area.frame) area.frame = requestAnimationFrame(() => ctrlgenCurve.repaint(area));
    };
    show(curve);
    const still = event.pointerType === "mouse" ? 3 : 9; // pixels of the screen
    const follow = (move) => {
      if (move.pointerId !== event.pointerId) return; // another finger
      const moved = Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY);
      if (area.pressed && moved < still) return;
      area.pressed = null;
      const to = ctrlgenCurve.place(area, move);
      const [dx, dy] = [Math.abs(to.at - start.at), Math.abs(to.value - start.value)];
      const level = move.shiftKey && dx * 2 > dy;
      const upright = move.shiftKey && !level;
      const [at, value] = [upright ? before.at : to.at, level ? before.value : to.value];
      show(ctrlgenCurve.moved({...model, curves: [curve]}, index, at, value, move.altKey || upright));
    };
    const end = (last) => {
      if (last.pointerId !== undefined && last.pointerId !== event.pointerId) return;
      window.removeEventListener("pointermove", follow);
      ["pointerup", "pointercancel"].forEach((name) => window.removeEventListener(name, end));
      window.removeEventListener("keydown", escape, true);
      area.dragging = false;
      area.shown = "";
      if (last.type === "pointerup") ctrlgenCurve.commit(area, model, ctrlgenSchedule.write(curve));
      ctrlgenCurve.refresh(area);
      ctrlgenCurve.focus(area, index);
    };
    const escape = (key) => {
      if (key.key !== "Escape") return;
      key.stopPropagation();
      end({type: "pointercancel"});
    };
    window.addEventListener("pointermove", follow);
    ["pointerup", "pointercancel"].forEach((name) => window.addEventListener(name, end));
    window.addEventListener("keydown", escape, true);
  },

  // Remove a point at its second press: points are drawn anew after the first one, so there is no "dblclick".
  again(area, event, handle) {
    const index = handle && handle.dataset.index;
    const twice = Boolean(handle && area.pressed && area.pressed.index === index && event.timeStamp - area.pressed.time < 400);
    area.pressed = twice ? null : {index, time: event.timeStamp};
    if (twice) ctrlgenCurve.remove(area, Number(index));
    return twice;
  },

  remove(area, index) {
    const model = ctrlgenCurve.active(area);
    const curve = ctrlgenCurve.removed(model, index);
    if (curve) ctrlgenCurve.commit(area, model, ctrlgenSchedule.write(curve));
    ctrlgenCurve.focus(area, index);
  },

  key(area, event) {
    const command = event.ctrlKey || event.metaKey;
    if (command && ["z", "y"].includes(event.key.toLowerCase())) {
      const redo = event.key.toLowerCase() === "y" || event.shiftKey;
      ctrlgenCurve.back(area, ...(redo ? [area.redone, area.undone] : [area.undone, area.redone]));
      event.preventDefault();
      return;
    }
    const handle = event.target.closest(".point");
    const model = ctrlgenCurve.active(area);
    if (!handle || command || !ctrlgenCurve.editable(model)) return;
    const index = Number(handle.dataset.index);
    const frame = model.curves[0].frames[index];
    const unit = model.kind === "guidance" ? 0.1 : 0.01;
    const far = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, unit * far], ArrowDown: [0, -unit * far],
    };
    let curve = null;
    if (moves[event.key]) {
      const [steps, by] = moves[event.key];
      const at = steps ? (Math.round(frame.at * model.steps) + steps) / model.steps : frame.at;
      curve = ctrlgenCurve.moved(model, index, at, frame.value + by, true);
    } else if (event.key === "Insert" || event.key === "Enter") {
      const next = model.curves[0].frames[index + 1];
      const at = next ? (frame.at + next.at) / 2 : (frame.at + 1) / 2;
      curve = ctrlgenCurve.added(model, at, ctrlgenSchedule.at(model.curves, at));
    } else if (event.key.toLowerCase() === "e") {
      const names = Object.keys(ctrlgenSchedule.easings);
      curve = ctrlgenCurve.eased(model, index, names[(names.indexOf(frame.easing) + 1) % names.length]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      ctrlgenCurve.remove(area, index);
      return;
    }
    if (!curve) return;
    event.preventDefault();
    ctrlgenCurve.commit(area, model, ctrlgenSchedule.write(curve));
  },

  eased(model, index, easing) {
    const frames = model.curves[0].frames.map((frame, i) => (i === index ? {...frame, easing} : frame));
    return {...model.curves[0], frames};
  },

  // The text of the same field in the infotext of the last picture.
  last(area, model) {
    const info = ctrlgenCurve.find(`#generation_info_${area.dataset.tab} textarea`);
    const text = info && info.value ? (JSON.parse(info.value).infotexts || [])[0] || "" : "";
    const found = /CtrlGen: ("(?:\\.|[^"\\])*")/.exec(text);
    const request = found ? JSON.parse(JSON.parse(found[1])) : {};
    if (model.kind === "guidance") return request.cfg_scale;
    if (model.unit === undefined) return (request.prompt_weights || {})[model.label.slice(4, -1)];
    return ((request.units || [])[model.unit] || {})[model.name];
  },

  preset(area, name) {
    const model = ctrlgenCurve.active(area);
    if (!model) return;
    if (name === "From the last run") {
      const text = ctrlgenCurve.last(area, model);
      if (text !== undefined) ctrlgenCurve.commit(area, model, String(text));
      return;
    }
    const values = model.curves.flatMap((curve) => curve.frames).map((frame) => frame.value);
    const high = Math.max(0, ...values) || 1;
    ctrlgenCurve.commit(area, model, ctrlgenSchedule.write(ctrlgenSchedule.preset(name, high)));
  },

  build(area) {
    const {width, height} = ctrlgenCurve.size;
    const options = (names) => names.map((name) => `<option value="${name}">${ctrlgen.words(name)}</option>`).join("");
    area.innerHTML = "<div class='ctrlgen-bar'><select class='ctrlgen-track' aria-label='Curve'></select>"
      + `<select class='ctrlgen-preset' aria-label='Preset' title='A curve to begin with'><option value=''>Preset…</option>${options(ctrlgenCurve.presets)}</select>`
      + "<select class='ctrlgen-easing' aria-label='Easing from the chosen point' title='How the curve leads to the next point' disabled><option value=''>Easing…</option>"
      + `${options(Object.keys(ctrlgenSchedule.easings))}</select>`
      + "<button type='button' class='ctrlgen-remove' aria-label='Remove point' title='Remove point' disabled>−</button>"
      + "<button type='button' class='ctrlgen-undo' aria-label='Undo' title='Undo'>↶</button>"
      + "<button type='button' class='ctrlgen-redo' aria-label='Redo' title='Redo'>↷</button></div>"
      + `<svg viewBox='0 0 ${width} ${height}' role='application' aria-label='Weights over the steps'></svg>`
      + "<p class='ctrlgen-note' aria-live='polite'></p>"
      + "<details class='ctrlgen-note'><summary>Mouse and keys</summary>Click to add a point, drag to move it "
      + "(Alt: between steps, Shift: along one axis), double click or double tap to remove it. Keys: arrows move, Enter adds, "
      + "E changes the easing, Delete removes, Ctrl+Z undoes.</details>";
    Object.assign(area, {models: [], undone: [], redone: [], chosen: "", point: -1, shown: ""});
    const svg = area.querySelector("svg");
    svg.addEventListener("pointerdown", (event) => ctrlgenCurve.grab(area, event));
    svg.addEventListener("contextmenu", (event) => {
      const handle = event.target.closest(".point");
      event.preventDefault();
      if (handle) ctrlgenCurve.remove(area, Number(handle.dataset.index));
    });
    svg.addEventListener("focusin", (event) => {
      if (event.target.dataset.index === undefined) return;
      area.point = Number(event.target.dataset.index);
      ctrlgenCurve.tools(area, ctrlgenCurve.active(area));
    });
    area.addEventListener("keydown", (event) => ctrlgenCurve.key(area, event));
    area.addEventListener("change", (event) => ctrlgenCurve.choose(area, event.target));
    area.querySelector(".ctrlgen-remove").addEventListener("click", () => ctrlgenCurve.remove(area, area.point));
    area.querySelector(".ctrlgen-undo").addEventListener("click", () => ctrlgenCurve.back(area, area.undone, area.redone));
    area.querySelector(".ctrlgen-redo").addEventListener("click", () => ctrlgenCurve.back(area, area.redone, area.undone));
  },

  choose(area, select) {
    const model = ctrlgenCurve.active(area);
    if (select.classList.contains("ctrlgen-track")) {
      area.chosen = select.value;
      ctrlgenCurve.paint(area);
    } else if (select.classList.contains("ctrlgen-preset")) {
      ctrlgenCurve.preset(area, select.value);
      select.value = "";
    } else if (ctrlgenCurve.editable(model) && model.curves[0].frames[area.point] && select.value) {
      ctrlgenCurve.commit(area, model, ctrlgenSchedule.write(ctrlgenCurve.eased(model, area.point, select.value)));
    }
  },

  update() {
    gradioApp().querySelectorAll(".ctrlgen-curves").forEach((area) => {
      if (!area.firstChild) ctrlgenCurve.build(area);
      ctrlgenCurve.refresh(area);
    });
  },
};

if (typeof ctrlgen !== "undefined") ctrlgen.started(ctrlgenCurve.update);
// Not while a text is typed: `0:(0.5)` may go on.
["paste", "change"].forEach((name) => document.addEventListener(name, ({target}) => setTimeout(() => {
  if (!target.matches("textarea, input[type=text]")) return;
  gradioApp().querySelectorAll(".ctrlgen-curves").forEach(ctrlgenCurve.convert);
})));
