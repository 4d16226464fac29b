// The live preview: asked for when a change has settled, found again by its request, compared with the one before.
import {Refused, server} from "./server.js";
import {get, settle, state} from "./state.js";
import {say} from "./words.js";

const SETTLES = 500; // ms without a change
const KEPT = 12;
const MAP = /^\d+-map-(\d+)-/; // the files of control maps: the number of the unit

export const preview = {
  entries: [], // {request, size, url, maps: Map, seconds, warnings}, the oldest first
  shown: null, // the entry of the request as it is, or the last one that was
  before: null, // the entry that was shown before it
  maps: new Map(), // the last map of each unit: {url, unit}
  state: "",
  detail: [],
  error: null,
  side: 256,
  steps: 8,
};
const listeners = [];
export const listen = (listener) => listeners.push(listener);
export const deafen = () => listeners.splice(2); // the first two are the card of the result and the marks of errors, which stay
const tell = () => listeners.forEach((listener) => listener());

let timer = 0;
let pressed = false; // a pointer is down: something is being dragged
let asked = null; // what the server was asked for last: {request, size, id, events}

const PICTURES = ["image", "images", "references"];

// The last map of a unit; "" if it was made from other pictures than those that the unit has now.
export function mapOf(index) {
  const {url = "", unit = {}} = preview.maps.get(index) || {};
  const now = get(`$.units[${index}]`) || {};
  return PICTURES.every((name) => unit[name] === now[name]) ? url : "";
}

// Show one unit alone in the preview, or all again. The request is not changed.
export function solo(index) {
  solo.index = solo.index === index ? null : index;
  wanted();
}
solo.index = null;

function size() {
  const only = solo.index !== null && solo.index < (get("$.units") || []).length ? {only: solo.index} : {};
  return {side: preview.side, steps: preview.steps, ...only};
}

const isCurrent = (each) => each.request === state.request && JSON.stringify(each.size) === JSON.stringify(size());

function note(name, ...detail) {
  preview.state = name;
  preview.detail = detail;
  tell();
}

function put(entry) {
  if (preview.shown && preview.shown !== entry) preview.before = preview.shown;
  preview.shown = entry;
  entry.maps.forEach((url, index) => preview.maps.set(index, {url, unit: entry.request.units[index]}));
  preview.error = null;
  note("ready", entry.seconds);
}

function keep(entry) {
  preview.entries.push(entry);
  const gone = preview.entries.length > KEPT ? preview.entries.shift() : null;
  const used = [preview.shown, preview.before];
  if (gone && !used.includes(gone)) [gone.url, ...gone.maps.values()].forEach((url) => URL.revokeObjectURL(url));
}

// The request has changed: show its preview, or ask for one when nothing changes any more. Nothing is sent before.
export function wanted() {
  clearTimeout(timer);
  const entry = preview.entries.find(isCurrent);
  if (entry) {
    put(entry);
    return;
  }
  if (asked && isCurrent(asked)) {
    note("queued");
    return;
  }
  note("waits");
  timer = setTimeout(() => pressed || submit(), SETTLES);
}

// Ask for a preview, in the place of which the server cancels the one before.
async function submit() {
  settle();
  if (asked && asked.events) asked.events.close();
  const mine = asked = {request: state.request, size: size(), id: "", events: null};
  preview.error = null;
  note("queued");
  try {
    const {id} = await server.preview(mine.request, mine.size);
    if (mine === asked) follow(mine, id);
  } catch (error) {
    end(mine, error instanceof Refused ? error : new Refused("", String(error)));
  }
}

// There will be no picture: because of an error, or because another page asked for a preview.
function end(mine, error = null) {
  if (mine !== asked) return;
  asked = null;
  if (!isCurrent(mine)) return;
  preview.error = error;
  note(error ? "wrong" : "stopped");
}

function follow(mine, id) {
  const events = new EventSource(`../jobs/${id}/events`);
  Object.assign(mine, {id, events});
  events.addEventListener("progress", ({data}) => {
    const {state: now, done, total} = JSON.parse(data);
    if (isCurrent(mine) && now === "running" && total) note("running", done, total);
  });
  events.addEventListener("end", ({data}) => {
    events.close();
    finish(mine, JSON.parse(data));
  });
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) end(mine);
  });
}

async function finish(mine, job) {
  try {
    if (job.state === "done") await fetched(mine, job);
    else end(mine, job.error && new Refused(job.error.path, job.error.message));
  } catch (error) {
    end(mine, error instanceof Refused ? error : new Refused("", String(error)));
  }
  server.drop(job.id);
}

async function fetched(mine, job) {
  const url = async (path) => URL.createObjectURL(await server.file(`${job.id}/${path}`));
  const files = job.files.filter((name) => MAP.test(name)).map((name) => [Number(MAP.exec(name)[1]), name]).reverse();
  const picture = job.sheets.length ? `files/${job.sheets[0]}` : "pictures/0";
  const [first, ...urls] = await Promise.all([picture, ...files.map(([, name]) => `files/${name}`)].map(url));
  const maps = new Map(files.map(([index], place) => [index, urls[place]]));
  const seconds = Math.round((job.ended - job.started) * 10) / 10;
  const entry = {request: mine.request, size: mine.size, url: first, maps, seconds, warnings: job.warnings || []};
  if (mine === asked) asked = null;
  keep(entry);
  if (isCurrent(entry)) put(entry);
  else tell();
}

document.addEventListener("pointerdown", () => { pressed = true; }, true);
["pointerup", "pointercancel"].forEach((name) => document.addEventListener(name, () => {
  pressed = false;
  if (preview.state === "waits") wanted();
}, true));
window.addEventListener("pagehide", () => asked && asked.id && server.drop(asked.id));
