// The view of the pose editor (see pose.js): what it shows of a drawing, and what pointers and keys do.
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
