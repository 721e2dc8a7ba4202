// What the viewer chose: one value, which the controls show and the address keeps, so that it can be shared and undone.

import { isName, readAddress, writeAddress } from "./address.js";
import { element } from "./parts.js";

const SETTLE_MS = 120; // a slider on the move asks once it rests this long
const MAX_ITEMS = 500;
const SLIDERS = ["steps", "draws", "diversity"];

export class Choice {
  #page;
  #controls;
  #bounds;
  #address = null;
  #moved = null; // the control that changed last: its moves in a row are one step back
  #settling = null;
  #onUser;
  #onSettings;
  #onChange;
  #known = new Set();

  /**
   * `onUser` is called when another user (or none) is chosen, `onSettings` when the same one is asked for anew,
   * `onChange` when that will be soon.
   */
  constructor(page, onUser, onSettings, onChange) {
    this.#page = page;
    this.#controls = page.controls.elements;
    this.#onUser = onUser;
    this.#onSettings = onSettings;
    this.#onChange = onChange;
  }

  /** Begin with the address; `version` is the service's. */
  begin({ defaults, max_steps: maxSteps }) {
    const { steps, draws, diversity, interest_mode } = defaults;
    this.defaults = { k: 10, steps, draws, diversity, interest_mode, seed: null, categories: [] };
    this.#bounds = {
      k: { min: 1, max: MAX_ITEMS, whole: true },
      steps: { min: 1, max: maxSteps, whole: true },
      draws: { min: 1, max: Number(this.#controls.draws.max), whole: true },
      diversity: { min: 0, max: 1, whole: false },
      seed: { min: 0, max: Number.MAX_SAFE_INTEGER, whole: true },
    };
    this.#controls.steps.max = maxSteps;
    this.#page.controls.inert = false;
    this.#wire();
    this.#follow();
  }

  get user() {
    return this.value.user;
  }

  /** True while something has changed that was not yet asked for. */
  get changing() {
    return this.#settling !== null;
  }

  /** The body of a request for it. */
  request() {
    const { user, k, steps, draws, diversity, interest_mode, seed, categories } = this.value;
    const request = { user_id: user, k, steps, draws, diversity, interest_mode };
    if (seed !== null) request.seed = seed;
    if (categories.length) request.categories = categories;
    return request;
  }

  /** `instead`: in place of the step before, as if it had been chosen from the start. */
  choose(user, instead = false) {
    this.value.user = user;
    this.#remember(null, instead);
    this.#showUser();
    this.#onUser();
  }

  /** Offer these categories to who types one in. */
  learn(categories) {
    const before = this.#known.size;
    for (const name of categories) this.#known.add(name);
    if (this.#known.size === before) return;
    const options = [...this.#known].sort().map((name) => element("option", { value: name }));
    this.#page["known-categories"].replaceChildren(...options);
  }

  /** Bring the picker to the chosen user; nothing else does, since somebody may be typing there. */
  #showUser() {
    if (this.user !== null) this.#page.user.value = this.user;
    for (const button of this.#page.suggestions.children) {
      button.setAttribute("aria-pressed", String(button.textContent === this.user));
    }
  }

  /** Bring the controls to what is chosen. */
  #show() {
    const [value, controls, page] = [this.value, this.#controls, this.#page];
    const guided = value.interest_mode === "guidance"; // the guidance vectors are there before any step or draw
    for (const name of SLIDERS) {
      const { min, max } = this.#bounds[name];
      controls[name].value = value[name];
      controls[name].disabled = guided && name !== "diversity";
      controls[name].style.setProperty("--filled", (value[name] - min) / Math.max(max - min, 1));
      page[`${name}-value`].textContent = name === "diversity" ? value[name].toFixed(2) : value[name];
    }
    controls.interest_mode.value = value.interest_mode;
    const sizes = [...controls.k.options].map((option) => Number(option.value));
    if (!sizes.includes(value.k)) controls.k.add(new Option(value.k), sizes.findIndex((size) => size > value.k));
    controls.k.value = value.k;
    controls.seed.value = value.seed ?? "";
    controls.seed.removeAttribute("aria-invalid");
    controls.seed.disabled = page.redraw.disabled = guided;
    controls.category.placeholder = value.categories.length ? "" : "all";
    page["chosen-categories"].replaceChildren(...value.categories.map((name) => this.#chip(name)));
  }

  #chip(name) {
    const button = element("button", { type: "button", className: "filter", textContent: name });
    button.setAttribute("aria-label", `Remove ${name}`);
    button.addEventListener("click", () => {
      this.#change("categories", this.value.categories.filter((other) => other !== name));
      this.#controls.category.focus();
    });
    return button;
  }

  #wire() {
    this.#page.controls.addEventListener("submit", (event) => event.preventDefault());
    this.#page.controls.addEventListener("input", ({ target }) => this.#moveTo(target));
    this.#controls.category.addEventListener("change", () => this.#addCategory());
    this.#page.redraw.addEventListener("click", () => {
      this.value.seed = crypto.getRandomValues(new Uint32Array(1))[0];
      this.#ask();
    });
    this.#page.reset.addEventListener("click", (event) => {
      event.preventDefault();
      this.value = { user: this.user, ...this.defaults };
      this.#ask();
    });
    addEventListener("popstate", () => this.#follow());
  }

  #moveTo(control) {
    const { name, value } = control;
    if (name === "seed") {
      const seed = Number(value);
      const fits = /^\d*$/.test(value) && seed <= this.#bounds.seed.max;
      if (fits) this.#change(name, value === "" ? null : seed);
      else control.setAttribute("aria-invalid", "true");
    } else if (name === "interest_mode") {
      this.#change(name, value);
    } else if (Object.hasOwn(this.#bounds, name)) {
      this.#change(name, Number(value));
    }
  }

  #addCategory() {
    const name = this.#controls.category.value.trim();
    this.#controls.category.value = "";
    const { categories } = this.value;
    if (isName(name) && !categories.includes(name)) this.#change("categories", [...categories, name]);
  }

  #change(name, value) {
    this.value[name] = value;
    this.#show();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#ask(name), SETTLE_MS);
    this.#onChange();
  }

  #settle() {
    clearTimeout(this.#settling);
    this.#settling = null;
  }

  #ask(moved = null) {
    this.#remember(moved);
    this.#show();
    this.#onSettings();
  }

  #remember(moved, instead = false) {
    this.#settle();
    this.#page["address-note"].hidden = true;
    const address = writeAddress(this.value, this.defaults);
    if (address !== this.#address) {
      const goesOn = instead || (moved !== null && moved === this.#moved);
      history[goesOn ? "replaceState" : "pushState"](null, "", address);
      this.#address = address;
    }
    this.#moved = moved;
  }

  /** Take everything from the address: at first, after back or forward, and when somebody edits it. */
  #follow() {
    this.#settle();
    const before = this.value?.user;
    const { choice, complaints } = readAddress(location.hash, this.defaults, this.#bounds);
    this.value = choice;
    this.#moved = null;
    this.#address = writeAddress(choice, this.defaults);
    if ((location.hash || "#") !== this.#address) history.replaceState(null, "", this.#address);
    this.#page["address-note"].hidden = !complaints.length;
    this.#page["address-note"].textContent = `In the address: ${complaints.join("; ")}.`;
    this.#show();
    if (choice.user === before) {
      this.#onSettings();
    } else {
      this.#showUser();
      this.#onUser();
    }
  }
}
