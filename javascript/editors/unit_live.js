// The control map beside the picture, made anew some time after its unit was changed; then the menu of the picture.
const ctrlgenLive = {
  wait: 800, // ms after the last change
  again: 2000, // ms until the next try while the WebUI generates

  on: () => localGet("ctrlgen-live", "on") !== "off",

  switch(box) {
    box.checked = ctrlgenLive.on();
    box.addEventListener("change", () => localSet("ctrlgen-live", box.checked ? "on" : "off"));
  },

  generates: () => ctrlgen.tabs.some((tab) => {
    const button = gradioApp().querySelector(`#${tab}_interrupt`);
    return Boolean(button && button.offsetParent);
  }),

  // What the map of a unit depends on; empty if it has none.
  key(tab, unit) {
    const {image, preprocessor} = ctrlgenUnits.shows(tab, unit);
    const names = preprocessor.split("|").map((name) => name.trim().replace("+", "_"));
    if (!image || !ctrlgenUnits.thumbs.has(image) || !preprocessor || preprocessor === "none") return "";
    const id = `ctrlgen_${tab}_unit${unit}_`;
    const own = ["resolution", "resize_mode", "pose", ...names];
    const inputs = own.flatMap((name) => [...gradioApp().querySelectorAll(`[id^="${id}${CSS.escape(name)}"] :is(input, textarea, select)`)]);
    const values = inputs.map((input) => (/checkbox|radio/.test(input.type) ? input.checked : input.value));
    const size = ["width", "height"].map((name) => ctrlgen.number(`${tab}_${name}`, 512));
    return JSON.stringify([preprocessor, values, size, ctrlgenUnits.thumbs.get(image), image.naturalWidth, image.naturalHeight]);
  },

  update(tab, panel) {
    const unit = ctrlgenUnits.chosenUnit(tab);
    if (unit === null) return;
    ctrlgenPicture.title(tab, unit);
    if (!ctrlgenLive.on()) return;
    const key = ctrlgenLive.key(tab, unit);
    if (!key || panel.marks[unit].seen === key) return;
    panel.marks[unit].seen = key;
    ctrlgenLive.later(tab, panel, ctrlgenLive.wait);
  },

  later(tab, panel, wait) {
    clearTimeout(panel.timer);
    panel.timer = setTimeout(() => ctrlgenLive.make(tab, panel), wait);
  },

  async make(tab, panel) {
    const unit = ctrlgenUnits.chosenUnit(tab);
    if (unit === null || !ctrlgenLive.on()) return;
    if (ctrlgenLive.generates() || panel.asked) return ctrlgenLive.later(tab, panel, ctrlgenLive.again);
    const units = await ctrlgenUnits.change(tab);
    panel.asked = {unit, key: ctrlgenLive.key(tab, unit), values: units[unit].values};
    ctrlgenUnits.press(`${tab}_live`);
  },

  asked(tab) {
    const panel = ctrlgenUnits.panel(tab);
    const {unit, values} = panel.asked;
    return [unit, ...ctrlgen.size(tab, [0, 0]), ...ctrlgenUnits.fieldsOf(panel, values)];
  },

  made(tab, map, said) {
    const panel = ctrlgenUnits.panel(tab);
    const {unit, key} = panel.asked;
    panel.asked = null;
    if (said === "busy") return ctrlgenLive.later(tab, panel, ctrlgenLive.again);
    if (said === "quiet" || key !== ctrlgenLive.key(tab, unit)) return [];
    panel.placed = {unit, map, said};
    ctrlgenUnits.press(`${tab}_live_place`);
    return [];
  },

  placed(tab) {
    const panel = ctrlgenUnits.panel(tab);
    const {unit, map, said} = panel.placed;
    return panel.marks.flatMap((_, i) => (i === unit ? [map, said] : [{__type__: "update"}, {__type__: "update"}]));
  },
};

// The menu of a unit's picture: each returns the picture, and what is wrong, as HTML.
const ctrlgenPicture = {
  // The menu's title also says what it is set to while it is closed.
  title(tab, unit) {
    const {init, files} = ctrlgenUnits.shows(tab, unit);
    const set = (init && "img2img") || (files && `${files} file${files > 1 ? "s" : ""}`);
    const title = ctrlgenUnits.find(`${tab}_unit${unit}_picture_menu > .label-wrap > span`);
    ctrlgen.label(title, set ? `Picture from: ${set}` : "Picture from ...");
  },

  wrong: (picture, text) => [picture, `<p class="ctrlgen-error" role="alert">${text}</p>`],

  read: (blob) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  }),

  async clipboard(picture) {
    try {
      for (const item of await navigator.clipboard.read()) {
        const kind = item.types.find((type) => type.startsWith("image/"));
        if (kind) return [await ctrlgenPicture.read(await item.getType(kind)), ""];
      }
    } catch (error) {
      return ctrlgenPicture.wrong(picture, "The browser does not let the page read the clipboard: press Ctrl V over the picture.");
    }
    return ctrlgenPicture.wrong(picture, "There is no picture in the clipboard: copy one first.");
  },

  init(picture) {
    const image = gradioApp().querySelector("#img2img_image img");
    return image ? [image.src, ""] : ctrlgenPicture.wrong(picture, "There is no picture in the tab img2img: choose one there first.");
  },

  // Set the tab's width and height to the picture's, rounded to 8 and within the sliders' range.
  size(tab, unit) {
    const image = ctrlgenUnits.find(`${tab}_unit${unit}_image img`);
    if (!image) return [ctrlgenPicture.wrong(null, "Choose a picture first.")[1]];
    const scale = Math.min(1, 2048 / Math.max(image.naturalWidth, image.naturalHeight));
    const sides = {width: image.naturalWidth, height: image.naturalHeight};
    Object.entries(sides).forEach(([name, side]) => {
      ctrlgen.put(`${tab}_${name}`, Math.max(64, Math.round((side * scale) / 8) * 8));
    });
    return [""];
  },
};

// A folder as the pictures or masks of a batch: those in it become a unit's files, in the order of their names. Below
// the files stands whether there is one for each image of the batch.
const ctrlgenFolder = {
  picture: /^[^./][^/]*\.(png|jpe?g|webp|gif|bmp|tiff?|avif|json)$/i, // .json is a pose
  order: new Intl.Collator("en", {numeric: true}), // 2.png before 10.png

  // `files` are those of the folder and of the folders in it.
  async take(field, box, files) {
    if (!files.length) return;
    const [folder] = files[0].webkitRelativePath.split("/");
    const name = (file) => file.webkitRelativePath.slice(folder.length + 1);
    files.sort((one, other) => ctrlgenFolder.order.compare(name(one), name(other)));
    const pictures = files.filter((file) => ctrlgenFolder.picture.test(name(file)));
    const others = files.filter((file) => !pictures.includes(file)).map(name);
    const shown = others.length > 5 ? [...others.slice(0, 5), "..."] : others;
    if (pictures.length) await ctrlgenFolder.put(field, pictures);
    const left = others.length ? `Left out: ${shown.join(", ")}.` : "";
    Object.assign(box, {given: 0, said: pictures.length ? left : `There is no picture in the folder ${folder}.`});
    ctrlgenFolder.update();
  },

  // gradio shows its input only while a field is empty.
  async put(field, pictures) {
    const input = () => field.querySelector("input[type=file]");
    while (!input()) {
      field.querySelector("button[aria-label=Clear]")?.click(); // none while files are sent
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const transfer = new DataTransfer();
    pictures.forEach((file) => transfer.items.add(file));
    input().files = transfer.files;
    input().dispatchEvent(new Event("change", {bubbles: true}));
  },

  count(field, given) {
    const tab = field.id.split("_")[1];
    const wanted = ctrlgen.number(`${tab}_batch_size`, 1) * ctrlgen.number(`${tab}_batch_count`, 1);
    return given === wanted
      ? `${given} files, one for each image of the batch.`
      : `${given} files, but batch size times batch count is ${wanted}.`;
  },

  build(field) {
    const box = document.createElement("div");
    box.className = "ctrlgen-folder ctrlgen-bar";
    box.innerHTML = "<button type='button' title='Takes its pictures in the order of their names'>Choose a folder</button>"
      + "<input type='file' webkitdirectory hidden><span class='ctrlgen-note' aria-live='polite'></span>";
    const [button, input] = box.children;
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // the same folder can be chosen again
      ctrlgenFolder.take(field, box, files);
    });
    field.after(box);
    return box;
  },

  update() {
    gradioApp().querySelectorAll(".ctrlgen-unit :is([id$=_images], [id$=_masks])").forEach((field) => {
      if (!field.offsetParent) return;
      const after = field.nextElementSibling;
      const box = after && after.classList.contains("ctrlgen-folder") ? after : ctrlgenFolder.build(field);
      const given = field.querySelectorAll("tr.file").length;
      if (!given && box.given) box.said = ""; // the files were taken away
      box.given = given;
      ctrlgen.label(box.querySelector("span"), `${given ? ctrlgenFolder.count(field, given) : ""} ${box.said || ""}`.trim());
    });
  },
};

document.addEventListener("load", (event) => {
  if (event.target instanceof HTMLImageElement && event.target.closest("[id^=ctrlgen_][id$=_image]")) {
    ctrlgenUnits.thumbs.delete(event.target);
    ctrlgenUnits.update();
  }
}, true);
document.addEventListener("change", (event) => {
  const area = event.target.closest && event.target.closest("[id^=ctrlgen_][id*=_unit]");
  const found = area && /^ctrlgen_(\w+2img)_unit(\d+)_enabled$/.exec(area.id);
  if (found && ctrlgenUnits.panel(found[1])) ctrlgenUnits.panel(found[1]).marks[found[2]].muted = "";
});
document.addEventListener("click", () => setTimeout(ctrlgenUnits.update, 0)); // the panel may have opened
ctrlgen.started(ctrlgenUnits.update);
ctrlgen.started(ctrlgenFolder.update);
