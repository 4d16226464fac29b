// The boxes of a GLIGEN unit as rectangles beside the text field that holds them. The text is what counts:
// a drag or a key changes the numbers in it, and what is typed moves the rectangles.
const ctrlgenBoxes = {
  most: 30,
  smallest: 0.02, // width and height of a box, as a share of the picture
  nudge: 0.01, // what an arrow key moves by
  line: /^\s*([-+.\d]+)[\s,]+([-+.\d]+)[\s,]+([-+.\d]+)[\s,]+([-+.\d]+)\s*:\s*(.*?)\s*$/,

  // The boxes in a text, and whether it is JSON; null for a text that cannot be read.
  read(text) {
    const json = text.trim().startsWith("[");
    try {
      const boxes = json ? JSON.parse(text) : ctrlgenBoxes.lines(text);
      const fits = (each) => each && Array.isArray(each.box) && each.box.length === 4
        && each.box.every(Number.isFinite);
      return Array.isArray(boxes) && boxes.every(fits) ? {boxes, json} : null;
    } catch (error) {
      return null;
    }
  },

  lines(text) {
    return text.split("\n").filter((line) => line.trim()).map((line) => {
      const found = ctrlgenBoxes.line.exec(line);
      return found && {box: found.slice(1, 5).map(Number), text: found[5]};
    });
  },

  // The text of boxes, the inverse of `read`.
  write(boxes, json) {
    if (json) return `[${boxes.map((each) => JSON.stringify(each)).join(",\n")}]`;
    return boxes.map((each) => `${each.box.join(" ")}: ${each.text}`).join("\n");
  },

  // A box after one of its edges, or all of it, was dragged by shares of the picture's width and height.
  // `part` has a sign per direction: -1 the left or upper edge, 1 the right or lower one; 0, 0: all of it.
  dragged(box, part, dx, dy) {
    const whole = part[0] === 0 && part[1] === 0;
    const sides = [0, 1].map((axis) => {
      const [low, high, by] = [box[axis], box[axis + 2], axis === 0 ? dx : dy];
      if (whole) {
        const move = Math.min(Math.max(by, -low), 1 - high);
        return [low + move, high + move];
      }
      if (part[axis] < 0) return [Math.min(Math.max(low + by, 0), high - ctrlgenBoxes.smallest), high];
      if (part[axis] > 0) return [low, Math.max(Math.min(high + by, 1), low + ctrlgenBoxes.smallest)];
      return [low, high];
    });
    const round = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1000) / 1000;
    return [sides[0][0], sides[1][0], sides[0][1], sides[1][1]].map(round);
  },

  // The rectangle between two points.
  between(from, to) {
    const [left, right] = [from.x, to.x].sort((a, b) => a - b);
    const [top, bottom] = [from.y, to.y].sort((a, b) => a - b);
    return ctrlgenBoxes.dragged([left, top, right, bottom], [1, 1], 0, 0);
  },

  field: (area) => gradioApp().querySelector(`#${area.dataset.field} textarea`),

  // Put boxes into the text field, as if they were typed.
  put(area, boxes, json) {
    const field = ctrlgenBoxes.field(area);
    field.value = ctrlgenBoxes.write(boxes, json);
    updateInput(field);
    ctrlgenBoxes.draw(area);
  },

  // Change one box: `box` are its new numbers, null to remove it.
  change(area, index, box) {
    const {boxes, json} = ctrlgenBoxes.read(ctrlgenBoxes.field(area).value);
    if (box) boxes[index] = {...boxes[index], box};
    else boxes.splice(index, 1);
    ctrlgenBoxes.put(area, boxes, json);
    const rest = area.querySelectorAll(".ctrlgen-box");
    if (rest.length) rest[Math.min(index, rest.length - 1)].focus();
  },

  // Add a box, and let its phrase be typed.
  add(area, box) {
    const field = ctrlgenBoxes.field(area);
    const found = ctrlgenBoxes.read(field.value);
    if (!found || found.boxes.length >= ctrlgenBoxes.most) return;
    ctrlgenBoxes.put(area, [...found.boxes, {box, text: ""}], found.json);
    const end = field.value.length - (found.json ? 3 : 0); // before "}]
    field.focus();
    field.setSelectionRange(end, end);
  },

  note(area, found) {
    if (!found) return "The text is not a list of boxes: the rectangles show when it is.";
    if (found.boxes.some((each) => !each.text && !each.image)) return "Write behind the colon what a box holds.";
    const left = ctrlgenBoxes.most - found.boxes.length;
    if (left <= 0) return `No more than ${ctrlgenBoxes.most} boxes.`;
    return "Drag on the empty area to add a box. Arrow keys move one, Shift resizes it, Delete removes it.";
  },

  rectangle(each, index) {
    const [left, top, right, bottom] = each.box;
    const made = document.createElement("div");
    const place = {left, top, width: right - left, height: bottom - top};
    Object.entries(place).forEach(([name, share]) => {
      made.style[name] = `${share * 100}%`;
    });
    made.className = "ctrlgen-box";
    made.tabIndex = 0;
    made.dataset.index = index;
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", ctrlgen.words(`Box ${index + 1}: ${each.text || "no phrase"}`));
    const phrase = document.createElement("span");
    phrase.textContent = each.text || "?";
    made.append(phrase);
    [[-1, -1], [1, -1], [-1, 1], [1, 1]].forEach((part) => {
      const corner = document.createElement("i");
      corner.dataset.part = JSON.stringify(part);
      corner.className = `ctrlgen-corner ${part[0] < 0 ? "left" : "right"} ${part[1] < 0 ? "top" : "bottom"}`;
      made.append(corner);
    });
    return made;
  },

  draw(area) {
    const field = ctrlgenBoxes.field(area);
    if (!field) return;
    const [width, height] = ["width", "height"].map((name) => ctrlgen.number(`${area.dataset.tab}_${name}`, 512));
    const shown = `${width} ${height} ${field.value}`;
    if (area.dataset.shown === shown) return;
    area.dataset.shown = shown;
    const found = ctrlgenBoxes.read(field.value);
    const stage = area.querySelector(".ctrlgen-stage");
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.classList.toggle("ctrlgen-unreadable", !found);
    stage.replaceChildren(...(found ? found.boxes : []).map(ctrlgenBoxes.rectangle));
    ctrlgen.label(area.querySelector(".ctrlgen-note"), ctrlgenBoxes.note(area, found));
  },

  point(stage, event) {
    const bounds = stage.getBoundingClientRect();
    const share = (value) => Math.min(Math.max(value, 0), 1);
    return {
      x: share((event.clientX - bounds.left) / bounds.width),
      y: share((event.clientY - bounds.top) / bounds.height),
    };
  },

  // Follow a drag: of a corner, of a box, or on the empty area, where it makes a new box.
  grab(area, stage, event) {
    const found = ctrlgenBoxes.read(ctrlgenBoxes.field(area).value);
    if (!found || event.button > 0) return;
    const held = event.target.closest(".ctrlgen-box");
    const part = event.target.dataset.part ? JSON.parse(event.target.dataset.part) : [0, 0];
    const from = ctrlgenBoxes.point(stage, event);
    const index = held ? Number(held.dataset.index) : found.boxes.length;
    let box = null;
    const shown = held || ctrlgenBoxes.rectangle({box: [from.x, from.y, from.x, from.y], text: ""}, index);
    const follow = (move) => {
      const to = ctrlgenBoxes.point(stage, move);
      box = held
        ? ctrlgenBoxes.dragged(found.boxes[index].box, part, to.x - from.x, to.y - from.y)
        : ctrlgenBoxes.between(from, to);
      if (!shown.isConnected) stage.append(shown);
      shown.style.cssText = ctrlgenBoxes.rectangle({box}, index).style.cssText;
    };
    const end = (last) => {
      stage.removeEventListener("pointermove", follow);
      ["pointerup", "pointercancel"].forEach((name) => stage.removeEventListener(name, end));
      if (!held) shown.remove();
      if (!box) return;
      if (last.type === "pointercancel") delete area.dataset.shown;
      else if (held) ctrlgenBoxes.change(area, index, box);
      else if (box[2] - box[0] > ctrlgenBoxes.smallest || box[3] - box[1] > ctrlgenBoxes.smallest) {
        ctrlgenBoxes.add(area, box);
      }
      ctrlgenBoxes.draw(area);
    };
    stage.setPointerCapture(event.pointerId);
    stage.addEventListener("pointermove", follow);
    ["pointerup", "pointercancel"].forEach((name) => stage.addEventListener(name, end));
  },

  key(area, event) {
    const held = event.target.closest(".ctrlgen-box");
    const found = held && ctrlgenBoxes.read(ctrlgenBoxes.field(area).value);
    if (!found) return;
    const index = Number(held.dataset.index);
    const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const step = steps[event.key];
    if (step) {
      const [dx, dy] = step.map((sign) => sign * ctrlgenBoxes.nudge);
      const part = event.shiftKey ? [1, 1] : [0, 0];
      ctrlgenBoxes.change(area, index, ctrlgenBoxes.dragged(found.boxes[index].box, part, dx, dy));
    } else if (event.key === "Delete" || event.key === "Backspace") {
      ctrlgenBoxes.change(area, index, null);
    } else {
      return;
    }
    event.preventDefault();
  },

  build(area) {
    area.innerHTML = "<div class='ctrlgen-stage' role='application' aria-label='Boxes'></div>"
      + "<button type='button' class='ctrlgen-add'>Add a box</button>"
      + "<p class='ctrlgen-note' aria-live='polite'></p>";
    const stage = area.querySelector(".ctrlgen-stage");
    stage.addEventListener("pointerdown", (event) => ctrlgenBoxes.grab(area, stage, event));
    stage.addEventListener("keydown", (event) => ctrlgenBoxes.key(area, event));
    area.querySelector("button").addEventListener("click", () => {
      ctrlgenBoxes.add(area, [0.25, 0.25, 0.75, 0.75]);
    });
  },

  update() {
    gradioApp().querySelectorAll(".ctrlgen-boxes").forEach((area) => {
      if (!area.firstChild) ctrlgenBoxes.build(area);
      ctrlgenBoxes.draw(area);
    });
  },
};

if (typeof ctrlgen !== "undefined") ctrlgen.started(ctrlgenBoxes.update);
