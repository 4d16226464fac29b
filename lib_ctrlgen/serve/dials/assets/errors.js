// An error of the server at the card and the field that its JSON path names.
import {preview} from "./preview.js";

const parent = (path) => path.replace(/(\.[^.[\]]+|\[\d+\])$/, "");

// The field or card with this path, else with the nearest path above it.
function place(path) {
  for (let now = path; now; now = parent(now) === now ? "" : parent(now)) {
    const named = `[data-path=${JSON.stringify(now)}]`;
    const found = now !== "$" && (document.querySelector(`${named}:not([data-card])`) || document.querySelector(named));
    if (found) return found;
  }
  return document.querySelector(path === "$" ? ".card.request" : ".card.result");
}

let marked = {error: null, card: null};

export function showError() {
  if (preview.error === marked.error && (!marked.card || marked.card.isConnected)) return; // it is said already
  marked = {error: preview.error, card: null};
  document.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
  document.querySelectorAll(".card .error").forEach((each) => { each.hidden = true; });
  document.querySelectorAll(".card.wrong").forEach((each) => each.classList.remove("wrong"));
  if (!preview.error) return;
  const field = place(preview.error.path);
  const card = field.closest(".card");
  const label = field === card ? null : field.closest("label");
  const shown = label && !label.classList.contains("drop") && label.querySelector("span");
  const name = shown ? shown.textContent : field !== card && field.getAttribute("aria-label");
  const text = card.querySelector(":scope > .error");
  if (field !== card) field.setAttribute("aria-invalid", "true");
  card.classList.add("wrong");
  text.textContent = [name || preview.error.path, preview.error.message].filter(Boolean).join(": ");
  text.hidden = false;
  marked.card = card;
}
