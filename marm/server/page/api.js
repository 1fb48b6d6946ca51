/** The one place that talks to the server: it bears the token and asks for one where the server wants it. */

const KEY = "marm.token";
let asking = null;

/** What the server says in words when it refuses. */
export class Fault extends Error {}

/** GET a path, or POST a body to it: the answer's JSON. */
export async function ask(path, body, signal) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const response = await reach(path, body, signal, token);
    if (response.status !== 401) return read(response);
    if (sessionStorage.getItem(KEY) === token) await newToken(token !== null);
  }
}

async function reach(path, body, signal, token) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  try {
    return await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault("The server does not answer.");
  }
}

async function read(response) {
  const text = await response.text();
  if (response.ok) return JSON.parse(text, exact);
  let why = `The server answered ${response.status}.`;
  try {
    why = JSON.parse(text).error ?? why;
  } catch {
    // What stands between here and the server may answer in its own way.
  }
  throw new Fault(why);
}

/** Ids of 64 bits do not fit a number of the browser: they stay as they are written, which is how ids compare. */
function exact(name, value, { source } = {}) {
  const lost = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return lost && /^-?\d+$/.test(source ?? "") ? source : value;
}

/** Ask once, however many requests wait. */
function newToken(wasWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask");
    const field = document.getElementById("token");
    if (wasWrong) document.getElementById("ask-why").textContent = "That was not the token. Try again.";
    const form = document.getElementById("ask-form");
    const take = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value);
      field.value = "";
      form.removeEventListener("submit", take);
      dialog.close();
      asking = null;
      resolve();
    };
    form.addEventListener("submit", take);
    // Nothing can be seen without it, so Escape does not close it.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}
