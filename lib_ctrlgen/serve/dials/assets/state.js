// The request, its history, and who is told of a change. A request is never changed in place: undo gives back the
// same object, by which a preview of it is found again.
const MOST = 200;

export const state = {request: {}, past: [], future: []};
const listeners = [];
let last = ""; // the path that changes now

export const changed = (listener) => listeners.push(listener);
const names = (path) => path.match(/[^.[\]$]+/g) || [];

// The value at a JSON path; undefined where there is none.
export const get = (path) => names(path).reduce((value, name) => (value == null ? undefined : value[name]), state.request);

export const list = (path) => {
  const found = get(path);
  return Array.isArray(found) ? found : [];
};

function replaced(value, [name, ...rest], put) {
  if (name === undefined) return put;
  const copy = Array.isArray(value) ? [...value] : {...value};
  const inner = replaced(copy[name], rest, put);
  if (inner !== undefined) copy[name] = inner;
  else if (Array.isArray(copy)) copy.splice(Number(name), 1);
  else delete copy[name];
  return copy;
}

function tell(request) {
  state.request = request;
  listeners.forEach((listener) => listener());
}

// What follows is a new step of undo. Changes of one field before it are one step.
export function settle() {
  last = "";
}

// Put a value at a path; undefined removes it.
export function set(path, value) {
  if (get(path) === value) return;
  const part = value === undefined || typeof value === "object"; // a part that comes or goes is a step of its own
  if (last !== path || part) state.past = [...state.past, state.request].slice(-MOST);
  last = path;
  state.future = [];
  tell(replaced(state.request, names(path), value));
}

// Another request as a step that can be undone.
export function show(request) {
  if (request === state.request) return;
  settle();
  state.past = [...state.past, state.request].slice(-MOST);
  state.future = [];
  tell(request);
}

export function undo() {
  if (!state.past.length) return;
  settle();
  state.future = [state.request, ...state.future];
  tell(state.past.pop());
}

export function redo() {
  if (!state.future.length) return;
  settle();
  state.past = [...state.past, state.request];
  const [next, ...rest] = state.future;
  state.future = rest;
  tell(next);
}
