// A picture of the request: shown, chosen or dropped.
import {bind, button, make} from "./fields.js";
import {get, set} from "./state.js";
import {say} from "./words.js";

const read = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

const FIRST = {"iVBO": "png", "/9j/": "jpeg", "UklG": "webp"}; // how base64 of a format begins

// What an <img> can show of a request's picture: a data URL, or base64 alone; "" for a pose.
export function source(value) {
  if (typeof value !== "string" || !value) return "";
  if (value.startsWith("data:image/")) return value;
  const kind = FIRST[value.slice(0, 4)];
  return kind ? `data:image/${kind};base64,${value}` : "";
}

// The place of a picture. `several` is the path of a list in its place, which is shown and kept.
export function picture(path, label, {several = ""} = {}) {
  const image = make("img", {alt: label});
  const note = make("span", {class: "hint"});
  const input = make("input", {"type": "file", "accept": "image/*,.json", "data-path": path, "aria-label": say("choose", label)});
  const remove = button("×", () => set(path, undefined), {"class": "remove", "aria-label": say("removePicture"), "title": say("removePicture")});
  const take = async (file) => {
    if (file) set(path, await read(file));
  };
  input.addEventListener("change", async () => {
    await take(input.files[0]);
    input.value = "";
  });
  const zone = make("label", {
    class: "drop",
    ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
    ondragleave: () => zone.classList.remove("over"),
    ondrop: (event) => {
      event.preventDefault();
      event.stopPropagation();
      zone.classList.remove("over");
      take(event.dataTransfer.files[0]);
    },
  }, image, note, input);
  bind(() => {
    const many = several ? get(several) : undefined;
    const listed = Array.isArray(many) && many.length > 0;
    const value = listed ? many[0] : get(path);
    const shown = source(value);
    image.hidden = !shown;
    if (shown && image.getAttribute("src") !== shown) image.src = shown;
    note.textContent = listed ? say("several", many.length) : shown ? "" : value ? say("isPose") : say("drop");
    remove.hidden = listed || !value;
    input.disabled = listed;
  });
  return make("div", {class: "picture"}, zone, remove);
}
