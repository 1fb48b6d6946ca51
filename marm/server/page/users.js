/** Picking a user: a combobox that searches as one types, and a button for a random one. */

import { ask, Fault } from "./api.js";
import { by, make } from "./dom.js";
import { whole } from "./format.js";

const PAUSE = 120;

/** Call `choose` with the id of every user who is picked, and `fault` with what goes wrong. */
export function pickFrom(choose, fault) {
  const input = by("user");
  const list = by("found");
  let options = [];
  let at = -1;
  let timer = 0;
  let asked = null;

  const close = () => {
    clearTimeout(timer);
    asked?.abort();
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const pick = (user) => {
    input.value = String(user);
    close();
    choose(user);
  };

  const mark = (place) => {
    at = place;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    if (at < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", list.children[at].id);
    list.children[at].scrollIntoView({ block: "nearest" });
  };

  const show = (users) => {
    options = users;
    list.replaceChildren(...users.map(({ user, events }, i) => {
      const option = make("li", { id: `found-${i}`, role: "option", "aria-selected": "false" },
        make("span", { class: "id" }, user), make("span", { class: "quiet" }, `${whole(events)} events`));
      // Before the input loses focus, which would close the list.
      option.addEventListener("mousedown", (event) => {
        event.preventDefault();
        pick(user);
      });
      return option;
    }));
    if (!users.length) list.append(make("li", { class: "quiet", role: "option", "aria-disabled": "true" }, "Nobody"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(-1);
  };

  const search = async () => {
    asked?.abort();
    asked = new AbortController();
    const query = new URLSearchParams({ search: input.value.trim(), limit: 12 });
    await quietly(async () => show((await ask(`/v1/inspect/users?${query}`, undefined, asked.signal)).users));
  };

  const quietly = async (work) => {
    try {
      await work();
    } catch (error) {
      if (error instanceof Fault) fault(error.message);
      else if (error.name !== "AbortError") throw error;
    }
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return close();
    if (event.key === "Enter") {
      event.preventDefault();
      const typed = input.value.trim();
      if (!list.hidden && at >= 0) pick(options[at].user);
      else if (typed !== "") pick(typed);
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    if (list.hidden) return void search();
    const step = event.key === "ArrowDown" ? 1 : -1;
    if (options.length) mark((at + step + options.length + (at < 0 && step < 0 ? 1 : 0)) % options.length);
  });
  by("random").addEventListener("click", () => quietly(async () => {
    const { users } = await ask("/v1/inspect/users?random=1");
    if (users.length) pick(users[0].user);
    else fault("There is no user yet.");
  }));
}
