// What the page writes into histories, where the operator allows it: an item watched or refused, and that taken back.

import { namedButton } from "./parts.js";
import { call, pathOf, post } from "./service.js";

const LATER = "It counts once the history store is back.";

export class Writes {
  #sent = []; // only what this page sent has a name that it knows
  #choice;
  #toast;
  #refresh;

  constructor(choice, toast, refresh) {
    this.#choice = choice;
    this.#toast = toast;
    this.#refresh = refresh;
  }

  watch = (item, title, request, button) => this.#send(item, title, button, `Watched ${title}`, { request_id: request });

  /** What notes an item as not wanted by an event of this type. */
  refuse = (type) => (item, title, request, button) =>
    this.#send(item, title, button, `Refused ${title}`, { request_id: request, event_type: type });

  async #send(item, title, button, done, more) {
    button.disabled = true;
    const { user } = this.#choice;
    const event = { user_id: user, item_id: item.item_id, timestamp: Date.now(), event_id: `console-${randomHex()}`, ...more };
    try {
      const { added, spooled } = await post("events", event);
      if (added || spooled) this.#sent.push({ ...event, title });
      if (this.#choice.user !== user) return;
      if (added) this.#toast(done, this.undoButton(event));
      else if (spooled) this.#toast(`${done}. ${LATER}`, this.undoButton(event));
      else this.#toast("Not kept: this viewer's history is full of later events.");
      this.#refresh();
    } catch (error) {
      button.disabled = false;
      this.#toast(`Not noted. ${error.message}. ${error.remedy}`);
    }
  }

  /** A button that takes an event of the history back; nothing for one that this page did not send. */
  undoButton = ({ item_id: item, timestamp }) => {
    const { user } = this.#choice;
    const event = this.#sent.find(
      (sent) => sent.user_id === user && sent.item_id === item && sent.timestamp === timestamp,
    );
    if (!event) return "";
    const title = `${event.event_type ? "refusing" : "watching"} ${event.title}`;
    const button = namedButton("Undo", title, "undo", () => this.#undo(event, button));
    return button;
  };

  async #undo(event, button) {
    button.disabled = true;
    try {
      const { removed, spooled } = await call(pathOf("users", event.user_id, "events", event.event_id), { method: "DELETE" });
      this.#sent = this.#sent.filter((sent) => sent !== event);
      if (this.#choice.user !== event.user_id) return;
      if (spooled) this.#toast(`Taken back: ${event.title}. ${LATER}`);
      else this.#toast(removed ? `Took back ${event.title}` : `${event.title} was no longer in the history`);
      this.#refresh();
    } catch (error) {
      button.disabled = false;
      this.#toast(`Not undone. ${error.message}. ${error.remedy}`);
    }
  }
}

function randomHex() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
