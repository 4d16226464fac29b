// The page: its bar, its cards, and what opens and sends the request.
import {blend, concept} from "./blend.js";
import {names, request, shapeOf, unit} from "./cards.js";
import {showError} from "./errors.js";
import {button, forget, make, showAll} from "./fields.js";
import {deafen, listen, preview, wanted} from "./preview.js";
import {result} from "./result.js";
import {Refused, server} from "./server.js";
import {changed, get, list, redo, set, show, state, undo} from "./state.js";
import {say} from "./words.js";

const stack = make("div", {class: "stack"});
const message = make("p", {id: "message", role: "status"});
const said = (...parts) => message.replaceChildren(...parts);

// Do something that the server may refuse, and say what it says.
async function attempt(action) {
  said();
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    preview.error = error;
    said(error.path ? `${error.path}: ${error.message}` : error.message);
    showError();
  }
}

function opened(found) {
  show(found);
  said(say("opened", list("$.units").length, list("$.blend.concepts").length));
}

const blank = () => ({prompt: "", model: names.checkpoints[0] ?? "ctrlgen-tiny", seed: 1, units: []});

// Open the job among some files, with those of the others that it names.
async function files(chosen) {
  const job = [/\.ya?ml$/i, /\.json$/i].map((ending) => chosen.find((file) => ending.test(file.name))).find(Boolean);
  if (!job) throw new Refused("", say("openHint"));
  const text = await job.text();
  opened(await server.open(text, chosen.filter((file) => file !== job && text.includes(file.name))));
}

// The files of what was dropped, of a folder all that are in it.
async function inside(entry) {
  if (!entry) return [];
  if (entry.isFile) return [await new Promise((resolve, reject) => { entry.file(resolve, reject); })];
  const reader = entry.createReader();
  const found = [];
  for (let part = [null]; part.length;) {
    part = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    found.push(...part);
  }
  return (await Promise.all(found.map(inside))).flat();
}

async function save() {
  const url = URL.createObjectURL(await server.yaml(state.request));
  const link = make("a", {href: url, download: "request.yaml"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function queue() {
  const {title} = await server.make(state.request);
  said(`${say("made", title)} `, make("a", {href: "../page/"}, say("jobs")), ".");
}

function paste() {
  const area = make("textarea", {rows: 16, id: "pasted"});
  const label = make("label", {class: "field"}, make("span", {}, say("pasteLabel")), area);
  const close = () => dialog.remove();
  const open = () => attempt(async () => {
    close();
    opened(await server.open(area.value, []));
  });
  const dialog = make("dialog", {"aria-label": say("pasteTitle"), "onclose": close}, label,
    make("div", {class: "buttons"}, button(say("open"), open, {class: "primary"}), button(say("close"), close)));
  document.body.append(dialog);
  dialog.showModal();
}

function chooser(attributes) {
  const input = make("input", {type: "file", multiple: true, hidden: true, ...attributes});
  input.addEventListener("change", () => attempt(async () => {
    const chosen = [...input.files];
    input.value = "";
    await files(chosen);
  }));
  return input;
}

function bar() {
  const input = chooser({id: "file", accept: ".yaml,.yml,.json,image/*"});
  const folder = chooser({id: "folder", webkitdirectory: true});
  const tools = {
    undo: button(say("undo"), undo, {id: "undo", title: "Ctrl+Z"}),
    redo: button(say("redo"), redo, {id: "redo", title: "Ctrl+Shift+Z"}),
  };
  const refresh = () => {
    tools.undo.disabled = !state.past.length;
    tools.redo.disabled = !state.future.length;
  };
  changed(refresh);
  refresh();
  return make("header", {},
    make("h1", {}, "CtrlGen ", make("small", {}, say("title"))),
    make("div", {"class": "buttons", "role": "toolbar", "aria-label": say("title")},
      button(say("example"), () => attempt(async () => opened(await server.example())), {id: "example"}),
      button(say("openFile"), () => input.click(), {id: "open", title: say("openHint")}), input,
      button(say("openFolder"), () => folder.click(), {title: say("folderHint")}), folder,
      button(say("paste"), paste, {id: "paste"}),
      button(say("empty"), () => show(blank()), {id: "empty"}),
      tools.undo, tools.redo,
      button(say("exportYaml"), () => attempt(save), {id: "export"})),
    make("nav", {}, names.user, " · ", make("a", {href: "../page/"}, say("jobs")), " · ", make("a", {href: "../logout"}, say("logout"))));
}

const shape = () => JSON.stringify([
  list("$.units").map(shapeOf), get("$.blend") && [get("$.blend.mode"), list("$.blend.concepts").map((each) => Object.keys(each).sort())],
]);
let built = "";

// Build the cards anew if the request has other parts than before, and show its values.
function draw() {
  const now = shape();
  if (now === built) {
    showAll();
    return;
  }
  built = now;
  const focused = document.activeElement?.dataset?.path;
  forget();
  deafen();
  const blended = get("$.blend");
  const add = () => set("$.units", [...list("$.units"), {image: "", weight: 1}]);
  const mix = () => set("$.blend", {concepts: [{prompt: "{prompt}"}, {prompt: "", weight: 0.5}]});
  stack.replaceChildren(
    request(),
    ...list("$.units").map((_, index) => unit(index)),
    ...(blended ? [blend(), ...list("$.blend.concepts").map((_, index) => concept(index))] : []),
    make("div", {class: "buttons"}, button(say("addUnit"), add, {id: "add-unit"}), blended ? "" : button(say("addBlend"), mix)),
  );
  if (focused) document.querySelector(`[data-path=${JSON.stringify(focused)}]:not(.card)`)?.focus();
}

function keys(event) {
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (event.defaultPrevented || !command || !["z", "y"].includes(key) || event.target.closest("dialog")) return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) redo();
  else undo();
}

// What gets the request that the page's address names: of a recipe, a picture of a job, or a job; null for none.
function named(address) {
  const [recipe, id, picture] = ["recipe", "job", "picture"].map((name) => address.get(name));
  if (recipe) return () => server.recipe(recipe, address.get("version") ?? "");
  if (id) return () => picture === null ? server.job(id) : server.made(id, picture);
  return null;
}

async function begin() {
  Object.assign(names, await server.names());
  state.request = blank();
  const makes = button(say("make"), () => attempt(queue), {id: "make", class: "primary"});
  const card = result([makes]);
  document.body.append(bar(), message, make("main", {}, stack, card));
  listen(showError);
  draw();
  changed(draw);
  changed(wanted);
  document.addEventListener("keydown", keys);
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry());
    if (entries.some(Boolean)) attempt(async () => files((await Promise.all(entries.map(inside))).flat()));
  });
  const asked = named(new URLSearchParams(location.search));
  if (asked) await attempt(async () => opened(await asked()));
  else said(say("start"));
  document.body.dataset.ready = "true";
}

begin().catch((error) => document.body.append(make("p", {class: "error", role: "alert"}, error.message)));
