// The cards of a blend: its mode, and a row for each concept.
import {card, names, rest} from "./cards.js";
import {curve, height} from "./curves.js";
import {button, check, choice, line, make, number} from "./fields.js";
import {picture} from "./pictures.js";
import {get, list, set} from "./state.js";
import {say} from "./words.js";

const MOST = 8;
const taken = (part) => (names.blend_modes[get("$.blend.mode") ?? "prediction"] || {concept: [], blend: []})[part];

export function blend() {
  const takes = taken("blend");
  const modes = Object.keys(names.blend_modes);
  const known = ["mode", "concepts", ...["model", "normalise"].filter((name) => takes.includes(name))];
  const adapters = names.files.filter((file) => file.control === "ip_adapter").map((file) => file.model);
  return card("$.blend", say("blend"), "blend",
    make("div", {class: "grid"},
      choice("$.blend.mode", say("blendMode"), modes, {fallback: "prediction"}),
      takes.includes("model") ? choice("$.blend.model", say("blendModel"), ["", ...adapters], {fallback: ""}) : null,
      takes.includes("normalise") ? check("$.blend.normalise", say("normalise")) : null),
    make("div", {class: "buttons"},
      list("$.blend.concepts").length < MOST
        ? button(say("addConcept"), () => set("$.blend.concepts", [...list("$.blend.concepts"), {prompt: ""}])) : null,
      button(say("removeBlend"), () => set("$.blend", undefined))),
    rest("$.blend", known));
}

export function concept(index) {
  const path = `$.blend.concepts[${index}]`;
  const title = say("concept", index + 1);
  const takes = taken("concept");
  const has = (name) => takes.includes(name) || get(`${path}.${name}`) !== undefined;
  const shown = ["prompt", "image", "mask", "weight", "seed"].filter(has);
  return make("div", {"class": "row concept", "role": "group", "aria-label": title},
    has("image") ? card(`${path}.image`, say("picture"), "source", picture(`${path}.image`, `${title}: ${say("picture")}`)) : null,
    has("mask") ? card(`${path}.mask`, say("mask"), "source", picture(`${path}.mask`, `${title}: ${say("mask")}`)) : null,
    card(path, title, "control",
      has("prompt") ? line(`${path}.prompt`, say("conceptPrompt"), {area: true}) : null,
      has("seed") ? number(`${path}.seed`, say("noise"), {min: -1}) : null,
      list("$.blend.concepts").length > 2 ? button(say("removeConcept", index + 1), () => set(path, undefined)) : null,
      rest(path, shown)),
    has("weight") ? card(`${path}.weight`, say("strength"), "strength",
      height(`${path}.weight`, say("highest")),
      line(`${path}.weight`, say("weight"), {fallback: 1, schedule: true}),
      curve(`${path}.weight`, title)) : null);
}
