// The tuner's fields: an example for each axis, and what a run costs before it starts. Nothing is sent.
const ctrlgenTuner = {
  spaced: /^\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*-\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\[\s*(\d+)\s*\]\s*$/,
  stepped: /^\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*-\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\(\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)\s*$/,
  pieceRule: /\s*(?:"((?:[^"]|"")*)"\s*|([^",][^,]*|))(,|$)/y,
  bytes: 1.8, // of a pixel in a PNG, roughly

  id: (tab, name) => `#script_${tab}_ctrlgen_xy_tuner_${name}`,

  value(tab, name) {
    const field = ctrlgen.root().querySelector(`${ctrlgenTuner.id(tab, name)} :is(textarea, input)`);
    if (!field) return "";
    return field.type === "checkbox" ? field.checked : field.value;
  },

  // The values that stand in a text, ranges not expanded; null for a text that cannot be read.
  pieces(text) {
    const lines = text.trim().split("\n").map((line) => line.trim()).filter(Boolean);
    if (lines.length > 1 && !lines.slice(0, -1).every((line) => line.endsWith(","))) return lines;
    const rule = ctrlgenTuner.pieceRule, whole = lines.join(" "), found = [];
    for (rule.lastIndex = 0; ;) {
      const piece = rule.exec(whole);
      if (!piece) return null;
      const value = piece[1] === undefined ? piece[2].trim() : piece[1];
      if (!value.trim()) return null;
      found.push(value);
      if (!piece[3]) return found;
    }
  },

  // The values of a piece: those of a range, or itself.
  expanded(piece) {
    const spaced = ctrlgenTuner.spaced.exec(piece), stepped = ctrlgenTuner.stepped.exec(piece);
    if (!spaced && !stepped) return [piece];
    const [first, last, third] = (spaced || stepped).slice(1).map(Number);
    const count = spaced ? third : third === 0 || (last - first) * third < 0 ? 0 : Math.floor((last - first) / third + 1e-9) + 1;
    const step = spaced ? (count > 1 ? (last - first) / (count - 1) : 0) : third;
    return Array.from({length: Math.min(count, 257)}, (_, k) => first + k * step);
  },

  // The values of a text; null if there is none, or if it cannot be read.
  values(text) {
    const found = ctrlgenTuner.pieces(text);
    const values = found && found.flatMap(ctrlgenTuner.expanded);
    return values && values.length ? values : null;
  },

  axes(tab) {
    return ["x", "y", "z"].map((name) => ({
      name: name.toUpperCase(),
      place: String(ctrlgenTuner.value(tab, `${name}_path`)).trim(),
      text: String(ctrlgenTuner.value(tab, `${name}_values`)),
    })).filter((axis) => axis.place);
  },

  // Seconds for a step of a megapixel: of the last generation in this page, else of an earlier one in this browser.
  pace(tab) {
    const log = ctrlgen.root().querySelector(`#html_log_${tab} .performance .time .measurement`);
    const info = ctrlgen.root().querySelector(`#generation_info_${tab} textarea`);
    const time = log && /(?:(\d+) min\. )?([\d.]+) sec/.exec(log.textContent);
    if (time && info && info.value) {
      const made = JSON.parse(info.value), steps = /Steps: (\d+)/.exec((made.infotexts || [])[0] || "");
      const tuned = /(\d+) pictures were generated\./.exec(ctrlgen.root().querySelector(`#html_log_${tab}`).textContent);
      const pictures = tuned ? Number(tuned[1]) : (made.all_seeds || []).length;
      const work = steps ? pictures * Number(steps[1]) * made.width * made.height / 1e6 : 0;
      if (work) localStorage.setItem("ctrlgen-pace", (60 * Number(time[1] || 0) + Number(time[2])) / work);
    }
    return Number(localStorage.getItem("ctrlgen-pace")) || null;
  },

  meanSteps(axes, steps) {
    const varied = axes.find((axis) => axis.place.toLowerCase() === "steps");
    const numbers = varied ? varied.values.map(Number).filter(Number.isFinite) : [];
    return numbers.length ? numbers.reduce((a, b) => a + b) / numbers.length : steps;
  },

  // Pictures, uncontrolled pictures for the scores, and both in pictures with all steps.
  work(axes, seeds, budget, share, controlled) {
    const product = (chosen) => chosen.reduce((all, axis) => all * axis.values.length, 1);
    const free = controlled ? budget ? seeds : seeds * product(axes.filter((axis) => !/unit/i.test(axis.place))) : 0;
    if (budget) return {cells: 0, pictures: budget, free, whole: budget + free};
    const cells = product(axes);
    if (!share) return {cells, pictures: cells * seeds, free, whole: cells * seeds + free};
    const full = Math.ceil(cells / 2) * seeds, short = free / seeds || 0;
    return {cells, pictures: cells + full, free: free + short, whole: share * (cells + short) + full + free};
  },

  duration(seconds) {
    if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
    return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  },

  // What a run costs, as a sentence, and whether it can run.
  sentence(tab, area) {
    const axes = ctrlgenTuner.axes(tab).map((axis) => ({...axis, values: ctrlgenTuner.values(axis.text)}));
    if (!axes.length) return ["Choose what varies.", true];
    const empty = axes.find((axis) => !axis.values);
    if (empty) return [`Write the values of ${empty.name}, such as ${ctrlgenTuner.example(area, empty.place)[0]}.`, true];
    const seeds = Number(ctrlgenTuner.value(tab, "seeds")) || 1, budget = Number(ctrlgenTuner.value(tab, "budget")) || 0;
    const share = !budget && ctrlgenTuner.value(tab, "coarse") ? Number(area.dataset.share) : 0;
    const on = [...ctrlgen.root().querySelectorAll(`#ctrlgen_${tab}_panel .ctrlgen-enabled input[type=checkbox]`)];
    const work = ctrlgenTuner.work(axes, seeds, budget, share, on.some((box) => box.checked));
    const [width, height] = ctrlgen.size(tab, []), pixels = width * height / 1e6;
    const steps = ctrlgenTuner.meanSteps(axes, ctrlgen.steps(tab, [])[0]), pace = ctrlgenTuner.pace(tab);
    const time = pace ? `about ${ctrlgenTuner.duration(work.whole * steps * pixels * pace)}` : "for the time, generate one picture first";
    const size = Math.max(1, Math.round((work.pictures + work.free) * pixels * ctrlgenTuner.bytes));
    const grid = work.cells ? `${work.cells} cells, ` : "At most ";
    const free = work.free ? ` and ${work.free} without units for the scores` : "";
    const many = `${work.pictures} picture${work.pictures === 1 ? "" : "s"}${free}`;
    const most = Number(area.dataset.most), large = work.cells * seeds > most && !ctrlgenTuner.value(tab, "force");
    const refused = large ? ` More than ${most} pictures are refused unless you allow them.` : "";
    return [`${grid}${many}; ${time}; about ${size} MB. Cells that an earlier run made are not made again.${refused}`, !large];
  },

  example: (area, place) => JSON.parse(area.dataset.choices)[place] || ["0.2, 0.4 or 0-1 [5]", ""],

  hints(tab, area) {
    ["x", "y", "z"].forEach((name) => {
      const field = ctrlgen.root().querySelector(`${ctrlgenTuner.id(tab, `${name}_values`)} textarea`);
      const place = String(ctrlgenTuner.value(tab, `${name}_path`)).trim();
      if (!field) return;
      const [example, about] = ctrlgenTuner.example(area, place).map(ctrlgen.words);
      const text = ctrlgen.words(`for example ${example}`);
      if (field.placeholder !== text) field.placeholder = text;
      if (field.title !== about) field.title = about;
    });
  },

  // Open the report whose link the server wrote into the page.
  open(tab) {
    setTimeout(() => {
      const link = ctrlgen.root().querySelector(`${ctrlgenTuner.id(tab, "link")} a`);
      if (link) window.open(link.href, "_blank");
    }, 200);
  },

  update() {
    ctrlgen.root().querySelectorAll(".ctrlgen-tuner").forEach((area) => {
      const {tab} = area.dataset;
      if (!area.offsetParent) return;
      ctrlgenTuner.hints(tab, area);
      const [text, fits] = ctrlgenTuner.sentence(tab, area);
      const shown = area.querySelector(".ctrlgen-cost");
      ctrlgen.label(shown, text);
      if (shown.classList.contains("ctrlgen-error") === fits) shown.classList.toggle("ctrlgen-error", !fits);
    });
  },
};

ctrlgen.started(ctrlgenTuner.update);
