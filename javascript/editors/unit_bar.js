// The buttons below the tabs, and the tabs' mouse and keys.
const ctrlgenUnitBar = {
  actions: {
    add: ["Add unit", "Add a unit (A)"],
    duplicate: ["Duplicate", "Duplicate this unit (D)"],
    remove: ["Remove", "Remove this unit (Delete)"],
    left: ["\u25c0", "Move this unit to the left (Shift and arrow key, or drag its tab)"],
    right: ["\u25b6", "Move this unit to the right (Shift and arrow key, or drag its tab)"],
    mute: ["Mute", "Switch this unit off for now, or on again (M)"],
    solo: ["Solo", "Mute all other units for now, or end that (S)"],
    copy: ["Copy", "Copy this unit as text, with hashes for its pictures (Ctrl C)"],
    whole: ["Copy with pictures", "Copy this unit as text that holds its pictures, for another browser"],
    paste: ["Paste", "Paste a copied unit into this one (Ctrl V)"],
    undo: ["Undo", "Undo the last removal, paste, move or duplicate (Ctrl Z)"],
  },
  keys: {
    a: "add", d: "duplicate", Delete: "remove", m: "mute", s: "solo", "shift ArrowLeft": "left",
    "shift ArrowRight": "right", "ctrl c": "copy", "ctrl v": "paste", "ctrl z": "undo",
  },

  build(tab, panel, box) {
    const nav = box.querySelector(".tab-nav");
    nav.setAttribute("role", "tablist");
    nav.setAttribute("aria-label", "Units of CtrlGen");
    panel.bar = document.createElement("div");
    panel.bar.className = "ctrlgen-units-bar";
    const buttons = Object.entries(ctrlgenUnitBar.actions).map(([name, [label, title]]) => (
      `<button type="button" data-action="${name}" title="${title}" aria-label="${title}">${label}</button>`
    ));
    panel.bar.innerHTML = `<div class="ctrlgen-bar">${buttons.join("")}<label><input type="checkbox" class="ctrlgen-live">`
      + ' Live preview</label></div><p class="ctrlgen-units-note ctrlgen-note" role="status"></p>'
      + '<div class="ctrlgen-units-text" hidden><textarea rows="4" aria-label="A unit as text"></textarea>'
      + '<button type="button" class="ctrlgen-add">Insert</button></div>';
    nav.after(panel.bar);
    panel.bar.querySelector(".ctrlgen-bar").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) ctrlgenUnitBar.act(tab, button.dataset.action);
    });
    panel.bar.querySelector(".ctrlgen-add").addEventListener("click", () => {
      const asked = panel.bar.querySelector(".ctrlgen-units-text");
      asked.hidden = true;
      ctrlgenUnits.insert(tab, panel, ctrlgenUnits.chosenUnit(tab), asked.querySelector("textarea").value);
    });
    ctrlgenLive.switch(panel.bar.querySelector(".ctrlgen-live"));
    nav.addEventListener("keydown", (event) => ctrlgenUnitBar.key(tab, event));
    nav.addEventListener("pointerdown", (event) => ctrlgenUnitBar.grab(tab, panel, nav, event));
    new MutationObserver(ctrlgenUnits.update).observe(nav, {childList: true});
  },

  update(tab, panel) {
    const unit = ctrlgenUnits.chosenUnit(tab);
    const off = {
      add: panel.shown >= panel.units && panel.units >= panel.most,
      undo: panel.undo.length === 0,
      left: !unit,
      right: unit === null || unit >= panel.shown - 1,
    };
    const mark = unit === null ? {} : panel.marks[unit];
    panel.bar.querySelectorAll("[data-action]").forEach((button) => {
      const {action} = button.dataset;
      const disabled = action in off ? off[action] : unit === null;
      if (button.disabled !== disabled) button.disabled = disabled;
      if (action === "mute" || action === "solo") button.setAttribute("aria-pressed", String(Boolean(mark[action === "mute" ? "muted" : "solo"])));
    });
  },

  act(tab, action) {
    const panel = ctrlgenUnits.panel(tab);
    const unit = ctrlgenUnits.chosenUnit(tab);
    ctrlgenUnits.say(tab, "");
    if (unit === null && action !== "add" && action !== "undo") return;
    const {move, copy} = ctrlgenUnits;
    const own = {
      left: () => move(tab, panel, unit, unit - 1),
      right: () => move(tab, panel, unit, unit + 1),
      copy: () => copy(tab, panel, unit, false),
      whole: () => copy(tab, panel, unit, true),
    };
    (own[action] || (() => ctrlgenUnits[action](tab, panel, unit)))();
  },

  key(tab, event) {
    const modifiers = [event.ctrlKey || event.metaKey ? "ctrl " : "", event.shiftKey ? "shift " : ""].join("");
    const action = ctrlgenUnitBar.keys[modifiers + event.key];
    const step = modifiers ? 0 : {ArrowLeft: -1, ArrowRight: 1}[event.key] || 0;
    if (!action && !step) return;
    event.preventDefault();
    event.stopPropagation(); // these keys are the page's own, too
    if (action) return ctrlgenUnitBar.act(tab, action);
    const shown = ctrlgenUnits.tabs(tab).map(({button}) => button).filter((button) => !button.hidden);
    const place = shown.findIndex((button) => button.classList.contains("selected")) + step;
    const next = shown[(place + shown.length) % shown.length];
    const all = [...next.parentNode.children].indexOf(next);
    next.click();
    setTimeout(() => {
      ctrlgenUnits.update();
      ctrlgenUnits.tabs(tab)[all].button.focus();
    }, 0);
  },

  // The unit whose tab is the nearest to a place on the screen.
  nearest(tab, panel, at) {
    const away = ({button}) => {
      const box = button.getBoundingClientRect();
      return Math.hypot(box.x + box.width / 2 - at.clientX, box.y + box.height / 2 - at.clientY);
    };
    const units = ctrlgenUnits.tabs(tab).filter(({unit}) => unit !== null && unit < panel.shown);
    return units.reduce((best, each) => (away(each) < away(best) ? each : best)).unit;
  },

  // Drag a unit's tab to another place, by mouse, pen or touch; Escape ends it without a change.
  grab(tab, panel, nav, event) {
    const held = ctrlgenUnits.tabs(tab).find(({button}) => button.contains(event.target));
    if (!held || held.unit === null || event.button !== 0) return;
    const listening = new AbortController();
    const options = {signal: listening.signal};
    let target = null;
    const mark = () => ctrlgenUnits.tabs(tab).forEach(({button, unit}) => {
      button.classList.toggle("ctrlgen-target", target !== null && unit === target);
    });
    const end = (to) => {
      listening.abort();
      target = null;
      mark();
      if (to !== null && to !== held.unit) ctrlgenUnits.move(tab, panel, held.unit, to);
    };
    document.addEventListener("pointermove", (at) => {
      if (target === null && Math.hypot(at.clientX - event.clientX, at.clientY - event.clientY) < 8) return;
      target = ctrlgenUnitBar.nearest(tab, panel, at);
      mark();
    }, options);
    document.addEventListener("pointerup", () => {
      if (target !== null) { // the click that follows does not choose a tab
        const stop = (click) => click.stopPropagation();
        nav.addEventListener("click", stop, {capture: true});
        setTimeout(() => nav.removeEventListener("click", stop, {capture: true}), 0);
      }
      end(target);
    }, options);
    document.addEventListener("pointercancel", () => end(null), options);
    document.addEventListener("keydown", (pressed) => pressed.key === "Escape" && end(null), options);
  },

  // A text field for the text of a unit, where the browser keeps the clipboard to itself.
  ask(panel, text) {
    const asked = panel.bar.querySelector(".ctrlgen-units-text");
    const area = asked.querySelector("textarea");
    asked.hidden = false;
    area.value = text;
    area.focus();
    area.select();
  },
};
