// The card in which the rows meet: the preview, what it was before, the last previews, and the state.
import {button, make} from "./fields.js";
import {listen, preview, solo, wanted} from "./preview.js";
import {get, show, state} from "./state.js";
import {say} from "./words.js";

const SIDES = [128, 192, 256, 384, 512, 768];
const STEPS = [4, 6, 8, 12, 20];
const FULL = {side: 4096, steps: 1000};

function chosen(name, label, values) {
  const select = make("select", {"id": `preview-${name}`}, ...values.map((value) => new Option(value, value)),
    new Option(say("full"), FULL[name]));
  select.value = preview[name];
  select.addEventListener("change", () => {
    preview[name] = Number(select.value);
    wanted();
  });
  return make("label", {class: "field"}, make("span", {}, label), select);
}

function notes() {
  const {shown, state: now} = preview;
  const found = [];
  const [width, height] = [get("$.width") ?? 512, get("$.height") ?? 512];
  if (solo.index !== null) found.push(say("soloed", solo.index + 1));
  if (Number(get("$.seed")) === -1) found.push(say("open_seed"));
  if (Math.max(width, height) > preview.side) found.push(say("small"));
  return shown && now === "ready" ? [...found, ...shown.warnings] : found;
}

function strip(list) {
  list.replaceChildren(...preview.entries.map((entry, index) => {
    const label = say("goBack", index + 1);
    const current = entry === preview.shown ? "true" : undefined;
    const image = make("img", {src: entry.url, alt: ""});
    return make("li", {}, make("button", {
      "type": "button", "aria-label": label, "title": label, "aria-current": current, "onclick": () => goBack(entry),
    }, image));
  }));
}

function goBack(entry) {
  solo.index = entry.size.only ?? null;
  if (entry.request === state.request) wanted();
  else show(entry.request);
}

export function result(made) {
  const image = make("img", {id: "preview", alt: say("previewOf"), hidden: true});
  const empty = make("p", {class: "hint"}, say("noPreview"));
  const status = make("p", {id: "status", role: "status"});
  const more = make("ul", {class: "notes"});
  const list = make("ol", {"class": "strip", "aria-label": say("last")});
  const compare = button(say("compare"), () => null, {id: "compare"});
  let looksBack = false;
  const refresh = () => {
    const entry = looksBack && preview.before ? preview.before : preview.shown;
    image.hidden = !entry;
    empty.hidden = Boolean(entry);
    if (entry && image.getAttribute("src") !== entry.url) image.src = entry.url;
    image.alt = looksBack ? say("before") : say("previewOf");
    image.classList.toggle("old", !looksBack && preview.state !== "ready");
    compare.disabled = !preview.before;
    status.textContent = preview.state ? say(preview.state, ...preview.detail) : "";
    more.replaceChildren(...notes().map((text) => make("li", {}, text)));
  };
  const look = (back) => {
    looksBack = back;
    compare.setAttribute("aria-pressed", String(back));
    refresh();
  };
  hold(compare, look);
  let count = null;
  listen(() => {
    refresh();
    const now = [preview.entries.length, preview.entries[0], preview.shown];
    if (count && now.every((each, index) => each === count[index])) return;
    count = now;
    strip(list);
  });
  const card = make("section", {"class": "card result", "data-card": true, "data-path": "", "aria-label": say("result")},
    make("h2", {}, say("result")), image, empty, status, make("p", {class: "error", role: "alert", hidden: true}), more, compare,
    make("div", {class: "grid"}, chosen("side", say("side"), SIDES), chosen("steps", say("previewSteps"), STEPS)),
    make("h3", {}, say("last")), list, ...made);
  return make("div", {class: "joint"}, card);
}

// Call `look(true)` while a button or the key B is held, and `look(false)` after it.
function hold(element, look) {
  const typing = (target) => target.closest("input:not([type=range], [type=checkbox]), textarea, select");
  element.addEventListener("pointerdown", () => look(true));
  ["pointerup", "pointerleave", "pointercancel", "blur"].forEach((name) => element.addEventListener(name, () => look(false)));
  const key = ({key: name, target}) => (target === element && (name === " " || name === "Enter"))
    || (name.toLowerCase() === "b" && !typing(target));
  document.addEventListener("keydown", (event) => {
    if (!event.repeat && !event.ctrlKey && !event.metaKey && key(event)) look(true);
  });
  document.addEventListener("keyup", (event) => key(event) && look(false));
}
