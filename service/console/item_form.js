// The form that puts a video. Of one that is known it shows what is known, since what is put replaces all of that.

import { FormDialog } from "./form.js";
import { call, pathOf, put } from "./service.js";

const linesOf = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const momentOf = (text) => (text ? new Date(text).getTime() : null);

/** Of each field that a video keeps: as the form shows it, and as it is read from there. */
const FIELDS = {
  title: { shown: (title) => title ?? "", read: (text) => text.trim() || null },
  categories: { shown: (names) => names.join("\n"), read: linesOf },
  available_from: { shown: localTime, read: momentOf },
  available_until: { shown: localTime, read: momentOf },
};

export class ItemForm {
  #form;
  #hint;
  #onPut;
  #known = {}; // the id that was looked up, its state (null: none), and the fields as they were filled in

  /** `onPut` is called with the service's answer and the title. */
  constructor(dialog, onPut) {
    this.#form = new FormDialog(dialog, () => this.#put());
    this.#hint = dialog.querySelector("[role=status]");
    this.#onPut = onPut;
    this.#form.fields.item_id.addEventListener("change", () => this.#tryToLook());
  }

  /** `itemId`: null for one that is typed in. */
  open(title, itemId = null) {
    this.#known = {};
    this.#hint.textContent = "";
    this.#form.open(title, itemId, "[name=title]");
    if (itemId !== null) this.#tryToLook();
  }

  get #itemId() {
    return this.#form.fields.item_id.value.trim();
  }

  #tryToLook() {
    this.#look().catch(() => {}); // sending looks again, and tells of what fails
  }

  /** Fill in what is known of the video, where nothing else was typed. */
  async #look() {
    const id = this.#itemId;
    if (!id || this.#known.id === id) return;
    const state = await call(pathOf("items", id)).catch(nullIfUnknown);
    if (this.#itemId !== id || this.#known.id === id) return;
    this.#known = { id, state, filled: {} };
    this.#hint.textContent = state ? `Known: ${state.reason}. What is put replaces what is shown here.` : "A new video.";
    for (const [name, { shown }] of Object.entries(FIELDS)) {
      const field = this.#form.fields[name];
      if (!state || field.value) continue;
      field.value = shown(state[name]);
      this.#known.filled[name] = field.value;
    }
  }

  async #put() {
    const id = this.#itemId;
    await this.#look();
    const { state, filled } = this.#known;
    const body = { attributes: state?.attributes ?? {} };
    for (const [name, { read }] of Object.entries(FIELDS)) {
      const { value } = this.#form.fields[name];
      body[name] = value === filled[name] ? state[name] : read(value); // a field may show less than there is
    }
    const like = linesOf(this.#form.fields["from.like"].value);
    if (like.length) body.from = { like };
    this.#onPut(await put(`${pathOf("items", id)}?wait=all`, body), body.title);
  }
}

function nullIfUnknown(error) {
  if (error.status === 404) return null;
  throw error;
}

/** A moment as a field of the browser's time zone has it; "" for none, and for one that such a field cannot show. */
function localTime(moment) {
  if (moment === null) return "";
  const local = new Date(moment - new Date(moment).getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? "" : local.toISOString().slice(0, -1);
}
