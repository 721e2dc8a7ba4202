// A dialog with a form that is sent while it stays open: it closes once the service took it, and what the service finds
// fault with stands by its field.

import { element } from "./parts.js";

export class FormDialog {
  #dialog;
  #form;
  #alert;
  #submit;
  #send;

  /** The names of the form's controls are those of the request's fields. `send` is called when it is submitted. */
  constructor(dialog, send) {
    this.#dialog = dialog;
    this.#form = dialog.querySelector("form");
    this.#alert = dialog.querySelector(".problem");
    this.#submit = dialog.querySelector("[type=submit]");
    this.#send = send;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault(); // the page's policy lets no form go anywhere
      this.#try();
    });
    dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
  }

  get fields() {
    return this.#form.elements;
  }

  /** Open it empty, but for the id, where that is chosen already; `focus` selects what has the focus. */
  open(title, itemId, focus) {
    this.#clear();
    this.#form.reset();
    this.#dialog.querySelector("h2").textContent = title;
    this.fields.item_id.value = itemId ?? "";
    this.fields.item_id.readOnly = itemId !== null;
    this.#dialog.showModal();
    this.#form.querySelector(itemId === null ? "[name=item_id]" : focus).focus();
  }

  async #try() {
    this.#clear();
    this.#submit.disabled = true;
    try {
      await this.#send();
      this.#dialog.close();
    } catch (error) {
      this.#tell(error);
    } finally {
      this.#submit.disabled = false;
    }
  }

  #clear() {
    this.#alert.hidden = true;
    for (const fault of this.#form.querySelectorAll(".fault")) fault.remove();
    for (const field of this.#form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
  }

  #tell({ message, remedy, requestId, errors = [] }) {
    const placed = Map.groupBy(errors, (fault) => this.#fieldOf(fault.field));
    for (const [field, faults] of placed) if (field) mark(field, faults.map((fault) => fault.message).join("; "));
    this.#form.querySelector("[aria-invalid]")?.focus();
    if (placed.size && !placed.has(undefined)) return;
    this.#alert.hidden = false;
    this.#alert.replaceChildren(
      element("strong", { textContent: message }),
      element("p", { textContent: remedy ?? "This page itself failed: reload it." }),
      element("p", { className: "request-id", textContent: requestId ? `request ${requestId}` : "" }),
    );
  }

  /** The control of a field, or of the one that it is a part of: `from.like[3]` is in `from.like`. */
  #fieldOf(path) {
    return [...this.fields].find(({ name }) => name && path.startsWith(name) && /^($|[.[])/.test(path.slice(name.length)));
  }
}

function mark(field, text) {
  const id = `${field.id}-fault`;
  field.after(element("p", { className: "fault", id, textContent: text }));
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", id);
}
