// The panel's browser side: how many units are on, which slider a schedule replaces, and the
// numbers that stand elsewhere in the page.
const ctrlgen = {
  tabs: ["txt2img", "img2img"],
  failures: {}, // the last one of each tab

  root: () => gradioApp(),

  number(id, fallback) {
    const input = ctrlgen.root().querySelector(`#${id} input[type=number]`);
    const value = input ? parseFloat(input.value) : NaN;
    return Number.isFinite(value) ? value : fallback;
  },

  text(id) {
    const area = ctrlgen.root().querySelector(`#${id} textarea`);
    return area ? area.value : "";
  },

  // Set a slider and its number, as if it was moved.
  put(id, value) {
    ctrlgen.root().querySelectorAll(`#${id} input`).forEach((input) => {
      input.value = value;
      updateInput(input);
    });
  },

  // The steps that will run, and the prompts: img2img runs a part of them, unless the settings say otherwise.
  steps(tab, args) {
    const steps = ctrlgen.number(`${tab}_steps`, 20);
    const strength = ctrlgen.number("img2img_denoising_strength", 0.75);
    const fixed = typeof opts !== "undefined" && opts.img2img_fix_steps;
    const part = tab === "img2img" && !fixed;
    args[0] = part ? Math.floor(Math.min(strength, 0.999) * steps) + 1 : steps;
    args[1] = ctrlgen.text(`${tab}_prompt`);
    args[2] = ctrlgen.text(`${tab}_neg_prompt`);
    return args;
  },

  // Draw a map of the blend: set its size, press Generate, and go back to single pictures.
  map(tab, side) {
    const set = (value) => ctrlgen.put(`ctrlgen_${tab}_blend_explore`, value);
    const wanted = side > 1 ? side : 5;
    set(wanted);
    setTimeout(() => {
      ctrlgen.root().querySelector(`#${tab}_generate`).click();
      setTimeout(() => set(0), 1000);
    }, 500);
    return wanted;
  },

  // Send the cell that is selected in the gallery to the panel: its settings go the way of pasted infotexts.
  send(tab) {
    const root = ctrlgen.root();
    const info = root.querySelector(`#generation_info_${tab} textarea`);
    const made = info && info.value ? JSON.parse(info.value) : {};
    const place = selected_gallery_index_id(`${tab}_gallery_container`);
    const text = place >= (made.index_of_first_image || 0) ? (made.infotexts || [])[place] : null;
    const button = root.querySelector(`#script_${tab}_ctrlgen_xy_tuner_send`);
    ctrlgen.label(button, text ? "Send this cell to the panel" : "Select a cell in the gallery first");
    if (text) ctrlgen.paste(tab, text);
  },

  // Let the WebUI read an infotext, as if it was pasted into the prompt.
  paste(tab, text) {
    const root = ctrlgen.root(), prompt = root.querySelector(`#${tab}_prompt textarea`);
    if (!prompt) return;
    prompt.value = text;
    updateInput(prompt);
    // The page reads the prompt once it has heard of the change.
    setTimeout(() => root.querySelector(`#${tab}_tools #paste, #${tab}_toprow #paste`).click(), 500);
  },

  // The gallery's picture for a unit: the selected one, or the first behind the grid; and what is wrong, as HTML.
  async last(tab, picture) {
    const root = ctrlgen.root();
    const items = (kind) => [...root.querySelectorAll(`#${tab}_gallery_container .thumbnail-item.thumbnail-${kind} img`)];
    const shown = items("small").length ? items("small") : items("lg");
    const info = root.querySelector(`#generation_info_${tab} textarea`);
    const first = info && info.value ? JSON.parse(info.value).index_of_first_image || 0 : 0;
    const chosen = Math.max(selected_gallery_index_id(`${tab}_gallery_container`), first);
    const image = shown[chosen] || shown[0];
    const wrong = (text) => [picture, `<p class="ctrlgen-error" role="alert">${text}</p>`];
    if (!image) return wrong("There is no result in the gallery of this tab yet: generate a picture first.");
    const answer = await fetch(image.src);
    if (!answer.ok) return wrong(`The result cannot be read any more (answer ${answer.status}): generate it again.`);
    const blob = await answer.blob();
    return new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve([reader.result, ""]);
      reader.readAsDataURL(blob);
    });
  },

  // Set the size, the steps and the guidance that the bundled tiny model is made for.
  tiny(tab) {
    const values = {width: 128, height: 128, steps: 20, cfg_scale: 4};
    Object.entries(values).forEach(([name, value]) => ctrlgen.put(`${tab}_${name}`, value));
    setTimeout(ctrlgen.update, 200);
  },

  // Say when the tiny model is loaded and the size is far from what it can do.
  tinyNote(tab) {
    const checkpoint = ctrlgen.root().querySelector("#setting_sd_model_checkpoint input");
    const sides = ["width", "height"].map((name) => ctrlgen.number(`${tab}_${name}`, 128));
    const loaded = Boolean(checkpoint && checkpoint.value.startsWith("ctrlgen-tiny"));
    const hidden = !loaded || sides.every((side) => side >= 64 && side <= 256);
    ctrlgen.root().querySelectorAll(`#ctrlgen_${tab}_tiny_note`).forEach((part) => {
      if (part.classList.contains("ctrlgen-hidden") !== hidden) part.classList.toggle("ctrlgen-hidden");
    });
  },

  size(tab, args) {
    args[0] = ctrlgen.number(`${tab}_width`, 512);
    args[1] = ctrlgen.number(`${tab}_height`, 512);
    return args;
  },

  // A text in the language of the WebUI.
  words: (text) => (typeof ctrlgenWords === "undefined" ? text : ctrlgenWords.of(text)),

  label(element, text) {
    const words = ctrlgen.words(text);
    if (element && element.textContent !== words) element.textContent = words;
  },

  count(tab) {
    const panel = ctrlgen.root().querySelector(`#ctrlgen_${tab}_panel`);
    if (!panel) return;
    const units = [...panel.querySelectorAll(".ctrlgen-enabled input[type=checkbox]")];
    const buttons = [...panel.querySelectorAll(`#ctrlgen_${tab}_tabs > .tab-nav > button`)];
    units.forEach((unit, i) => buttons[i] && buttons[i].classList.toggle("ctrlgen-on", unit.checked));
    const active = units.filter((unit) => unit.checked).length;
    const note = active === 0 ? "CtrlGen" : `CtrlGen (${active} unit${active > 1 ? "s" : ""} on)`;
    ctrlgen.label(panel.querySelector(".label-wrap > span"), note);
  },

  replaced(tab) {
    ctrlgen.root().querySelectorAll(`#ctrlgen_${tab}_panel .ctrlgen-weight`).forEach((row) => {
      const text = row.querySelector("textarea, input[type=text]");
      row.classList.toggle("ctrlgen-scheduled", Boolean(text && text.value.trim()));
    });
  },

  // What the page says of a failed generation, below the gallery.
  failure(tab) {
    const log = ctrlgen.root().querySelector(`#html_log_${tab}`);
    const said = log ? log.textContent : "";
    return /CtrlGen: |Error: \$/.test(said) ? said : "";
  },

  // Whether something in a tab is marked as wrong, or the last generation failed at its unit.
  wrong(tab, area) {
    const unit = /_unit(\d+)_tab$/.exec(area.id);
    const marked = area.querySelector(".ctrlgen-wrong, [id$=_map_error] .ctrlgen-error");
    return Boolean(marked || (unit && ctrlgen.failure(tab).includes(`$.units[${unit[1]}]`)));
  },

  // When a generation failed at a unit, let the unit look for files that the error says are missing.
  failed(tab) {
    const said = ctrlgen.failure(tab);
    if (ctrlgen.failures[tab] === said) return;
    ctrlgen.failures[tab] = said;
    const place = /(?:\$\.units\[|CtrlGen: Unit )(\d+)/.exec(said);
    const raised = /Error: \$/.test(said) && ctrlgen.root().querySelector(`#ctrlgen_${tab}_explain`);
    if (raised) raised.click();
    const button = place && ctrlgen.root().querySelector(`#ctrlgen_${tab}_unit${place[1]}_failed`);
    if (button) button.click();
  },

  // The editors, by what shows them: their scripts are loaded when that is first seen.
  editors: {
    ".ctrlgen-boxes": ["boxes"],
    ".ctrlgen-blend": ["concepts"],
    ".ctrlgen-curves, .ctrlgen-weight, [id^=ctrlgen_][id$=_prompt_weights]": ["schedule", "curve"], // and fields of schedules
    "[id^=ctrlgen_][id$=_pose_area]": ["pose"],
    ".ctrlgen-tuner": ["tuner"],
    ".ctrlgen-groups [id^=ctrlgen_][id$=_mask]": ["mask"],
    "[id^=ctrlgen_][id$=img_tabs]": ["units", "unit_bar", "unit_live"],
  },

  load() {
    const own = document.querySelector("script[src*='javascript/ctrlgen.js']");
    if (!own) return;
    Object.entries(ctrlgen.editors).forEach(([shown, names]) => {
      if (![...ctrlgen.root().querySelectorAll(shown)].some((part) => part.offsetParent)) return;
      delete ctrlgen.editors[shown];
      names.forEach((name) => {
        const script = document.createElement("script");
        script.src = own.src.replace("javascript/ctrlgen.js", `javascript/editors/${name}.js`);
        script.async = false; // in this order
        document.head.append(script);
      });
    });
  },

  // Resolves when the pose editor's script is loaded, which begins when its buttons are first seen.
  async poseEditor() {
    ctrlgen.load();
    while (typeof ctrlgenPose === "undefined" || !ctrlgenPose.update) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return ctrlgenPose;
  },

  // Called by an editor's script: `update` is run now, and after each click and each change of the page or of a field.
  started(update) {
    onAfterUiUpdate(update);
    ["input", "change", "click"].forEach((name) => document.addEventListener(name, update));
    update();
  },

  update() {
    ctrlgen.load();
    ctrlgen.tabs.forEach((tab) => {
      ctrlgen.count(tab);
      ctrlgen.replaced(tab);
      ctrlgen.tinyNote(tab);
      ctrlgen.failed(tab);
    });
  },
};

onAfterUiUpdate(ctrlgen.update);
onUiLoaded(() => {
  ctrlgen.tabs.forEach((tab) => {
    const panel = ctrlgen.root().querySelector(`#ctrlgen_${tab}_panel`);
    if (!panel) return;
    const column = ctrlgen.root().querySelector(`#${tab}_settings`) || panel; // with the size's sliders
    column.addEventListener("input", ctrlgen.update);
    column.addEventListener("change", ctrlgen.update);
    column.addEventListener("click", () => setTimeout(ctrlgen.update, 0)); // an accordion may have opened
  });
  ctrlgen.update();
});
