// Edits the pose of a unit: joints over the unit's picture, moved by mouse, touch and keys. The drawing becomes the
// unit's pose, OpenPose JSON in a hidden text field, by "Use this pose"; from then on each change goes there at once.
//
// A drawing is {width, height, figures}; a figure is a person {body, left_hand, right_hand, face} or an animal
// {animal: true, body}; a part is a list of points {x, y, on} in fractions of the canvas, null where nothing is known.
const ctrlgenPose = {
  parts: {
    body: "pose_keypoints_2d", left_hand: "hand_left_keypoints_2d",
    right_hand: "hand_right_keypoints_2d", face: "face_keypoints_2d",
  },
  joints: ("nose,neck,right shoulder,right elbow,right wrist,left shoulder,left elbow,left wrist,right hip,right knee,"
    + "right ankle,left hip,left knee,left ankle,right eye,left eye,right ear,left ear").split(","),
  animalJoints: ("left eye,right eye,nose,neck,tail,left shoulder,left elbow,left front paw,right shoulder,"
    + "right elbow,right front paw,left hip,left knee,left back paw,right hip,right knee,right back paw").split(","),
  limbs: [[1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13],
    [1, 0], [0, 14], [14, 16], [0, 15], [15, 17]],
  animalLimbs: [[0, 1], [1, 2], [0, 2], [2, 3], [3, 8], [8, 9], [9, 10], [3, 5], [5, 6], [6, 7], [3, 4], [4, 14],
    [14, 15], [15, 16], [4, 11], [11, 12], [12, 13]],
  held: {4: "right_hand", 7: "left_hand", 0: "face"}, // what moves with a joint of a person
  // A standing figure that faces the viewer: x from its middle, y from its top, in shares of its height.
  standing: [[0, .1], [0, .22], [-.11, .22], [-.15, .37], [-.16, .51], [.11, .22], [.15, .37], [.16, .51],
    [-.065, .52], [-.07, .73], [-.07, .94], [.065, .52], [.07, .73], [.07, .94], [-.025, .075], [.025, .075],
    [-.055, .09], [.055, .09]],
  places: [.5, .25, .75, .38, .62, .12, .88],
  reach: {mouse: 14, pen: 18, touch: 26}, // pixels of the screen around a joint
  most: 100, // steps that can be undone
  nudge: 0.01, // what an arrow key moves by, as a share of the longer side
  learned: "", // the hash of the pose that was stored last
  states: new Map(), // by area: {drawing, chosen, undo, redo, written}

  // ---- documents

  // The drawing of OpenPose JSON; null for a text that is none. Keypoints of a lower confidence are hidden.
  read(text, confidence) {
    try {
      const given = JSON.parse(text);
      const size = [given.canvas_width, given.canvas_height];
      const points = (numbers) => {
        const triples = (numbers || []).flat();
        const found = triples.map((_, i) => i).filter((i) => i % 3 === 0 && triples[i + 2] > 0);
        const fractions = found.every((i) => Math.abs(triples[i]) <= 1 && Math.abs(triples[i + 1]) <= 1);
        const [width, height] = fractions ? [1, 1] : size;
        const made = Array(triples.length / 3).fill(null);
        found.forEach((i) => {
          made[i / 3] = {x: triples[i] / width, y: triples[i + 1] / height, on: triples[i + 2] >= confidence};
        });
        return made.length ? made : null;
      };
      const people = (given.people || []).map((each) => {
        const parts = Object.entries(ctrlgenPose.parts).map(([part, name]) => [part, points(each[name])]);
        return {...Object.fromEntries(parts)};
      });
      const animals = (given.animals || []).map((each) => ({animal: true, body: points(each)}));
      const figures = [...people, ...animals].map((each) => ({
        ...each, body: each.body || Array(each.animal ? 17 : 18).fill(null),
      }));
      return size.every((side) => side >= 1) ? {width: size[0], height: size[1], figures} : null;
    } catch (error) {
      return null;
    }
  },

  // OpenPose JSON of a drawing. What is shown has confidence 1, and what is hidden is left out.
  write({width, height, figures}) {
    const numbers = (points) => {
      const shown = (points || []).filter((each) => each && each.on);
      if (!shown.length) return null;
      const inside = shown.every((each) => Math.abs(each.x) <= 1 && Math.abs(each.y) <= 1);
      const round = (value, side) => Math.round((inside ? value : value * side) * 1e5) / 1e5;
      return points.flatMap((p) => (p && p.on ? [round(p.x, width), round(p.y, height), 1] : [0, 0, 0]));
    };
    const person = (each) => Object.fromEntries(
      Object.entries(ctrlgenPose.parts).map(([part, name]) => [name, numbers(each[part])]),
    );
    const people = figures.filter((each) => !each.animal).map(person);
    const animals = figures.filter((each) => each.animal).map((each) => numbers(each.body)).filter(Boolean);
    const rest = animals.length ? {animals} : {};
    return JSON.stringify({people, ...rest, canvas_width: width, canvas_height: height});
  },

  // ---- figures

  limbsOf: (figure) => (figure.animal ? ctrlgenPose.animalLimbs : ctrlgenPose.limbs),

  namesOf: (figure) => (figure.animal ? ctrlgenPose.animalJoints : ctrlgenPose.joints),

  // The joints that are farther from the neck than one, and the joint itself.
  beyond(figure, joint) {
    const limbs = ctrlgenPose.limbsOf(figure).filter(([, to], i, all) => all.findIndex((l) => l[1] === to) === i);
    const found = [joint];
    for (const from of found) limbs.filter((limb) => limb[0] === from).forEach((limb) => found.push(limb[1]));
    return found;
  },

  // The points that move when something is dragged: a joint with what it holds, with `far` all beyond it, or a group.
  moving(figure, {part, joint}, far) {
    if (part !== "body") return figure[part].filter(Boolean);
    const joints = far ? ctrlgenPose.beyond(figure, joint) : [joint];
    const groups = figure.animal ? [] : joints.map((each) => figure[ctrlgenPose.held[each]] || []);
    return [...joints.map((each) => figure.body[each]), ...groups.flat()].filter(Boolean);
  },

  // Move points by shares of the canvas, and keep those on it that are.
  move(points, dx, dy) {
    [["x", dx], ["y", dy]].forEach(([axis, by]) => {
      const values = points.map((each) => each[axis]);
      const least = Math.min(-Math.min(...values), 0);
      const most = Math.max(1 - Math.max(...values), 0);
      const step = Math.min(Math.max(by, least), most);
      points.forEach((each) => {
        each[axis] += step;
      });
    });
  },

  // A standing person in the middle of a canvas, or at a share of its width.
  person({width, height}, across = .5) {
    const tall = Math.min(.9 * height, 2.4 * width);
    const top = (height - tall) / 2;
    const half = .16 * tall / width;
    const middle = Math.min(Math.max(across, half), 1 - half);
    const body = ctrlgenPose.standing.map(([x, y]) => (
      {x: middle + x * tall / width, y: (top + y * tall) / height, on: true}
    ));
    return {body, left_hand: null, right_hand: null, face: null};
  },

  // Where a joint would be that is not known: that of the standing person, scaled and moved onto the other joints.
  guess(drawing, figure, joint) {
    const model = ctrlgenPose.person(drawing).body;
    const known = figure.body.map((_, i) => i).filter((i) => figure.body[i] && model[i]);
    const mean = (points, axis) => points.reduce((sum, each) => sum + each[axis], 0) / points.length;
    const pairs = [known.map((i) => figure.body[i]), known.map((i) => model[i])];
    const spread = (points, axis) => Math.sqrt(points.reduce((sum, p) => sum + (p[axis] - mean(points, axis)) ** 2, 0));
    const scale = known.length > 1 ? spread(pairs[0], "y") / (spread(pairs[1], "y") || 1) || 1 : 1;
    const at = (axis) => (known.length
      ? mean(pairs[0], axis) + scale * (model[joint][axis] - mean(pairs[1], axis)) : model[joint][axis]);
    const inside = (value) => Math.min(Math.max(value, 0), 1);
    return {x: inside(at("x")), y: inside(at("y")), on: false};
  },

  // ---- the state of an area

  state(area) {
    if (!ctrlgenPose.states.has(area)) {
      ctrlgenPose.states.set(area, {drawing: null, chosen: null, undo: [], redo: [], written: ""});
    }
    return ctrlgenPose.states.get(area);
  },

  area: (unit) => gradioApp().querySelector(`.ctrlgen-pose[data-unit="${unit}"]`),

  field: (area) => gradioApp().querySelector(`#${area.dataset.unit}_pose textarea`),

  // Whether the unit has the drawing as its picture.
  isUsed: (area) => Boolean((ctrlgenPose.field(area) || {}).value),

  confidence: (area) => ctrlgen.number(`${area.dataset.unit}_openpose_json_min_confidence`, 0.3),

  // Change the drawing by a function of a copy of it, which can be undone.
  change(area, edit) {
    const state = ctrlgenPose.state(area);
    const before = JSON.stringify(state.drawing);
    const drawing = JSON.parse(before);
    const made = edit(drawing) || drawing;
    ctrlgenPose.done(area, before, made);
  },

  // Make a drawing the present one; `before` is the text of the one before.
  done(area, before, drawing) {
    const state = ctrlgenPose.state(area);
    state.undo = [...state.undo, before].slice(-ctrlgenPose.most);
    state.redo = [];
    state.drawing = drawing;
    ctrlgenPose.settle(area);
  },

  step(area, from, to) {
    const state = ctrlgenPose.state(area);
    if (!state[from].length) return;
    state[to].push(JSON.stringify(state.drawing));
    state.drawing = JSON.parse(state[from].pop());
    ctrlgenPose.settle(area);
  },

  // Write a changed drawing where it is used, keep it for a reload of the page, and show it.
  settle(area) {
    const state = ctrlgenPose.state(area);
    if (ctrlgenPose.isUsed(area)) ctrlgenPose.put(area, state.drawing ? ctrlgenPose.write(state.drawing) : "");
    ctrlgenPose.keep(area);
    ctrlgenPose.draw(area);
  },

  put(area, text) {
    const field = ctrlgenPose.field(area);
    if (field.value === text) return;
    ctrlgenPose.state(area).written = text;
    field.value = text;
    updateInput(field);
  },

  // ---- what outlives a reload: drawings by unit, and used poses by their hash, in this tab of the browser

  stored(name, value) {
    try {
      if (value !== undefined) sessionStorage.setItem(name, JSON.stringify(value));
      return JSON.parse(sessionStorage.getItem(name));
    } catch (error) { // storage is full, or forbidden: nothing outlives a reload then
      return null;
    }
  },

  keep(area) {
    const {drawing} = ctrlgenPose.state(area);
    ctrlgenPose.stored(`ctrlgen_pose_${area.dataset.unit}`, {drawing, used: ctrlgenPose.isUsed(area)});
  },

  restore(area) {
    const found = ctrlgenPose.stored(`ctrlgen_pose_${area.dataset.unit}`);
    if (!found || !found.drawing) return;
    ctrlgenPose.state(area).drawing = found.drawing;
    if (found.used && !ctrlgenPose.isUsed(area)) ctrlgenPose.put(area, ctrlgenPose.write(found.drawing));
  },

  // The server's note beside the field has the hash of a used pose, by which a pasted infotext names it.
  learn() {
    gradioApp().querySelectorAll("[data-pose-hash]").forEach((note) => {
      const {poseHash, pose} = note.dataset;
      if (ctrlgenPose.learned === poseHash) return;
      ctrlgenPose.learned = poseHash;
      const known = ctrlgenPose.stored("ctrlgen_poses") || [];
      if (known.some(([hash]) => hash === poseHash)) return;
      ctrlgenPose.stored("ctrlgen_poses", [...known, [poseHash, pose]].slice(-50));
    });
  },

  // Show what the field has got from elsewhere: a pose, or the hash of one.
  follow(area) {
    const field = ctrlgenPose.field(area);
    const state = ctrlgenPose.state(area);
    if (!field || field.value === state.written) return;
    state.written = field.value;
    ctrlgenPose.keep(area);
    if (state.drawing) ctrlgenPose.tell(area); // whether the unit uses it
    const hashed = field.value.startsWith("sha:");
    const known = hashed && (ctrlgenPose.stored("ctrlgen_poses") || []).find(([hash]) => hash === field.value);
    if (known) ctrlgenPose.put(area, known[1]);
    if (!field.value || (hashed && !known)) return;
    const drawing = ctrlgenPose.read(field.value, 0);
    if (!drawing || (state.drawing && ctrlgenPose.write(state.drawing) === ctrlgenPose.write(drawing))) return;
    ctrlgenPose.done(area, JSON.stringify(state.drawing), drawing);
  },

  // ---- commands

  // Begin with a pose that the server found or read; nothing for an empty text.
  open(unit, text) {
    const area = ctrlgenPose.area(unit);
    const drawing = text && ctrlgenPose.read(text, ctrlgenPose.confidence(area));
    if (!drawing) return;
    ctrlgenPose.state(area).chosen = null;
    ctrlgenPose.done(area, JSON.stringify(ctrlgenPose.state(area).drawing), drawing);
  },

  // Begin with a standing person on a canvas of the size of the unit's picture, or of the generation.
  begin(unit) {
    const area = ctrlgenPose.area(unit);
    const picture = ctrlgenPose.picture(area);
    const size = (name) => ctrlgen.number(`${area.dataset.tab}_${name}`, 512);
    const drawing = picture
      ? {width: picture.naturalWidth, height: picture.naturalHeight} : {width: size("width"), height: size("height")};
    drawing.figures = [ctrlgenPose.person(drawing)];
    ctrlgenPose.state(area).chosen = {figure: 0, part: "body", joint: 1};
    ctrlgenPose.done(area, JSON.stringify(ctrlgenPose.state(area).drawing), drawing);
  },

  // The text of the drawing, for the server.
  text(unit) {
    const {drawing} = ctrlgenPose.state(ctrlgenPose.area(unit));
    return drawing ? ctrlgenPose.write(drawing) : "";
  },

  add(area) {
    ctrlgenPose.change(area, (drawing) => {
      const count = drawing.figures.length;
      drawing.figures.push(ctrlgenPose.person(drawing, ctrlgenPose.places[count % ctrlgenPose.places.length]));
      ctrlgenPose.state(area).chosen = {figure: count, part: "body", joint: 1};
    });
  },

  remove(area) {
    const {chosen} = ctrlgenPose.state(area);
    ctrlgenPose.change(area, (drawing) => {
      drawing.figures.splice(chosen.figure, 1);
      ctrlgenPose.state(area).chosen = null;
    });
  },

  // Hide what is chosen, or show it again; with `far` also everything beyond it.
  toggle(area, far) {
    const {chosen, drawing} = ctrlgenPose.state(area);
    const on = !ctrlgenPose.isShown(drawing, chosen);
    ctrlgenPose.change(area, (made) => {
      const figure = made.figures[chosen.figure];
      const joints = far && chosen.part === "body" ? ctrlgenPose.beyond(figure, chosen.joint) : [chosen.joint];
      const groups = chosen.part === "body" ? joints.map((each) => ctrlgenPose.held[each]) : [chosen.part];
      if (chosen.part === "body") {
        joints.forEach((each) => {
          if (!figure.body[each] && !figure.animal) figure.body[each] = ctrlgenPose.guess(made, figure, each);
          if (figure.body[each]) figure.body[each].on = on;
        });
      }
      if (far || chosen.part !== "body") {
        groups.filter((each) => !figure.animal && figure[each]).forEach((each) => {
          figure[each].filter(Boolean).forEach((point) => {
            point.on = on;
          });
        });
      }
    });
  },

  isShown(drawing, {figure, part, joint}) {
    const points = drawing.figures[figure][part];
    return part === "body" ? Boolean(points[joint] && points[joint].on) : points.some((each) => each && each.on);
  },

  showAll(area) {
    const {chosen} = ctrlgenPose.state(area);
    ctrlgenPose.change(area, (drawing) => {
      const figure = drawing.figures[chosen.figure];
      if (!figure.animal) figure.body = figure.body.map((each, i) => each || ctrlgenPose.guess(drawing, figure, i));
      Object.keys(ctrlgenPose.parts).flatMap((part) => figure[part] || []).filter(Boolean).forEach((point) => {
        point.on = true;
      });
    });
  },

  download(area) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([ctrlgenPose.text(area.dataset.unit)], {type: "application/json"}));
    link.download = "pose.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  },

  discard(area) {
    const state = ctrlgenPose.state(area);
    Object.assign(state, {drawing: null, chosen: null, undo: [], redo: []});
    ctrlgenPose.put(area, "");
    ctrlgenPose.keep(area);
    ctrlgenPose.draw(area);
  },
};

// The view: what the editor shows of a drawing, and what pointers and keys do.
Object.assign(ctrlgenPose, {
  fingers: [0, 4, 8, 12, 16].flatMap((k) => [[0, k + 1], [k + 1, k + 2], [k + 2, k + 3], [k + 3, k + 4]]),
  hue: (share, light) => `hsl(${Math.round(share * 360)} 100% ${light}%)`,

  commands: {
    undo: ["Undo", "Ctrl+Z", (area) => ctrlgenPose.step(area, "undo", "redo")],
    redo: ["Redo", "Ctrl+Y", (area) => ctrlgenPose.step(area, "redo", "undo")],
    add: ["Add person", "A standing figure", (area) => ctrlgenPose.add(area)],
    remove: ["Delete person", "The person that the chosen joint belongs to", (area) => ctrlgenPose.remove(area)],
    joint: ["Hide joint", "Delete", (area) => ctrlgenPose.toggle(area, false)],
    limb: ["Hide limb", "Shift+Delete: also what is beyond the joint", (area) => ctrlgenPose.toggle(area, true)],
    all: ["Show all", "All joints of the person", (area) => ctrlgenPose.showAll(area)],
    use: ["Use this pose", "Make it the unit's picture", (area) => {
      gradioApp().querySelector(`#${area.dataset.unit}_pose_use`).click();
    }],
    download: ["Download JSON", "OpenPose JSON", (area) => ctrlgenPose.download(area)],
    discard: ["Remove pose", "Empty the drawing; the unit does not use it any more", (area) => ctrlgenPose.discard(area)],
  },

  // The picture of the unit, if there is one.
  picture: (area) => gradioApp().querySelector(`#${area.dataset.unit}_image img`),

  build(area) {
    const button = ([name, [label, title]]) => (
      `<button type="button" class="ctrlgen-add" data-command="${name}" title="${title}">${label}</button>`);
    const commands = Object.entries(ctrlgenPose.commands).map(button);
    area.innerHTML = `<div class="ctrlgen-tools">${commands.slice(0, 7).join("")}</div>`
      + "<div class='ctrlgen-pose-stage' tabindex='-1' role='application' aria-label='Pose editor'>"
      + "<img alt=''><svg preserveAspectRatio='none'></svg></div>"
      + `<div class="ctrlgen-tools">${commands.slice(7).join("")}</div><p class="ctrlgen-note" aria-live="polite"></p>`;
    const stage = area.querySelector(".ctrlgen-pose-stage");
    stage.addEventListener("pointerdown", (event) => ctrlgenPose.grab(area, stage, event));
    stage.addEventListener("focusin", (event) => ctrlgenPose.choose(area, event.target));
    area.addEventListener("keydown", (event) => ctrlgenPose.key(area, event));
    area.addEventListener("click", (event) => {
      const command = ctrlgenPose.commands[event.target.dataset.command];
      if (command) command[2](area);
    });
    ctrlgenPose.restore(area);
    ctrlgenPose.draw(area);
  },

  // ---- drawing

  draw(area) {
    const state = ctrlgenPose.state(area);
    const {drawing} = state;
    area.classList.toggle("ctrlgen-hidden", !drawing);
    if (!drawing) return;
    const {chosen} = state;
    if (chosen && !(drawing.figures[chosen.figure] || {})[chosen.part]) state.chosen = null;
    const had = area.contains(document.activeElement) && document.activeElement.dataset.at;
    const stage = area.querySelector(".ctrlgen-pose-stage");
    stage.style.aspectRatio = `${drawing.width} / ${drawing.height}`;
    stage.style.maxWidth = `min(100%, 560px, ${(70 * drawing.width / drawing.height).toFixed(1)}vh)`;
    const svg = area.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${drawing.width} ${drawing.height}`);
    svg.innerHTML = drawing.figures.map((each, i) => ctrlgenPose.figure(drawing, each, i, state.chosen)).join("");
    if (had) (svg.querySelector(`[data-at="${had}"]`) || stage).focus({preventScroll: true});
    ctrlgenPose.tell(area);
    ctrlgenPose.background(area);
  },

  // Show the unit's picture behind the drawing, unless it has other proportions.
  background(area) {
    const {drawing} = ctrlgenPose.state(area);
    const image = area.querySelector(".ctrlgen-pose-stage img");
    const picture = ctrlgenPose.picture(area);
    if (!drawing || !image) return;
    const ratio = picture && picture.naturalWidth * drawing.height / (picture.naturalHeight * drawing.width);
    const fits = Boolean(ratio) && Math.abs(ratio - 1) < 0.02;
    if (fits && image.src !== picture.src) image.src = picture.src;
    image.classList.toggle("ctrlgen-hidden", !fits);
  },

  figure(drawing, figure, number, chosen) {
    const isChosen = Boolean(chosen) && chosen.figure === number;
    const at = (p) => `${(p.x * drawing.width).toFixed(2)} ${(p.y * drawing.height).toFixed(2)}`;
    const dot = (p, kind, style, more = "") => `<path class="${kind}" d="M${at(p)}h0" style="${style}" ${more}/>`;
    const line = (p, q, kind, colour) => (
      p && q && p.on && q.on ? `<path class="${kind}" d="M${at(p)}L${at(q)}" style="stroke:${colour}"/>` : "");
    const limbs = ctrlgenPose.limbsOf(figure).map(([a, b], i) => (
      line(figure.body[a], figure.body[b], "limb", ctrlgenPose.hue(i / 18, 30))));
    const place = (part, joint) => `data-at="${number} ${part} ${joint}" tabindex="0" role="button"
      aria-label="${ctrlgenPose.label(drawing, {figure: number, part, joint})}"`;
    const joints = figure.body.map((p, i) => {
      if (!p || !(p.on || isChosen)) return "";
      const mark = isChosen && chosen.part === "body" && chosen.joint === i ? dot(p, "mark", "") : "";
      const style = p.on ? `stroke:${ctrlgenPose.hue(i / 18, 50)}` : "";
      return mark + dot(p, p.on ? "joint" : "joint off", style, place("body", i));
    });
    const groups = ["left_hand", "right_hand", "face"].filter((part) => figure[part]).map((part) => {
      const points = figure[part];
      const lines = part === "face" ? []
        : ctrlgenPose.fingers.map(([a, b], i) => line(points[a], points[b], "finger", ctrlgenPose.hue(i / 20, 50)));
      const kind = part === "face" ? "face" : "knuckle";
      const dots = points.map((p) => (p && (p.on || isChosen) ? dot(p, p.on ? kind : "joint off", "") : ""));
      const mark = isChosen && chosen.part === part ? " class='chosen'" : "";
      return dots.join("") ? `<g ${mark} ${place(part, 0)}>${lines.join("")}${dots.join("")}</g>` : "";
    });
    return limbs.join("") + joints.join("") + groups.join("");
  },

  label(drawing, {figure, part, joint}) {
    const each = drawing.figures[figure];
    const name = part === "body" ? ctrlgenPose.namesOf(each)[joint] : part.replace("_", " ");
    const hidden = ctrlgenPose.isShown(drawing, {figure, part, joint}) ? "" : ", hidden";
    return `${each.animal ? "Animal" : "Person"} ${figure + 1}, ${name}${hidden}`;
  },

  // Say what is chosen and what can be done, and enable the buttons accordingly.
  tell(area) {
    const {drawing, chosen, undo, redo} = ctrlgenPose.state(area);
    const button = (name) => area.querySelector(`[data-command="${name}"]`);
    const used = ctrlgenPose.isUsed(area);
    ["remove", "joint", "limb", "all"].forEach((name) => {
      button(name).disabled = !chosen;
    });
    button("undo").disabled = !undo.length;
    button("redo").disabled = !redo.length;
    button("use").disabled = !drawing.figures.length;
    const hidden = chosen && !ctrlgenPose.isShown(drawing, chosen);
    const [joint, limb, part] = hidden ? ["Show joint", "Show limb", "Show part"] : ["Hide joint", "Hide limb", "Hide part"];
    const isGroup = chosen && chosen.part !== "body";
    ctrlgen.label(button("joint"), isGroup ? part : joint);
    ctrlgen.label(button("limb"), limb);
    button("limb").disabled = !chosen || isGroup;
    const help = "Drag a joint, or choose it with Tab and move it with the arrow keys (Ctrl: finer). "
      + "Shift moves all that is beyond it: at the neck the whole person.";
    const linked = used ? "Changes reach the unit at once. " : "";
    const now = chosen ? `${ctrlgenPose.label(drawing, chosen)}. ` : "";
    ctrlgen.label(area.querySelector(".ctrlgen-note"), now + linked + help);
  },

  // ---- pointers and keys

  // What is at a point of the screen: the nearest joint, or else the nearest hand or face.
  nearest(area, stage, event) {
    const {drawing, chosen} = ctrlgenPose.state(area);
    const bounds = stage.getBoundingClientRect();
    const far = (p) => Math.hypot(
      bounds.left + p.x * bounds.width - event.clientX, bounds.top + p.y * bounds.height - event.clientY);
    const found = [];
    drawing.figures.forEach((figure, number) => {
      const own = chosen && chosen.figure === number;
      figure.body.forEach((p, joint) => {
        const distance = p && (p.on || own) ? far(p) - (own ? 2 : 0) : Infinity;
        found.push({distance, at: {figure: number, part: "body", joint}});
      });
      ["left_hand", "right_hand", "face"].forEach((part) => {
        const shown = (figure[part] || []).filter((p) => p && (p.on || own));
        const distance = Math.min(...shown.map(far)) * 1.5; // joints come first
        found.push({distance, at: {figure: number, part, joint: 0}});
      });
    });
    found.sort((one, other) => one.distance - other.distance);
    const reach = ctrlgenPose.reach[event.pointerType] || ctrlgenPose.reach.mouse;
    return found.length && found[0].distance <= reach ? found[0].at : null;
  },

  element: (area, at) => area.querySelector(`[data-at="${at.figure} ${at.part} ${at.joint}"]`),

  // Make the focused joint the chosen one.
  choose(area, element) {
    if (!element.dataset.at) return;
    const [figure, part, joint] = element.dataset.at.split(" ");
    const {chosen} = ctrlgenPose.state(area);
    const same = chosen && chosen.figure === Number(figure) && chosen.part === part && chosen.joint === Number(joint);
    if (same) return;
    ctrlgenPose.state(area).chosen = {figure: Number(figure), part, joint: Number(joint)};
    ctrlgenPose.draw(area);
  },

  // Follow a drag of a joint or of a group; with Shift, of all that is beyond the joint.
  grab(area, stage, event) {
    if (event.button > 0) return;
    const state = ctrlgenPose.state(area);
    const at = ctrlgenPose.nearest(area, stage, event);
    event.preventDefault(); // the focus goes to the joint, not to what is below the pointer
    state.chosen = at;
    ctrlgenPose.draw(area);
    if (!at) return;
    ctrlgenPose.element(area, at).focus({preventScroll: true});
    const before = JSON.stringify(state.drawing);
    const from = {x: event.clientX, y: event.clientY};
    const bounds = stage.getBoundingClientRect();
    let moved = null;
    const follow = (move) => {
      const by = [(move.clientX - from.x) / bounds.width, (move.clientY - from.y) / bounds.height];
      if (!moved && Math.hypot(move.clientX - from.x, move.clientY - from.y) < 2) return;
      moved = JSON.parse(before);
      ctrlgenPose.move(ctrlgenPose.moving(moved.figures[at.figure], at, event.shiftKey), ...by);
      state.drawing = moved;
      ctrlgenPose.draw(area);
    };
    const end = (last) => {
      stage.removeEventListener("pointermove", follow);
      ["pointerup", "pointercancel"].forEach((name) => stage.removeEventListener(name, end));
      state.drawing = JSON.parse(before);
      if (moved && last.type === "pointerup") ctrlgenPose.done(area, before, moved);
      else ctrlgenPose.draw(area);
    };
    stage.setPointerCapture(event.pointerId);
    stage.addEventListener("pointermove", follow);
    ["pointerup", "pointercancel"].forEach((name) => stage.addEventListener(name, end));
  },

  key(area, event) {
    const {chosen, drawing} = ctrlgenPose.state(area);
    const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const step = steps[event.key];
    const command = event.ctrlKey || event.metaKey;
    if (!drawing) return;
    if (command && event.key.toLowerCase() === "z") ctrlgenPose.step(area, ...(event.shiftKey ? ["redo", "undo"] : ["undo", "redo"]));
    else if (command && event.key.toLowerCase() === "y") ctrlgenPose.step(area, "redo", "undo");
    else if (!chosen || !event.target.dataset.at) return;
    else if (step) {
      const by = Math.max(drawing.width, drawing.height) * ctrlgenPose.nudge * (command ? 0.1 : 1);
      ctrlgenPose.change(area, (made) => {
        const points = ctrlgenPose.moving(made.figures[chosen.figure], chosen, event.shiftKey);
        ctrlgenPose.move(points, step[0] * by / made.width, step[1] * by / made.height);
      });
    } else if (event.key === "Delete" || event.key === "Backspace") ctrlgenPose.toggle(area, event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  },

  update() {
    gradioApp().querySelectorAll(".ctrlgen-pose").forEach((area) => {
      if (!ctrlgenPose.field(area)) return;
      if (!area.firstChild) ctrlgenPose.build(area);
      ctrlgenPose.follow(area);
      ctrlgenPose.background(area);
    });
    ctrlgenPose.learn();
  },
});

if (typeof ctrlgen !== "undefined") ctrlgen.started(ctrlgenPose.update);
