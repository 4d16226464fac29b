// The cards of the request: what is asked, the units and their references.
import {curve, height} from "./curves.js";
import {bind, button, check, choice, line, make, number, param, slider} from "./fields.js";
import {picture} from "./pictures.js";
import {listen, mapOf, solo} from "./preview.js";
import {get, list, set} from "./state.js";
import {say} from "./words.js";

export const names = {}; // what the server offers, filled at the start

export const card = (path, title, kind, ...parts) => make(
  "div", {"class": `card ${kind}`, "role": "group", "data-path": path, "data-card": true, "aria-label": title},
  make("h2", {}, title), ...parts, make("p", {class: "error", role: "alert", hidden: true}),
);

// The fields of a part of the request that no dial shows, as text.
export function rest(path, known) {
  const text = make("pre", {});
  const box = make("details", {class: "kept"}, make("summary", {}, say("kept")), text);
  const short = (_, value) => (typeof value === "string" && value.length > 200 ? `${value.slice(0, 60)}…` : value);
  bind(() => {
    const others = Object.entries(get(path) || {}).filter(([name]) => !known.includes(name));
    box.hidden = !others.length;
    text.textContent = others.map(([name, value]) => `${name}: ${JSON.stringify(value, short, 2)}`).join("\n");
  });
  return box;
}

const REQUEST = ["prompt", "negative_prompt", "model", "width", "height", "steps", "seed", "batch_size", "sampler",
  "scheduler", "cfg_scale", "units", "blend"];

export function request() {
  return card("$", say("request"), "request",
    line("$.prompt", say("prompt"), {area: true}),
    line("$.negative_prompt", say("negative")),
    make("div", {class: "grid"},
      choice("$.model", say("model"), names.checkpoints, {fallback: "ctrlgen-tiny"}),
      choice("$.sampler", say("sampler"), names.samplers, {fallback: "DPM++ 2M"}),
      choice("$.scheduler", say("scheduler"), names.schedulers, {fallback: "Automatic"}),
      number("$.width", say("width"), {fallback: 512, min: 64, max: names.side, step: 8}),
      number("$.height", say("height"), {fallback: 512, min: 64, max: names.side, step: 8}),
      number("$.steps", say("steps"), {fallback: 20, min: 1, max: 1000}),
      number("$.seed", say("seed"), {fallback: 0, min: -1}),
      number("$.batch_size", say("batch"), {fallback: 1, min: 1, max: 64}),
      line("$.cfg_scale", say("guidance"), {fallback: 7, schedule: true})),
    make("details", {}, make("summary", {}, say("guidanceCurve")),
      curve("$.cfg_scale", say("guidanceCurve"), {fallback: 7, kind: "guidance"})),
    rest("$", REQUEST));
}

// A model's name without folders, suffix and hash: a request may name it so.
const short = (name) => name.split("/").pop().replace(/ \[[0-9a-f]+\]$/, "").replace(/\.(safetensors|ckpt|pth?|bin)$/i, "");
const sameModel = (one, other) => one === other || (one !== "" && short(one) === short(other));

const fileOf = (unit) => names.files.find(({model, control}) => (unit.model ? model === unit.model : !model && control === unit.control))
  || (unit.model && names.files.find(({model}) => model && sameModel(model, unit.model)));

// The control family of a unit, or "" if its name does not say it.
const familyOf = (unit) => (unit.control && unit.control !== "auto" ? unit.control : (fileOf(unit) || {}).control || "");

// The preprocessors of a unit whose parameters have dials: one, by its name.
const preprocessorOf = (unit) => names.preprocessors.find((each) => each.name === (unit.preprocessor ?? "none"));

// What the structure of a unit's cards depends on: when this changes, they are built anew.
export const shapeOf = (unit) => [
  unit.model, unit.control, unit.preprocessor, (unit.references || []).map((each) => [each.role, Boolean(each.embedding)]),
];

function kindOf(unit) {
  const file = fileOf(unit);
  if (file && file.kinds.length === 1) return file.kinds[0];
  const found = Object.entries(names.kinds).find(([, {unit: own}]) => sameModel(own.model, unit.model ?? "")
    && own.preprocessor === (unit.preprocessor ?? "none") && (own.model || own.control === unit.control)
    && (own.params.weight_type ?? "linear") === ((unit.params || {}).weight_type ?? "linear"));
  return found ? found[0] : "";
}

function kinds(path) {
  const options = [["", say("otherKind")], ...Object.entries(names.kinds).map(([kind, {label}]) => [kind, label])];
  return choice(`${path}.kind`, say("kind"), options, {
    read: () => kindOf(get(path) || {}),
    write: (kind) => kind && set(path, {...get(path), ...names.kinds[kind].unit}),
  });
}

function models(path) {
  const value = ({model, control}) => (model ? `model:${model}` : `control:${control}`);
  const options = [["", say("noModel")], ...names.files.map((file) => [value(file), file.title])];
  const read = () => {
    const unit = get(path) || {};
    const known = fileOf(unit);
    return known ? value(known) : unit.model ? value(unit) : "";
  };
  return choice(`${path}.model`, say("controlModel"), options, {
    read,
    write(chosen) {
      const [kind, ...name] = chosen.split(":");
      const put = kind === "control" ? {model: "", control: name.join(":")} : {model: name.join(":"), control: "auto"};
      set(path, {...get(path), ...put, params: {}});
    },
  });
}

function preprocessors(path) {
  if (typeof (get(`${path}.preprocessor`) ?? "none") !== "string") return null; // a list stands among what is kept
  return choice(`${path}.preprocessor`, say("preprocessor"), names.preprocessors.map(({name, title}) => [name, title]), {
    fallback: "none",
    write: (name) => set(path, {...get(path), preprocessor: name, params: {}}),
  });
}

function parameters(path) {
  const unit = get(path) || {};
  const own = (preprocessorOf(unit) || {params: []}).params;
  const taken = own.map((each) => each.name);
  const family = (names.families[familyOf(unit)] || []).filter((each) => !taken.includes(each.name));
  const [plain, advanced] = [[...own, ...family].filter((each) => !each.advanced), family.filter((each) => each.advanced)];
  const dials = (params) => params.map((each) => param(`${path}.params`, each));
  return [
    plain.length ? make("details", {open: plain.length < 4}, make("summary", {}, say("parameters")), ...dials(plain)) : null,
    advanced.length ? make("details", {}, make("summary", {}, say("more")), ...dials(advanced)) : null,
  ];
}

function referenceOf(path, index) {
  const own = `${path}.references[${index}]`;
  const title = say("reference", index + 1);
  return make("div", {"class": "reference", "data-path": own},
    get(`${own}.embedding`) ? make("p", {class: "hint"}, say("saved")) : picture(`${own}.image`, title),
    line(`${own}.weight`, `${title}: ${say("weight")}`, {fallback: 1, schedule: true}),
    choice(`${own}.role`, say("role"), names.roles, {fallback: "reference"}),
    button(say("removeReference", index + 1), () => set(own, undefined)));
}

function references(path) {
  const unit = get(path) || {};
  const known = list(`${path}.references`);
  if (!known.length && !(names.fields[familyOf(unit)] || []).includes("references")) return [];
  return [
    ...known.map((_, index) => referenceOf(path, index)),
    known.length ? choice(`${path}.combine`, say("combine"), names.combine, {fallback: "concat"}) : null,
    button(say("addReference"), () => set(`${path}.references`, [...list(`${path}.references`), {image: "", weight: 1}])),
  ];
}

function mapCard(path, index) {
  const image = make("img", {alt: say("mapOf", index + 1)});
  const note = make("p", {class: "hint"});
  const refresh = () => {
    const url = mapOf(index);
    image.hidden = !url;
    if (url && image.getAttribute("src") !== url) image.src = url;
    note.textContent = get(`${path}.enabled`) === false ? say("noMapOff") : url ? "" : say("noMap");
  };
  bind(refresh);
  listen(refresh);
  return card(`${path}.map`, say("map"), "map", image, note);
}

const UNIT = ["model", "control", "image", "images", "enabled", "weight", "guidance_start", "guidance_end", "control_mode",
  "resize_mode", "references", "combine"];

// A row: picture, map, unit, strength.
export function unit(index) {
  const path = `$.units[${index}]`;
  const title = say("unit", index + 1);
  const own = get(path) || {};
  const shown = preprocessorOf(own) ? ["preprocessor"] : [];
  const dialled = [...((preprocessorOf(own) || {}).params || []), ...(names.families[familyOf(own)] || [])].map((each) => each.name);
  const undialled = Object.keys(own.params || {}).some((name) => !dialled.includes(name));
  const alone = button(say("solo"), () => solo(index), {class: "solo"});
  const pressed = () => alone.setAttribute("aria-pressed", String(solo.index === index));
  bind(pressed);
  listen(pressed);
  const row = make("div", {"class": "row unit", "role": "group", "aria-label": title},
    card(`${path}.image`, say("picture"), "source",
      picture(`${path}.image`, `${title}: ${say("picture")}`, {several: `${path}.images`}), ...references(path)),
    mapCard(path, index),
    card(path, title, "control",
      make("div", {class: "buttons"}, check(`${path}.enabled`, say("mute"), {fallback: true, inverse: true}), alone,
        button("×", () => set(path, undefined), {"class": "remove", "aria-label": say("removeUnit", index + 1), "title": say("removeUnit", index + 1)})),
      kinds(path), models(path), preprocessors(path), ...parameters(path),
      make("details", {}, make("summary", {}, `${say("mode")}, ${say("resize")}`),
        choice(`${path}.control_mode`, say("mode"), names.control_modes, {fallback: "balanced"}),
        choice(`${path}.resize_mode`, say("resize"), names.resize_modes, {fallback: "crop_and_resize"})),
      rest(path, [...UNIT, ...shown, ...(undialled ? [] : ["params"])])),
    card(`${path}.weight`, say("strength"), "strength",
      height(`${path}.weight`, say("highest")),
      line(`${path}.weight`, say("weight"), {fallback: 1, schedule: true}),
      curve(`${path}.weight`, `${title}`, {unit: path}),
      make("div", {class: "grid"},
        slider(`${path}.guidance_start`, say("from"), {fallback: 0, min: 0, max: 1, step: 0.01}),
        slider(`${path}.guidance_end`, say("to"), {fallback: 1, min: 0, max: 1, step: 0.01}))));
  bind(() => row.classList.toggle("muted", get(`${path}.enabled`) === false));
  return row;
}
