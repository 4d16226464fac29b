// Paints the mask of a unit over its picture by mouse, pen, touch and keys. White is where the unit acts. Each stroke
// goes into the unit's mask field at once; a mask that comes into that field otherwise is shown here.
const ctrlgenMask = {
  longest: 1024, // pixels of a mask's longer side
  most: 200, // steps that can be undone
  colour: "#f97316", // of the painted area on the screen
  states: new Map(), // by the id of the unit, such as txt2img_unit0
  tools: {
    brush: ["Brush", "Paint where the unit acts (B)"],
    eraser: ["Eraser", "Erase what is painted (E)"],
    invert: ["Invert", "Exchange painted and empty (I)"],
    clear: ["Clear", "Erase everything (Delete)"],
    undo: ["Undo", "Undo (Ctrl Z)"],
    redo: ["Redo", "Redo (Ctrl Y)"],
  },
  keys: {
    b: "brush", e: "eraser", i: "invert", delete: "clear", "ctrl z": "undo", "ctrl y": "redo",
    "[": "smaller", "]": "larger", escape: "close",
  },

  find: (unit, name) => gradioApp().querySelector(`#ctrlgen_${unit}_${name}`),

  source(unit, name) {
    const image = ctrlgenMask.find(unit, `${name} img`);
    return image ? image.src : "";
  },

  // The picture under the mask: the unit's own, or that of img2img if the unit uses it; empty without one.
  picture(unit) {
    const init = ctrlgenMask.find(unit, "use_init_image input:checked") && gradioApp().querySelector("#img2img_image img");
    return init ? init.src : ctrlgenMask.source(unit, "image");
  },

  load: (src) => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = src;
  }),

  canvas(width, height) {
    const made = document.createElement("canvas");
    Object.assign(made, {width, height});
    return made;
  },

  // ---- what is painted: a mask to begin with and the steps since then

  // A canvas of the mask's brightness as opacity of the colour.
  begun(image, width, height) {
    const made = ctrlgenMask.canvas(width, height), area = made.getContext("2d");
    if (!image) return made;
    area.drawImage(image, 0, 0, width, height);
    const pixels = area.getImageData(0, 0, width, height), {data} = pixels;
    for (let i = 0; i < data.length; i += 4) {
      const grey = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
      [data[i], data[i + 1], data[i + 2]] = [249, 115, 22];
      data[i + 3] = Math.round(grey * data[i + 3] / 255);
    }
    area.putImageData(pixels, 0, 0);
    return made;
  },

  draw(area, step) {
    const {width, height} = area.canvas;
    area.globalCompositeOperation = {brush: "source-over", eraser: "destination-out", invert: "source-out"}[step.tool] || "copy";
    area.fillStyle = area.strokeStyle = step.tool === "clear" ? "rgba(0, 0, 0, 0)" : ctrlgenMask.colour;
    if (!step.points) return area.fillRect(0, 0, width, height);
    Object.assign(area, {lineWidth: step.size, lineCap: "round", lineJoin: "round"});
    area.beginPath();
    step.points.forEach(([x, y], i) => (i ? area.lineTo(x, y) : area.moveTo(x, y)));
    if (step.points.length === 1) area.lineTo(step.points[0][0], step.points[0][1] + 0.01);
    area.stroke();
    return area;
  },

  redraw(state) {
    const area = state.canvas.getContext("2d");
    area.globalCompositeOperation = "copy";
    area.drawImage(state.base, 0, 0);
    state.steps.forEach((step) => ctrlgenMask.draw(area, step));
  },

  // A step that is complete: it can be undone, and the field gets the mask.
  done(unit, state, step) {
    state.steps.push(step);
    state.undone = [];
    if (state.steps.length > ctrlgenMask.most) ctrlgenMask.draw(state.base.getContext("2d"), state.steps.shift());
    ctrlgenMask.redraw(state);
    ctrlgenMask.put(unit, state);
  },

  back(unit, state, from, to) {
    if (!from.length) return;
    to.push(from.pop());
    ctrlgenMask.redraw(state);
    ctrlgenMask.put(unit, state);
  },

  // The share of the picture that is painted.
  share({canvas}) {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let i = 3; i < data.length; i += 4) sum += data[i];
    return sum / 255 / canvas.width / canvas.height;
  },

  // Black and white as a data URL.
  written({canvas}) {
    const made = ctrlgenMask.canvas(canvas.width, canvas.height), area = made.getContext("2d");
    area.drawImage(canvas, 0, 0);
    area.globalCompositeOperation = "source-in";
    area.fillStyle = "#fff";
    area.fillRect(0, 0, made.width, made.height);
    area.globalCompositeOperation = "destination-over";
    area.fillStyle = "#000";
    area.fillRect(0, 0, made.width, made.height);
    return made.toDataURL("image/png");
  },

  // Put the mask into the unit's field; without paint the field becomes empty.
  put(unit, state) {
    const share = ctrlgenMask.share(state);
    state.seen = share ? ctrlgenMask.written(state) : "";
    const [tab, number] = unit.split("_unit");
    state.waiting = (state.waiting || 0) + 1;
    ctrlgenUnits.change(tab, (units) => {
      units[Number(number)].values[ctrlgenUnits.panel(tab).fields.indexOf("mask")] = state.seen || null;
      return units;
    }).then(() => setTimeout(() => (state.waiting -= 1), 500)); // until the field shows it
    const percent = Math.max(1, Math.round(100 * share));
    ctrlgenMask.say(state, share ? `The unit acts on ${percent} % of the picture.` : "Nothing is painted: there is no mask, and the unit acts everywhere.");
    ctrlgenMask.show(unit, state);
  },

  say: (state, text) => ctrlgen.label(state.area.querySelector(".ctrlgen-note"), text),

  // ---- the editor

  build(unit, field) {
    const area = document.createElement("div");
    area.className = "ctrlgen-mask";
    area.innerHTML = '<button type="button" class="ctrlgen-add" aria-expanded="false" title="Paint where the unit acts, on its own picture">Paint the mask</button>'
      + '<div class="ctrlgen-mask-editor" hidden></div>';
    field.after(area);
    area.querySelector("button").addEventListener("click", () => {
      const state = ctrlgenMask.states.get(unit);
      return state && state.open ? ctrlgenMask.close(unit, state) : ctrlgenMask.open(unit, area);
    });
  },

  async open(unit, area) {
    const button = ([name, [label, title]]) => (
      `<button type="button" data-tool="${name}" title="${title}" aria-label="${title}">${label}</button>`);
    const editor = area.querySelector(".ctrlgen-mask-editor");
    editor.innerHTML = `<div class="ctrlgen-bar">${Object.entries(ctrlgenMask.tools).map(button).join("")}</div>`
      + '<div class="ctrlgen-bar"><label>Brush size <input type="range" min="2" max="400" value="80"></label>'
      + '<label><input type="checkbox"> Show the feather</label></div>'
      + '<div class="ctrlgen-mask-stage" tabindex="0" role="application"><img alt=""><i></i></div>'
      + '<p class="ctrlgen-note" role="status"></p>';
    const state = {area, tool: "brush", steps: [], undone: [], place: [0.5, 0.5], open: true, picture: null};
    ctrlgenMask.states.set(unit, state);
    ctrlgenMask.listen(unit, state, editor);
    await ctrlgenMask.begin(unit, state);
    editor.hidden = false;
    ctrlgenMask.toggled(area, true);
    ctrlgenMask.show(unit, state);
    ctrlgenMask.say(state, "Paint where the unit is to act. Arrow keys move the brush, Space paints, Shift and arrows draw.");
  },

  close(unit, state) {
    state.open = false;
    ctrlgenMask.states.delete(unit);
    const editor = state.area.querySelector(".ctrlgen-mask-editor");
    editor.hidden = true;
    editor.replaceChildren();
    ctrlgenMask.toggled(state.area, false);
    state.area.querySelector(".ctrlgen-add").focus();
  },

  toggled(area, open) {
    const button = area.querySelector(".ctrlgen-add");
    button.setAttribute("aria-expanded", open);
    ctrlgen.label(button, open ? "Close the mask editor" : "Paint the mask");
  },

  // Begin with the unit's picture and mask.
  async begin(unit, state) {
    const [picture, mask] = [ctrlgenMask.picture(unit), ctrlgenMask.source(unit, "mask")];
    Object.assign(state, {picture, seen: mask});
    const [below, given] = await Promise.all([picture, mask].map((src) => (src ? ctrlgenMask.load(src) : null)));
    const [tab] = unit.split("_unit");
    const sides = below ? [below.naturalWidth, below.naturalHeight] : ctrlgen.size(tab, []);
    const scale = Math.min(1, ctrlgenMask.longest / Math.max(...sides));
    const [width, height] = sides.map((side) => Math.max(1, Math.round(side * scale)));
    const stage = state.area.querySelector(".ctrlgen-mask-stage");
    const shown = stage.querySelector("img");
    shown.hidden = !picture;
    if (picture) shown.src = picture;
    if (state.canvas) state.canvas.remove();
    Object.assign(state, {base: ctrlgenMask.begun(given, width, height), canvas: ctrlgenMask.canvas(width, height), steps: [], undone: []});
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.maxWidth = `min(100%, ${Math.round(480 * width / height)}px)`;
    shown.after(state.canvas);
    ctrlgenMask.redraw(state);
  },

  size: (state) => Number(state.area.querySelector("input[type=range]").value) * state.canvas.width / 1000,

  // The buttons, the feather and the brush's circle.
  show(unit, state) {
    state.area.querySelectorAll("[data-tool]").forEach((button) => {
      const {tool} = button.dataset;
      if (tool === "undo") button.disabled = !state.steps.length;
      if (tool === "redo") button.disabled = !state.undone.length;
      if (["brush", "eraser"].includes(tool)) button.setAttribute("aria-pressed", String(tool === state.tool));
    });
    const [tab] = unit.split("_unit"), [width] = ctrlgen.size(tab, []);
    const pixels = ctrlgen.number(`ctrlgen_${unit}_mask_feather`, 0) * state.canvas.clientWidth / width;
    const feather = state.area.querySelector("input[type=checkbox]").checked && pixels > 0;
    state.canvas.style.filter = feather ? `blur(${pixels.toFixed(1)}px)` : "";
    const circle = state.area.querySelector("i"), wide = 100 * ctrlgenMask.size(state) / state.canvas.width;
    Object.assign(circle.style, {left: `${100 * state.place[0]}%`, top: `${100 * state.place[1]}%`, width: `${wide}%`});
    const stage = state.area.querySelector(".ctrlgen-mask-stage");
    const place = state.place.map((each) => `${Math.round(100 * each)} %`).join(", ");
    const said = ctrlgen.words(`Mask of the unit, ${ctrlgenMask.tools[state.tool][0]} at ${place}`);
    if (stage.getAttribute("aria-label") !== said) stage.setAttribute("aria-label", said);
  },

  listen(unit, state, editor) {
    const stage = editor.querySelector(".ctrlgen-mask-stage");
    editor.addEventListener("click", ({target}) => target.closest("[data-tool]") && ctrlgenMask.act(unit, state, target.closest("[data-tool]").dataset.tool));
    editor.addEventListener("input", () => ctrlgenMask.show(unit, state));
    stage.addEventListener("pointerdown", (event) => ctrlgenMask.stroke(unit, state, stage, event));
    stage.addEventListener("pointermove", (event) => {
      state.place = ctrlgenMask.point(stage, event);
      ctrlgenMask.show(unit, state);
    });
    editor.addEventListener("keydown", (event) => ctrlgenMask.key(unit, state, event));
  },

  point(stage, event) {
    const bounds = stage.getBoundingClientRect();
    const share = (value) => Math.min(Math.max(value, 0), 1);
    return [share((event.clientX - bounds.left) / bounds.width), share((event.clientY - bounds.top) / bounds.height)];
  },

  pixel: ({canvas, place}) => [place[0] * canvas.width, place[1] * canvas.height],

  // Follow a stroke; the part since the last event is drawn at once.
  stroke(unit, state, stage, event) {
    if (event.button > 0) return;
    state.place = ctrlgenMask.point(stage, event);
    const step = {tool: state.tool, size: ctrlgenMask.size(state), points: [ctrlgenMask.pixel(state)]};
    const area = state.canvas.getContext("2d");
    ctrlgenMask.draw(area, step);
    const follow = (move) => {
      state.place = ctrlgenMask.point(stage, move);
      step.points.push(ctrlgenMask.pixel(state));
      ctrlgenMask.draw(area, {...step, points: step.points.slice(-2)});
    };
    const end = (last) => {
      stage.removeEventListener("pointermove", follow);
      ["pointerup", "pointercancel"].forEach((name) => stage.removeEventListener(name, end));
      if (last.type === "pointercancel") ctrlgenMask.redraw(state);
      else ctrlgenMask.done(unit, state, step);
    };
    stage.setPointerCapture(event.pointerId);
    stage.addEventListener("pointermove", follow);
    ["pointerup", "pointercancel"].forEach((name) => stage.addEventListener(name, end));
    stage.focus({preventScroll: true});
    event.preventDefault();
  },

  act(unit, state, tool) {
    if (["brush", "eraser"].includes(tool)) state.tool = tool;
    else if (["invert", "clear"].includes(tool)) ctrlgenMask.done(unit, state, {tool});
    else if (tool === "undo") ctrlgenMask.back(unit, state, state.steps, state.undone);
    else if (tool === "redo") ctrlgenMask.back(unit, state, state.undone, state.steps);
    else if (tool === "close") return ctrlgenMask.close(unit, state);
    else {
      const range = state.area.querySelector("input[type=range]");
      range.value = Number(range.value) * (tool === "larger" ? 1.25 : 0.8);
    }
    return ctrlgenMask.show(unit, state);
  },

  // Arrows move the brush, with Shift they draw; Space paints one dot.
  key(unit, state, event) {
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}, move = moves[event.key];
    const onStage = event.target.matches(".ctrlgen-mask-stage");
    const dot = (points) => ctrlgenMask.done(unit, state, {tool: state.tool, size: ctrlgenMask.size(state), points});
    const name = `${event.ctrlKey || event.metaKey ? "ctrl " : ""}${event.key.toLowerCase()}`, known = ctrlgenMask.keys[name];
    const tool = known === "undo" && event.shiftKey ? "redo" : known;
    if (move && onStage) {
      const before = ctrlgenMask.pixel(state);
      state.place = state.place.map((each, axis) => Math.min(Math.max(each + 0.02 * move[axis], 0), 1));
      if (event.shiftKey) dot([before, ctrlgenMask.pixel(state)]);
      ctrlgenMask.show(unit, state);
    } else if (event.key === " " && onStage) dot([ctrlgenMask.pixel(state)]);
    else if (tool && (onStage || name.startsWith("ctrl") || tool === "close")) ctrlgenMask.act(unit, state, tool);
    else return;
    event.preventDefault();
    event.stopPropagation();
  },

  // Add the button where a mask is shown, and follow the unit's picture and mask.
  update() {
    gradioApp().querySelectorAll(".ctrlgen-groups [id^=ctrlgen_][id$=_mask]").forEach((field) => {
      const unit = field.id.slice("ctrlgen_".length, -"_mask".length);
      if (field.offsetParent && !field.parentElement.querySelector(".ctrlgen-mask")) ctrlgenMask.build(unit, field);
    });
    ctrlgenMask.states.forEach((state, unit) => {
      if (!state.canvas || state.waiting || !state.canvas.offsetParent) return;
      const same = ctrlgenMask.picture(unit) === state.picture && ctrlgenMask.source(unit, "mask") === state.seen;
      if (same) ctrlgenMask.show(unit, state);
      else ctrlgenMask.begin(unit, state).then(() => ctrlgenMask.show(unit, state));
    });
  },
};

ctrlgen.started(ctrlgenMask.update);
