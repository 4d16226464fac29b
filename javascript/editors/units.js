// The tabs of units: what they show; and units that are added, removed, moved, muted, copied and pasted.
// Values move by an event of gradio whose outputs are the fields of all units (panel/unit_tabs.py).
const ctrlgenUnits = {
  panels: {}, // by tab, made when the tab's panel is first seen
  copies: {}, // fields with pictures of copied units by the hash that their texts have
  thumbs: new WeakMap(), // small pictures by the element that shows the picture

  find: (id) => gradioApp().querySelector(`#ctrlgen_${id}`),
  press: (id) => ctrlgenUnits.find(id).click(),

  panel(tab) {
    const about = ctrlgenUnits.find(`${tab}_units [data-about]`);
    if (!ctrlgenUnits.panels[tab] && about) {
      const told = JSON.parse(about.dataset.about);
      const marks = Array.from({length: told.units}, () => ({muted: "", solo: false, seen: ""})); // `seen`: what its map shows
      ctrlgenUnits.panels[tab] = {...told, marks, tab, shown: 1, jobs: [], undo: [], settled: 0};
    }
    return ctrlgenUnits.panels[tab];
  },

  // The buttons of the tabs, each with its area and the number of its unit, if it is one's.
  tabs(tab) {
    const box = ctrlgenUnits.find(`${tab}_tabs`);
    const areas = [...box.children].filter((part) => part.classList.contains("tabitem"));
    return [...box.querySelector(".tab-nav").children].map((button, place) => {
      const found = /_unit(\d+)_tab$/.exec(areas[place] ? areas[place].id : "");
      return {button, area: areas[place], unit: found ? Number(found[1]) : null};
    });
  },

  button: (tab, unit) => ctrlgenUnits.tabs(tab).find((each) => each.unit === unit).button,

  chosenUnit(tab) {
    const found = ctrlgenUnits.tabs(tab).find(({button}) => button.classList.contains("selected"));
    return found ? found.unit : null;
  },

  select(tab, unit, focused = false) {
    ctrlgenUnits.button(tab, unit).click();
    setTimeout(() => {
      ctrlgenUnits.update();
      if (focused) ctrlgenUnits.button(tab, unit).focus();
    }, 0);
  },

  say(tab, text, wrong = false) {
    const note = ctrlgenUnits.find(`${tab}_tabs .ctrlgen-units-note`);
    note.className = `ctrlgen-units-note ctrlgen-${wrong ? "error" : "note"}`;
    ctrlgen.label(note, text);
  },

  // What a unit's fields show.
  shows(tab, unit) {
    const id = `${tab}_unit${unit}`;
    const {find} = ctrlgenUnits;
    const value = (name) => {
      const input = find(`${id}_${name} input:not([type=range])`) || find(`${id}_${name} textarea`);
      return input ? input.value.trim() : "";
    };
    const checked = (name) => Boolean(find(`${id}_${name} input[type=checkbox]:checked`));
    const schedule = find(`${id}_weight_schedule textarea, #ctrlgen_${id}_weight_schedule input`);
    const kind = find(`${id}_kind input:checked:not([value=other]) + span`);
    return {
      kind,
      on: checked("enabled"),
      init: checked("use_init_image"),
      model: value("model") === "None" ? "" : value("model"),
      preprocessor: value("preprocessor"),
      image: find(`${id}_image img`),
      files: gradioApp().querySelectorAll(`#ctrlgen_${id}_images tr.file`).length,
      weight: schedule && schedule.value.trim() ? "curve" : value("weight"),
      wrong: ctrlgen.wrong(tab, find(`${id}_tab`)),
    };
  },

  // A model's name without its hash, its suffix, and the words that many names begin or end with.
  short(model) {
    const name = model.replace(/ ?\[\w+\]$/, "").replace(/^.*[\\/]/, "").replace(/\.(safetensors|pth|bin|pt|ckpt)$/, "");
    const version = "v\\d+[a-z\\d]*|sd[x\\d]\\w*|xl|fp16";
    const first = new RegExp(`^((control|controlnet|ctrlgen|tiny|lora|diffusers|sai|t2iadapter|${version})[_-])+`, "i");
    return name.replace(first, "").replace(new RegExp(`([_-](${version}))+$`, "i"), "") || name;
  },

  state: (tab, unit, shown) => (shown.on ? "on" : ctrlgenUnits.panel(tab).marks[unit].muted ? "muted" : "off"),

  thumb(image) {
    if (!image || !image.complete || !image.naturalWidth) return "";
    if (!ctrlgenUnits.thumbs.has(image)) {
      const canvas = document.createElement("canvas");
      const scale = 32 / Math.max(image.naturalWidth, image.naturalHeight);
      canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
      canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      ctrlgenUnits.thumbs.set(image, canvas.toDataURL());
    }
    return ctrlgenUnits.thumbs.get(image);
  },

  // The text of a tab, with the icon of the kind's button.
  describe(part, text, kind) {
    ctrlgen.label(part, text);
    const icon = kind ? getComputedStyle(kind).getPropertyValue("--ctrlgen-icon") : "";
    if (part.icon === icon) return;
    part.icon = icon;
    part.style.setProperty("--ctrlgen-icon", icon);
    part.classList.toggle("ctrlgen-icon", Boolean(icon));
  },

  // gradio makes a tab's button anew when it is chosen: what is in it is added again.
  label(tab, {button, unit}) {
    const shown = ctrlgenUnits.shows(tab, unit);
    const state = ctrlgenUnits.state(tab, unit, shown);
    const what = shown.kind ? shown.kind.textContent.trim() : ctrlgenUnits.short(shown.model);
    const weight = shown.weight === "curve" ? "\u223f" : String(parseFloat(shown.weight));
    const text = what ? `${what} ${weight}` : "";
    const words = [`Unit ${unit}`, what, shown.model ? "" : "no model", `weight ${shown.weight}`, state].filter(Boolean);
    const said = [...words, ...(shown.wrong ? ["error"] : [])].map(ctrlgen.words).join(", ");
    const thumb = shown.init ? "" : ctrlgenUnits.thumb(shown.image);
    if (!button.querySelector(".ctrlgen-what")) {
      button.insertAdjacentHTML("beforeend", '<img alt="" class="ctrlgen-thumb"><span class="ctrlgen-what"></span>');
    }
    const image = button.querySelector("img");
    if ((image.getAttribute("src") || "") !== thumb) image.src = thumb;
    if (image.hidden === Boolean(thumb)) image.hidden = !thumb;
    ctrlgenUnits.describe(button.querySelector(".ctrlgen-what"), text, shown.kind);
    const classes = {on: shown.on, muted: state === "muted", failed: shown.wrong, solo: ctrlgenUnits.panel(tab).marks[unit].solo};
    Object.entries(classes).forEach(([name, on]) => button.classList.toggle(`ctrlgen-${name}`, on));
    if (button.title !== said) {
      button.title = said;
      button.setAttribute("aria-label", said);
    }
    return Boolean(shown.on || shown.model || shown.image || shown.init);
  },

  update() {
    ctrlgen.tabs.forEach((tab) => {
      const box = ctrlgenUnits.find(`${tab}_tabs`);
      const panel = box && ctrlgenUnits.panel(tab);
      if (!panel || !box.offsetParent) return;
      if (!panel.bar) ctrlgenUnitBar.build(tab, panel, box);
      const tabs = ctrlgenUnits.tabs(tab);
      tabs.forEach((each) => {
        const chosen = each.button.classList.contains("selected");
        const facts = {role: "tab", "aria-selected": String(chosen), tabindex: chosen ? "0" : "-1"};
        Object.entries(facts).forEach(([name, value]) => {
          if (each.button.getAttribute(name) !== value) each.button.setAttribute(name, value);
        });
        if (each.unit === null) return;
        const used = ctrlgenUnits.label(tab, each);
        if (used && Date.now() > panel.settled) panel.shown = Math.max(panel.shown, each.unit + 1);
      });
      tabs.forEach(({button, unit}) => {
        const hidden = unit !== null && unit >= panel.shown;
        if (button.hidden !== hidden) button.hidden = hidden;
      });
      ctrlgenUnitBar.update(tab, panel);
      ctrlgenLive.update(tab, panel);
    });
  },

  // Let `job` change the units, each {values, muted, solo}; returns the units before. Without a job they are read.
  change(tab, job, undo = "") {
    const panel = ctrlgenUnits.panel(tab);
    const done = new Promise((resolve) => panel.jobs.push({job, undo, resolve}));
    ctrlgenUnits.press(`${tab}_units_move`);
    return done;
  },

  // Called by gradio with the values of all units' fields; returns the new ones.
  moved(tab, all) {
    const panel = ctrlgenUnits.panel(tab);
    const same = {__type__: "update"}; // the field stays as it is
    if (all.some((value) => Array.isArray(value) && value.some((file) => file && file.blob))) {
      setTimeout(() => ctrlgenUnits.press(`${tab}_units_move`), 300); // until the files are uploaded
      return all.map(() => same);
    }
    const {job, undo, resolve} = panel.jobs.shift();
    const size = panel.fields.length;
    const before = panel.marks.map((mark, i) => ({...mark, values: all.slice(i * size, (i + 1) * size)}));
    const {shown} = panel;
    const after = job ? job(before.map((unit) => ({...unit, values: [...unit.values]}))) : before;
    panel.marks = after.map(({muted, solo, seen}) => ({muted, solo, seen}));
    panel.settled = Date.now() + 500;
    if (undo) {
      const chosen = ctrlgenUnits.chosenUnit(tab);
      const changed = before.map((unit, i) => [i, unit]).filter(([i, unit]) => (
        after[i].values.some((value, k) => value !== unit.values[k])
      ));
      panel.undo.push({name: undo, changed, shown, chosen});
    }
    setTimeout(() => {
      ctrlgenUnits.update();
      resolve(after);
    }, 50);
    const is = (i, k) => after[i].values[k] === before[i].values[k];
    const values = after.flatMap((unit, i) => unit.values.map((value, k) => (is(i, k) ? same : value)));
    const model = panel.fields.indexOf("model"); // where it has changed, the button that undoes a kind is hidden
    return [...values, ...after.map((_, i) => (is(i, model) ? same : {...same, visible: false}))];
  },

  empty: (panel) => ({muted: "", solo: false, seen: "", values: panel.fields.map((name) => panel.defaults[name])}),

  // The unit that is added to the tabs, or null with a note if all are there.
  added(tab, panel) {
    if (panel.shown < panel.units) return panel.shown++;
    const more = panel.units < panel.most ? ` The setting "Units in the panel" allows up to ${panel.most}.` : "";
    ctrlgenUnits.say(tab, `All ${panel.units} units are here.${more}`, true);
    return null;
  },

  add(tab, panel) {
    const unit = ctrlgenUnits.added(tab, panel);
    if (unit !== null) ctrlgenUnits.select(tab, unit, true);
  },

  async duplicate(tab, panel, unit) {
    if (ctrlgenUnits.added(tab, panel) === null) return;
    const last = panel.shown - 1;
    panel.shown -= 1; // as it was before, for undo
    await ctrlgenUnits.change(tab, (units) => {
      panel.shown += 1;
      units.splice(last, 1);
      units.splice(unit + 1, 0, {...units[unit], solo: false});
      return units;
    }, "duplicate");
    ctrlgenUnits.select(tab, unit + 1, true);
  },

  async remove(tab, panel, unit) {
    await ctrlgenUnits.change(tab, (units) => {
      units.splice(unit, 1);
      units.splice(panel.shown - 1, 0, ctrlgenUnits.empty(panel));
      panel.shown = Math.max(1, panel.shown - 1);
      return units;
    }, "remove");
    ctrlgenUnits.select(tab, Math.min(unit, panel.shown - 1), true);
    ctrlgenUnits.say(tab, `Unit ${unit} was removed: Undo brings it back.`);
  },

  async move(tab, panel, from, to) {
    if (to < 0 || to >= panel.shown || from === to) return;
    await ctrlgenUnits.change(tab, (units) => {
      units.splice(to, 0, units.splice(from, 1)[0]);
      return units;
    }, "move");
    ctrlgenUnits.select(tab, to, true);
  },

  // A muted unit is off, and known to have been on.
  async mute(tab, panel, unit) {
    const enabled = panel.fields.indexOf("enabled");
    await ctrlgenUnits.change(tab, (units) => {
      const one = units[unit];
      if (one.values[enabled] || one.muted) {
        one.muted = one.values[enabled] ? "mute" : "";
        one.values[enabled] = !one.values[enabled];
      } else ctrlgenUnits.say(tab, `Unit ${unit} is off: there is nothing to mute.`, true);
      return units;
    });
  },

  async solo(tab, panel, unit) {
    const enabled = panel.fields.indexOf("enabled");
    await ctrlgenUnits.change(tab, (units) => {
      const ends = units[unit].solo;
      units.forEach((each) => {
        if (each.muted === "solo") Object.assign(each, {muted: ""}).values[enabled] = true;
        each.solo = false;
      });
      if (ends) return units;
      units.forEach((each, i) => {
        if (i !== unit && each.values[enabled]) Object.assign(each, {muted: "solo"}).values[enabled] = false;
      });
      Object.assign(units[unit], {muted: "", solo: true}).values[enabled] = true;
      return units;
    });
  },

  async undo(tab, panel) {
    const last = panel.undo.pop();
    if (!last) return;
    await ctrlgenUnits.change(tab, (units) => {
      last.changed.forEach(([i, unit]) => (units[i] = unit));
      panel.shown = Math.max(last.shown, 1);
      return units;
    });
    ctrlgenUnits.say(tab, `Undone: ${last.name}.`);
    ctrlgenUnits.select(tab, last.chosen === null ? 0 : last.chosen, true);
  },

  // Copying: gradio converts the values, Python writes the text, `copied` gets it.
  async copy(tab, panel, unit, pictures) {
    const units = await ctrlgenUnits.change(tab);
    panel.sent = {unit, pictures, values: units[unit].values};
    ctrlgenUnits.press(`${tab}_units_copy`);
  },

  fieldsOf: (panel, values) => values.slice(0, panel.fields.indexOf("map")),

  chosen(tab) {
    const panel = ctrlgenUnits.panel(tab);
    const {unit, pictures, values} = panel.sent;
    return [unit, pictures, ...ctrlgenUnits.fieldsOf(panel, values)];
  },

  async copied(tab, text, said) {
    const panel = ctrlgenUnits.panel(tab);
    if (!text) return ctrlgenUnits.say(tab, said, true);
    const value = (name) => panel.sent.values[panel.fields.indexOf(name)];
    const unit = JSON.parse(text);
    const keep = (name, given) => {
      const hash = Array.isArray(given) ? given[0] : given;
      if (String(hash).startsWith("sha:")) ctrlgenUnits.copies[`${name} ${hash}`] = value(name);
    };
    ["image", "images", "mask", "masks"].forEach((name) => keep(name, unit[name]));
    if (value("pose")) keep("pose", unit.image);
    const what = `Unit ${panel.sent.unit} was copied${panel.sent.pictures ? " with its pictures" : ""}.`;
    try {
      await navigator.clipboard.writeText(text);
      ctrlgenUnits.say(tab, what);
    } catch (error) {
      ctrlgenUnitBar.ask(panel, text);
      ctrlgenUnits.say(tab, "The browser does not let the page use the clipboard: copy the text below.");
    }
    return [];
  },

  async paste(tab, panel, unit) {
    try {
      ctrlgenUnits.insert(tab, panel, unit, await navigator.clipboard.readText());
    } catch (error) {
      ctrlgenUnitBar.ask(panel, "");
      ctrlgenUnits.say(tab, "The browser does not let the page read the clipboard: paste the text below.");
    }
  },

  insert(tab, panel, unit, text) {
    panel.sent = {unit, text};
    ctrlgenUnits.press(`${tab}_units_paste`);
  },

  given: (tab) => [ctrlgenUnits.panel(tab).sent.text],

  async pasted(tab, text, said) {
    const panel = ctrlgenUnits.panel(tab);
    const {unit} = panel.sent;
    if (!text) return ctrlgenUnits.say(tab, said, true);
    const {values, missing} = JSON.parse(text);
    Object.entries(missing).forEach(([path, hash]) => {
      [path, ...(path === "image" ? ["pose"] : [])].forEach((name) => {
        const known = ctrlgenUnits.copies[`${name} ${hash}`];
        if (known) [values[name], missing[path]] = [known, ""];
      });
    });
    const unknown = Object.keys(missing).filter((path) => missing[path]);
    await ctrlgenUnits.change(tab, (units) => {
      const fields = panel.fields.map((name) => (name in values ? values[name] : panel.defaults[name]));
      units[unit] = {muted: "", solo: false, seen: "", values: fields};
      return units;
    }, "paste");
    ctrlgenUnits.say(tab, unknown.length ? said : `Pasted into unit ${unit}.`, unknown.length > 0);
    return [];
  },
};
