// Requests to the server. The header says that this page sent them.
import {say} from "./words.js";

// An answer that is no success: its path in the request, empty if there is none, and a sentence.
export class Refused extends Error {
  constructor(path, message) {
    super(message);
    this.path = path;
  }
}

async function refusal(answer) {
  if (answer.status === 401) return new Refused("", say("expired"));
  try {
    const {detail} = await answer.json();
    return new Refused(detail.path || "", detail.message || String(detail));
  } catch {
    return new Refused("", `${answer.status} ${answer.statusText}`);
  }
}

async function ask(method, path, options = {}) {
  const headers = {"X-CtrlGen": "dials", ...options.headers};
  let answer;
  try {
    answer = await fetch(path, {...options, method, headers, credentials: "same-origin"});
  } catch (error) {
    throw new Refused("", say("failed", error.message));
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

const json = (path, content) => ask("POST", path, {
  headers: {"Content-Type": "application/json"}, body: JSON.stringify(content),
});

export const server = {
  names: async () => (await ask("GET", "names")).json(),
  example: async () => (await (await ask("GET", "example")).json()).request,
  job: async (id) => (await (await ask("GET", `jobs/${encodeURIComponent(id)}`)).json()).request,
  made: async (id, picture) => (await (await ask("GET", `jobs/${encodeURIComponent(id)}/pictures/${encodeURIComponent(picture)}`)).json()).request,
  recipe: async (name, version) => (await (await ask("GET", `recipes/${encodeURIComponent(name)}?${new URLSearchParams({version})}`)).json()).request,
  yaml: async (request) => (await json("yaml", {request})).blob(),
  make: async (request) => (await json("jobs", {request})).json(),
  preview: async (request, size) => (await json("previews", {request, size})).json(),
  drop: (id) => ask("DELETE", `previews/${id}`, {keepalive: true}).catch(() => null),
  file: async (path) => (await ask("GET", `../jobs/${path}`)).blob(),

  async open(text, pictures) {
    const form = new FormData();
    form.append("job", text);
    pictures.forEach((file) => form.append(file.name, file, file.name));
    return (await (await ask("POST", "open", {body: form})).json()).request;
  },
};
