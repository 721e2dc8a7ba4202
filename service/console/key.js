// The key of this tab: asked for when the service wants one, kept until the tab closes, and sent in a header. It is never
// in an address, and never in the command that the page shows.

const NAME = "dimerec-key";

const dialog = document.getElementById("key-dialog");
const field = document.getElementById("key-field");
const reason = document.getElementById("key-reason");
const change = document.getElementById("key-change");

export const keptKey = () => sessionStorage.getItem(NAME);

/** The headers of a call: with the key, where there is one. */
export const keyHeaders = () => (keptKey() ? { authorization: `Bearer ${keptKey()}` } : {});

let asking = null;

/** Ask for a key, saying why; true once there is one, false where the viewer gives none. Many may ask at once. */
export function askForKey(why) {
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

function ask(why) {
  reason.textContent = why;
  field.value = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}

function keep(key) {
  if (key) sessionStorage.setItem(NAME, key);
  else sessionStorage.removeItem(NAME);
  field.value = "";
  showWhetherKept();
}

function showWhetherKept() {
  change.hidden = !keptKey();
}

/** `onChange` is called when the viewer puts another key, or none, in place of the kept one. */
export function offerChange(onChange) {
  showWhetherKept();
  change.addEventListener("click", async () => {
    if (await askForKey("Another key in place of the one of this tab; none forgets it.")) onChange();
  });
}

dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault(); // the page's policy lets no form go anywhere
  keep(field.value.trim());
  dialog.close("given");
});
document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""));
dialog.addEventListener("cancel", () => (dialog.returnValue = ""));
