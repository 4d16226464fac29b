// Schedules in the page: the text form of lib_ctrlgen/request/schedule.py read, written and sampled.
// tests/webui/test_curve_page.py compares every value with Python's.
const ctrlgenSchedule = {
  easings: {
    "linear": (t) => t,
    "hold": () => 0,
    "ease-in": (t) => t * t,
    "ease-out": (t) => 1 - (1 - t) ** 2,
    "ease-in-out": (t) => (1 - Math.cos(Math.PI * t)) / 2,
    "smooth": (t) => t * t * (3 - 2 * t),
  },
  token: /\s*(?:([+-]?(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(\.\.|[@>,*])|([A-Za-z][A-Za-z-]*)|(\S))/g,

  // The curves of a text: a list of {frames: [{at, value, easing}], from, to}. Throws an Error whose
  // message marks the position.
  read(text) {
    const found = [...text.matchAll(ctrlgenSchedule.token)];
    let place = 0;
    const here = () => (found[place] ? found[place][0].trim() : "");
    const fail = (message) => {
      const at = found[place] ? found[place].index + found[place][0].search(/\S/) : text.length;
      throw new Error(`${message}: ${text.slice(0, at)}\u25B6${text.slice(at)}`);
    };
    const accept = (sign) => here() === sign && ++place > 0;
    const number = (low, high, what) => {
      const value = found[place] && found[place][1] !== undefined ? Number(found[place][1]) : NaN;
      if (Number.isNaN(value)) fail(`expected a ${what}`);
      if (value < low || value > high) fail(`a ${what} must be from ${low} to ${high}`);
      place += 1;
      return value;
    };
    const value = () => number(-1e6, 1e6, "number");
    const progress = () => number(0, 1, "progress");
    const easing = () => {
      if (!found[place] || found[place][3] === undefined || here() === "in") return "linear";
      if (!(here() in ctrlgenSchedule.easings)) fail("unknown easing");
      return found[place++][3];
    };
    const frames = () => {
      const first = value();
      if (accept(">")) {
        const last = value();
        return [{at: 0, value: first, easing: easing()}, {at: 1, value: last, easing: "linear"}];
      }
      if (here() !== "@") return [{at: 0, value: first, easing: "linear"}];
      const all = [];
      let next = first;
      do {
        if (all.length) next = value();
        if (!accept("@")) fail("expected '@'");
        const at = progress();
        if (all.length && at <= all[all.length - 1].at) fail("progress must rise from point to point");
        all.push({at, value: next, easing: easing()});
      } while (accept(","));
      return all;
    };
    const curve = () => {
      const made = {frames: frames(), from: 0, to: 1};
      if (!accept("in")) return made;
      made.from = progress();
      if (!accept("..")) fail("expected '..'");
      made.to = progress();
      if (made.to < made.from) fail("a window must not end before it starts");
      return made;
    };
    const curves = [curve()];
    while (accept("*")) curves.push(curve());
    if (place < found.length) fail(`unexpected '${here()}'`);
    return curves;
  },

  // The text of one curve: a number if it is constant, else its points.
  write(curve) {
    const [only] = curve.frames;
    const plain = curve.frames.length === 1 && only.at === 0;
    const points = curve.frames.map((frame) => {
      const easing = frame.easing === "linear" ? "" : ` ${frame.easing}`;
      return `${frame.value}@${frame.at}${easing}`;
    });
    const inside = curve.from > 0 || curve.to < 1 ? ` in ${curve.from}..${curve.to}` : "";
    return (plain ? String(only.value) : points.join(", ")) + inside;
  },

  // What other tools write, in CtrlGen's form: Deforum's `0:(0.5), 10:(1)` counts steps. The line to a point behind the
  // last step ends there.
  pasted(text, steps) {
    const found = [...text.matchAll(/(\d+)\s*:\s*\(?\s*([-+.\d]+)\s*\)?\s*(?:,|$)/g)];
    const whole = found.map(([part]) => part).join("").replace(/\s/g, "") === text.replace(/\s/g, "");
    const frames = found.map(([, step, value]) => ({at: Number(step) / steps, value: Number(value), easing: "linear"}));
    const rising = frames.every((frame, i) => Number.isFinite(frame.value) && (!i || frame.at > frames[i - 1].at));
    if (!frames.length || !whole || !rising) return text;
    const inside = frames.filter((frame) => frame.at <= 1);
    if (inside.length < frames.length && !inside.some((frame) => frame.at === 1)) {
      inside.push({...frames[0], at: 1, value: ctrlgenSchedule.one({frames, from: 0, to: 1}, 1)});
    }
    const round = (value) => Number(value.toFixed(4));
    return inside.map((frame) => `${round(frame.value)}@${round(frame.at)}`).join(", ");
  },

  // The value of a product of curves at a progress from 0 to 1.
  at(curves, progress) {
    return curves.reduce((product, curve) => product * ctrlgenSchedule.one(curve, progress), 1);
  },

  one(curve, progress) {
    if (progress < curve.from || (progress >= curve.to && curve.to < 1)) return 0;
    const {frames} = curve;
    const after = frames.findIndex((frame) => frame.at > progress);
    if (after === 0) return frames[0].value;
    if (after < 0) return frames[frames.length - 1].value;
    const [left, right] = [frames[after - 1], frames[after]];
    const width = right.at - left.at;
    const t = (progress - left.at) / width;
    const [low, high] = [Math.min(left.value, right.value), Math.max(left.value, right.value)];
    let found = left.value + (right.value - left.value) * ctrlgenSchedule.easings[left.easing](t);
    if (left.easing === "smooth") {
      const slopes = ctrlgenSchedule.slopesOf(frames);
      const s = 1 - t;
      found = (1 + 2 * t) * s * s * left.value + t * t * (3 - 2 * t) * right.value
        + t * s * s * slopes[after - 1] * width - t * t * s * slopes[after] * width;
    }
    return Math.min(Math.max(found, low), high);
  },

  known: new WeakMap(), // slopes by the points that they were computed for, which nobody changes

  slopesOf(frames) {
    const {known} = ctrlgenSchedule;
    if (!known.has(frames)) known.set(frames, ctrlgenSchedule.slopes(frames));
    return known.get(frames);
  },

  // The slope at each point of a cubic that does not overshoot (Fritsch and Butland, 1984).
  slopes(frames) {
    const widths = frames.slice(1).map((frame, i) => frame.at - frames[i].at);
    const rises = widths.map((width, i) => (frames[i + 1].value - frames[i].value) / width);
    if (rises.length < 2) return [rises[0], rises[0]];
    const flat = (slope) => (Number.isFinite(slope) ? slope : 0);
    const inner = rises.slice(1).map((next, i) => {
      const before = rises[i];
      if (before * next <= 0) return 0;
      const [one, other] = [2 * widths[i + 1] + widths[i], widths[i + 1] + 2 * widths[i]];
      return flat((one + other) / (one / before + other / next));
    });
    const end = (w0, w1, r0, r1) => {
      const slope = ((2 * w0 + w1) * r0 - w0 * r1) / (w0 + w1);
      if (r0 === 0 || (slope > 0) !== (r0 > 0)) return 0;
      return (r0 > 0) !== (r1 > 0) && Math.abs(slope) > 3 * Math.abs(r0) ? 3 * r0 : flat(slope);
    };
    const last = rises.length - 1;
    return [
      end(widths[0], widths[1], rises[0], rises[1]),
      ...inner,
      end(widths[last], widths[last - 1], rises[last], rises[last - 1]),
    ];
  },

  // The values that a run of this many steps uses.
  sample(curves, steps) {
    return Array.from({length: steps}, (_, step) => ctrlgenSchedule.at(curves, step / steps));
  },

  // How many of the steps call the network when every `reuse`-th acting step does.
  calls(values, reuse) {
    return Math.ceil(values.filter((value) => value !== 0).length / reuse);
  },

  // Curves by name, of the height 1.
  presets: {
    "Constant": "1",
    "Ramp up": "0>1",
    "Ramp down": "1>0",
    "Bell": "0@0 ease-in-out, 1@0.5 ease-in-out, 0@1",
    "Late": "0@0 hold, 1@0.5",
    "Early": "1@0 hold, 0@0.5",
    "Pulse": "0@0 hold, 1@0.2 hold, 0@0.4 hold, 1@0.6 hold, 0@0.8",
  },

  preset(name, high) {
    const [curve] = ctrlgenSchedule.read(ctrlgenSchedule.presets[name]);
    return {...curve, frames: curve.frames.map((frame) => ({...frame, value: frame.value * high}))};
  },
};
