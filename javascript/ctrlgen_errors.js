// Shows errors and warnings, which forms/field_errors.py makes, at their fields.
onUiLoaded(() => {
  let marks = []; // what Python wrote, with tab, source, field, part, before, note
  const read = {}; // what the page got about the last generation of each tab
  const all = (selector, root = gradioApp()) => [...root.querySelectorAll(selector)];
  const create = (name, values) => Object.assign(document.createElement(name), values);
  const inputs = (field) => all("input, textarea, select", field);

  // What the user put into a field.
  function value(field) {
    const texts = inputs(field).map((each) => (/check|radio/.test(each.type) ? each.checked : each.value));
    return [...texts, ...all("img, .file-preview", field).map((each) => each.src || each.textContent)].join();
  }

  function add(tab, source, given) {
    const found = given.elements.flatMap((id) => all(`#${id.replace("{tab}", tab)}`));
    const field = found.find((each) => !each.closest(".hidden, .hide, .\\!hidden")) || found[0];
    const mark = {...given, tab, source, field};
    remove((old) => field && old.field === field && old.source !== source);
    marks.push(mark);
    if (!field) return mark;
    const kind = mark.warning ? "note" : "error";
    mark.note = create("p", {className: `ctrlgen-${kind}`, textContent: mark.text});
    mark.part = /_(panel|tabs)$/.test(field.id); // more than one field
    mark.before = value(field);
    field.append(mark.note);
    return mark;
  }

  function outline({field, warning, part, note}, on) {
    if (!field || warning) return;
    field.classList.toggle("ctrlgen-wrong", on);
    const text = on ? note.textContent : null;
    if (!part) inputs(field).forEach((each) => Object.assign(each, {ariaInvalid: text && "true", ariaDescription: text}));
  }

  function remove(when) {
    const old = marks.filter(when);
    marks = marks.filter((mark) => !old.includes(mark));
    old.filter((mark) => mark.field).forEach((mark) => {
      outline(mark, false);
      mark.note.remove();
      mark.source.hidden = true; // the text of a preview
    });
  }

  // The outlines, the tabs, and the list at the top of the panel.
  function paint(tab) {
    const own = marks.filter((mark) => mark.tab === tab);
    const wrong = own.filter((mark) => !mark.warning);
    own.forEach((mark) => outline(mark, true));
    const items = all(`#ctrlgen_${tab}_tabs > .tabitem`);
    all(`#ctrlgen_${tab}_tabs > .tab-nav > button`).forEach((button, i) => (
      button.classList.toggle("ctrlgen-failed", Boolean(items[i]) && ctrlgen.wrong(tab, items[i]))));
    const said = wrong.map((mark) => mark.sentence).join("\n");
    all(`#ctrlgen_${tab}_errors .ctrlgen-errors`).filter((list) => list.dataset.said !== said).forEach((list) => {
      list.dataset.said = said;
      list.replaceChildren(...wrong.map(({sentence, field}) => (
        create("button", {
          textContent: sentence, title: ctrlgen.words("Shows the field"), className: "ctrlgen-error", onclick: () => open(field),
        }))));
    });
  }

  // Open the tabs and accordions around a field, and scroll to it. The focus stays where it is.
  function open(field) {
    for (let part = field; part && part.parentElement; part = part.parentElement) {
      const beside = (selector) => all(`:scope > ${selector}`, part.parentElement);
      beside(".label-wrap:not(.open)").forEach((bar) => bar.click());
      const button = beside(".tab-nav > button")[beside(".tabitem").indexOf(part)];
      if (button && part.style.display === "none") button.click();
    }
    if (field) setTimeout(() => field.scrollIntoView({block: "center"}), 200);
  }

  function show(tab, source, given) {
    remove((mark) => mark.tab === tab && mark.source === source);
    const first = given.map((each) => add(tab, source, each)).find((mark) => !mark.warning);
    const typing = document.activeElement.matches("textarea, [type=text], [type=number]");
    if (first && !typing) open(first.field);
  }

  function update() {
    remove(({source, field, part, before}) => source.isConnected === false ||
      (field && (!field.isConnected || (!part && value(field) !== before))));
    ["txt2img", "img2img"].forEach((tab) => {
      const [info] = all(`#generation_info_${tab} textarea`);
      if (info && read[tab] !== info.value) {
        read[tab] = info.value;
        const made = info.value && JSON.parse(info.value).extra_generation_params;
        show(tab, "generation", (made && made["CtrlGen marks"]) || []);
      }
      all(`#ctrlgen_${tab}_panel [data-marks], [id^=script_${tab}_ctrlgen] [data-marks]`).forEach((preview) => {
        const given = JSON.parse(preview.dataset.marks);
        preview.removeAttribute("data-marks");
        show(tab, preview, given);
      });
      paint(tab);
    });
  }

  // A new generation ends what was said of the last one, even if no answer comes.
  document.addEventListener("click", ({target}) => {
    const button = target.closest("#txt2img_generate, #img2img_generate");
    if (button) remove((mark) => button.id.startsWith(mark.tab));
    update();
  });
  ["input", "change"].forEach((name) => document.addEventListener(name, update));
  onAfterUiUpdate(update);
});
