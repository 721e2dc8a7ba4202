// What was put and taken down since the bundle in service, and doing both; for a key with the role `catalogue`.

import { FormDialog } from "./form.js";
import { ItemForm } from "./item_form.js";
import { askForKey, keptKey } from "./key.js";
import { element, namedButton, titleOf } from "./parts.js";
import { Latest, call, pathOf } from "./service.js";

const PAGE_SIZE = 20;
const NEEDED = "A key with the role catalogue shows here which videos were put and taken down, and may do both.";
const LOOKING = "Only for looking: set DIMEREC_CONSOLE_WRITES=true to put videos from here and to take them down.";
const NONE = { overlay: "No video is new or changed.", stale: "None: every video has a vector.", removed: "No video is removed." };
const VECTORS = {
  learned: "Its vector was learned",
  like: "Its vector is the mean of videos like it",
  content: "Its vector follows from its content",
  vector: "Its vector was given",
  categories: "Its vector is the mean of its categories",
};
const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const MAX_TIME = 8.64e15; // what is later is no date to a browser

export class Catalogue {
  #page;
  #toast;
  #refresh;
  #writes = false;
  #reading = new Latest();
  #after = null;
  #form;
  #removal;
  #title = null; // of the video that is to be taken down, where it was chosen and not typed in

  /** `refresh` is called when the catalogue has changed. */
  constructor(page, toast, refresh) {
    this.#page = page;
    this.#toast = toast;
    this.#refresh = refresh;
    this.#form = new ItemForm(page["put-dialog"], this.#wasPut);
    this.#removal = new FormDialog(page["removal-dialog"], this.#remove);
    page.put.addEventListener("click", () => this.#form.open("Put a video"));
    page.remove.addEventListener("click", () => this.#askToRemove(null, null));
    page["more-changes"].addEventListener("click", () => this.#read(this.#after));
    page.sources.addEventListener("change", () => this.#read());
    page["catalogue-key"].addEventListener("click", async () => {
      if (await askForKey("Videos are put and taken down with a key that has the role catalogue.")) location.reload();
    });
  }

  /** Show the panel; `writes`: it offers changes, where the key may make them. */
  async begin(writes) {
    this.#writes = writes;
    this.#page.catalogue.hidden = false;
    if (keptKey()) await this.#read();
    else this.#refuse(NEEDED);
  }

  /** What asks whether to take a video down; null where that is not offered. */
  get remover() {
    return this.#writes ? (item) => this.#askToRemove(item.item_id, titleOf(item)) : null;
  }

  #refuse(reason) {
    this.#writes = false;
    this.#page["catalogue-changes"].hidden = true;
    this.#page["catalogue-key"].hidden = false;
    this.#note(reason);
  }

  #note(text) {
    this.#page["catalogue-note"].textContent = text;
    this.#page["catalogue-note"].hidden = !text;
  }

  async #read(after = null) {
    const source = this.#page.sources.querySelector(":checked").value;
    const query = new URLSearchParams({ source, limit: PAGE_SIZE, ...(after !== null && { after }) });
    try {
      const answer = await this.#reading.run((signal) => call(`items?${query}`, { signal }));
      if (answer) this.#show(answer, source, after !== null);
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#refuse(`${error.message}. ${NEEDED}`);
      else this.#page.changes.replaceChildren(nothing(`${error.message}. ${error.remedy}`));
    }
  }

  #show({ items, after }, source, goesOn) {
    const page = this.#page;
    const focused = page["catalogue-changes"].contains(document.activeElement);
    page["catalogue-changes"].hidden = false;
    page["catalogue-actions"].hidden = !this.#writes;
    this.#note(this.#writes ? "" : LOOKING);
    const rows = items.map((item) => this.#row(item));
    if (goesOn) page.changes.append(...rows);
    else page.changes.replaceChildren(...(rows.length ? rows : [nothing(NONE[source])]));
    this.#after = after;
    page["more-changes"].hidden = after === null;
    if (focused && document.activeElement === document.body) page.changes.focus(); // its button is gone
  }

  #row(item) {
    const row = element(
      "li",
      { className: "change" },
      element("span", { className: "change-title", textContent: item.title ?? "Untitled" }),
      element("span", { className: "change-id", textContent: item.item_id, title: item.item_id }),
      element("span", { className: "change-facts", textContent: item.categories.join(", ") }),
      element("span", { className: "change-facts", textContent: factsOf(item) }),
      this.#writes ? element("span", { className: "change-actions" }, ...this.#buttons(item)) : "",
    );
    row.dataset.item = item.item_id;
    return row;
  }

  #buttons(item) {
    const title = titleOf(item);
    const put = (name) => namedButton(name, title, "small", () => this.#form.open(`${name} ${title}`, item.item_id));
    if (item.source === "removed") return [put("Put back")];
    return [put("Change"), namedButton("Take down", title, "small", () => this.#askToRemove(item.item_id, title))];
  }

  #askToRemove(itemId, title) {
    this.#title = title;
    this.#removal.open(title === null ? "Take a video down" : `Take down ${title}?`, itemId, ".cancel");
  }

  #remove = async () => {
    const id = this.#removal.fields.item_id.value.trim();
    const title = this.#title ?? id;
    const answer = await call(`${pathOf("items", id)}?wait=all`, { method: "DELETE" });
    const putBack = namedButton("Put back", title, "undo", () => this.#form.open(`Put back ${title}`, id));
    this.#toast(`Took down ${title}.${spreadOf(answer)}`, putBack);
    this.#changed("removed");
  };

  #wasPut = (answer, title) => {
    const { item_id: id, derived_from: origin, nearest } = answer;
    const near = nearest.length ? `, next to ${nearest.join(", ")}` : "";
    this.#toast(`Put ${titleOf({ title, item_id: id })}. ${VECTORS[origin]}${near}.${spreadOf(answer)}`);
    this.#changed("overlay");
  };

  /** Show the change where it is listed now, and in the recommendations. */
  #changed(source) {
    this.#page.sources.querySelector(`[value=${source}]`).checked = true;
    this.#read();
    this.#refresh();
  }
}

const nothing = (text) => element("li", { className: "nothing", textContent: text });

/** What to add about the processes of the service that may not know of a change yet; nothing where all know of it. */
function spreadOf({ sequence, effective, missing }) {
  if (effective === "everywhere") return "";
  if (sequence === null) return " The others hear of it once Redis is back.";
  if (missing === null) return " Redis does not tell whether all others know of it.";
  return ` Not known yet to ${missing.join(", ")}.`;
}

/** Where its vector comes from, when it is available, and why it stands where it does. */
function factsOf({ derived_from: origin, available_from: from, available_until: until, reason }) {
  const facts = [origin && VECTORS[origin], from !== null && `from ${timeOf(from)}`, until !== null && `until ${timeOf(until)}`];
  return [...facts, reason].filter(Boolean).join(" · ");
}

const timeOf = (moment) => (moment <= MAX_TIME ? TIME.format(moment) : `${moment} ms`);
