// What a unit's picture is for, and its strength: what the page does without asking the server.
const ctrlgenKinds = {
  side: 48, // pixels of the copy of a picture that the server looks at

  field: (id) => gradioApp().querySelector(`#${id} textarea, #${id} input:not([type=range])`),

  // The fields of a strength from 0 to 100: weight, no schedule, start, end. `presets` are JSON: low, middle, high.
  strength(strength, presets) {
    const rows = JSON.parse(presets);
    const place = Math.min(Math.max(strength, 0), 100) / 50;
    const first = place < 1 ? 0 : 1;
    const value = (column) => {
      const [low, high] = [rows[first][column], rows[first + 1][column]];
      return Number((low + (high - low) * (place - first)).toFixed(3));
    };
    return [value(0), "", value(1), value(2)];
  },

  // What the server hears of the picture: a small copy of it, or a word for what takes its place.
  copy(picture, pictures, pose, init) {
    if (pose) return "pose";
    if (init) return "photo";
    if (!picture) return pictures && pictures.length ? "map" : "";
    return new Promise((resolve) => {
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = ctrlgenKinds.side;
        const context = canvas.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        resolve(canvas.toDataURL("image/png"));
      };
      image.onerror = () => resolve("photo"); // a format that only the server reads
      image.src = picture;
    });
  },

  // Let the server look again when another checkpoint is chosen, and at a unit that is seen for the first time.
  checkpoint(unit) {
    const field = ctrlgenKinds.field(`${unit}_checkpoint`);
    const list = gradioApp().querySelector("#setting_sd_model_checkpoint input");
    const title = (list && list.value) || (typeof opts !== "undefined" && opts.sd_model_checkpoint) || "";
    if (!field || field.value === title || !field.closest(".ctrlgen-unit").offsetParent) return;
    field.value = title;
    updateInput(field);
  },

  percent: (share) => `${Math.round(share * 100)} %`,

  // The line below the strength: model, preprocessor, weight and the steps in which the unit acts.
  chosen(line) {
    const {unit} = line.dataset;
    const value = (name) => (ctrlgenKinds.field(`${unit}_${name}`) || {value: ""}).value;
    const number = (name, fallback) => ctrlgen.number(`${unit}_${name}`, fallback);
    const [weight, start, end] = [number("weight", 1), number("guidance_start", 0), number("guidance_end", 1)];
    const scheduled = value("weight_schedule").trim();
    const model = value("model");
    const map = value("preprocessor");
    const parts = model && model !== "None" ? [model, map && map !== "none" ? map : "no preprocessor"] : ["no model"];
    parts.push(scheduled ? `weight ${scheduled}` : `weight ${weight}`);
    parts.push(`${ctrlgenKinds.percent(start)} to ${ctrlgenKinds.percent(end)} of the steps`);
    ctrlgen.label(line, parts.join(" · "));
    ctrlgenKinds.mark(unit, scheduled ? [] : [weight, start, end]);
  },

  // Mark the preset that the fields have, and dim the slider where they have no strength's values.
  mark(unit, values) {
    const field = ctrlgenKinds.field(`${unit}_presets`);
    if (!field || !field.value) return;
    const has = (strength) => {
      const [weight, , start, end] = ctrlgenKinds.strength(strength, field.value);
      return values.length > 0 && [weight, start, end].every((value, i) => Math.abs(value - values[i]) < 0.006);
    };
    const row = gradioApp().querySelector(`#${unit}_strength`).closest(".ctrlgen-strength");
    const custom = !has(ctrlgen.number(`${unit}_strength`, 0));
    if (row && row.classList.contains("ctrlgen-custom") !== custom) row.classList.toggle("ctrlgen-custom", custom);
    ["low", "middle", "high"].forEach((name, place) => {
      const button = gradioApp().querySelector(`#${unit}_strength_${name}`);
      const same = has(place * 50);
      if (!button || button.classList.contains("ctrlgen-chosen-level") === same) return;
      button.classList.toggle("ctrlgen-chosen-level", same);
      button.setAttribute("aria-pressed", String(same));
    });
  },

  // Give every field the sentence that says what it does.
  titles(place) {
    const texts = JSON.parse(place.dataset.texts);
    const panel = place.closest(".ctrlgen");
    const put = (part, text) => part && !part.title && (part.title = ctrlgen.words(text));
    panel.querySelectorAll(".ctrlgen-unit").forEach((unit) => {
      const start = unit.id.replace(/panel$/, "");
      Object.entries(texts.unit).forEach(([name, text]) => put(gradioApp().querySelector(`#${start}${name}`), text));
    });
    Object.entries(texts.panel).forEach(([id, text]) => put(gradioApp().querySelector(`#${id}`), text));
    place.dataset.done = "yes";
    return texts;
  },

  kindTitles(texts, panel) {
    panel.querySelectorAll(".ctrlgen-kinds input[type=radio]").forEach((input) => {
      const label = input.closest("label");
      if (label && !label.title && texts.kind[input.value]) label.title = ctrlgen.words(texts.kind[input.value]);
    });
  },

  update() {
    gradioApp().querySelectorAll(".ctrlgen-chosen").forEach((line) => {
      if (!line.offsetParent) return;
      ctrlgenKinds.checkpoint(line.dataset.unit);
      ctrlgenKinds.chosen(line);
    });
    gradioApp().querySelectorAll(".ctrlgen-tooltips").forEach((place) => {
      const panel = place.closest(".ctrlgen");
      if (!panel.querySelector(".ctrlgen-chosen")?.offsetParent && place.dataset.done) return;
      place.texts = place.texts || ctrlgenKinds.titles(place);
      ctrlgenKinds.kindTitles(place.texts, panel);
    });
  },
};

onAfterUiUpdate(ctrlgenKinds.update);
setInterval(ctrlgenKinds.update, 400); // values that the server sets raise no event
["input", "change"].forEach((name) => document.addEventListener(name, ctrlgenKinds.update));
// A tab or an accordion that is opened changes nothing that the WebUI reports.
document.addEventListener("click", () => setTimeout(() => {
  ctrlgen.update();
  ctrlgenKinds.update();
}, 100));
