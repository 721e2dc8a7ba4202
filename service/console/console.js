// The console: asks the service for what was chosen, and hands its answers to the views.

import { Catalogue } from "./catalogue.js";
import { Choice } from "./choice.js";
import { highlight, showInterests, showTimings } from "./insight.js";
import { keptKey, offerChange } from "./key.js";
import { element } from "./parts.js";
import { Latest, call, pathOf, post } from "./service.js";
import { showBadges, showHistory, showItems } from "./view.js";
import { Writes } from "./writes.js";

const TOAST_MS = 8000;
const SUGGESTED = 8;
const HISTORY_SHOWN = 100;
const MAX_SUGGESTIONS = 500;
const START = "Type a user id to see what they watched and what comes next.";
const UNLISTED =
  "Users are not listed here, so that their ids are not on show. To fill this picker, set DIMEREC_LIST_USERS=true and restart the service. Any id can be typed in.";
const NOBODY = "No user has a history yet: send POST /events, or run dimerec import-history.";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const state = { allowed: null, ranks: null, pinned: null, workers: [] };
const choice = new Choice(page, enter, recommend, () => busy(true));
const writes = new Writes(choice, toast, refresh);
const catalogue = new Catalogue(page, toast, refresh);
const recommending = new Latest();
const readingHistory = new Latest();

// Asking

async function recommend() {
  if (choice.user === null) {
    busy(false);
    return;
  }
  const request = choice.request();
  page.curl.textContent = curl(request);
  busy(true);
  try {
    const answer = await recommending.run((signal) => post("recommend", request, signal));
    if (answer) show(answer);
  } catch (error) {
    clearAnswer();
    showProblem(error);
  }
}

async function readHistory() {
  if (choice.user === null) return;
  const path = `${pathOf("users", choice.user, "history")}?limit=${HISTORY_SHOWN}`;
  try {
    const answer = await readingHistory.run((signal) => call(path, { signal }));
    if (!answer) return;
    showHistory(page.history, page["history-count"], answer.events, HISTORY_SHOWN, writes.undoButton);
    choice.learn(answer.events.flatMap((event) => event.categories));
  } catch (error) {
    clearHistory();
    const text = `${error.message}. ${error.remedy ?? ""}`;
    page.history.append(element("li", { className: "nothing", textContent: text }));
  }
}

function refresh() {
  readHistory();
  recommend();
}

/** Turn to the chosen user; of the one before, nothing stays. */
function enter() {
  for (const calls of [recommending, readingHistory]) calls.abort();
  clearAnswer();
  clearHistory();
  hideToast();
  busy(false);
  if (choice.user !== null) {
    refresh();
    return;
  }
  page.curl.textContent = "";
  page.empty.hidden = false;
  page.empty.textContent = START;
}

// Showing

function show(answer) {
  busy(choice.changing);
  page.problem.hidden = true;
  showBadges(page.badges, answer);
  const { writes: allowed, refusal } = state.allowed;
  const actions = {
    onWatch: allowed ? writes.watch : null,
    onRefuse: allowed && refusal ? writes.refuse(refusal) : null,
    onRemove: catalogue.remover,
  };
  showItems(page.recommendations, answer, state.ranks, actions);
  showInterests(page["interest-list"], page["interests-count"], answer, pointAt);
  showTimings(page["timing-bar"], page.timings, page.total, answer.timings_ms);
  state.ranks = new Map(answer.items.map((item, index) => [item.item_id, index + 1]));
  state.pinned = null;
  highlight(page.recommendations, page["interest-list"], null);
  page["request-id"].textContent = `request ${answer.request_id}`;
  showModel(answer.model_version);
  showNotes(answer);
  choice.learn(answer.items.flatMap((item) => item.categories));
  page.status.textContent = `${answer.items.length} recommendations for ${choice.user}, ${answer.source}`;
}

function showNotes({ degraded, source, unknown_categories: unknown, items }) {
  const notes = [];
  if (degraded) {
    notes.push("The history store does not answer, so these are what most people watch. Personal answers come back by themselves.");
  } else if (source !== "personal") {
    const next = state.allowed.writes ? "Watch one, and" : "Once they watch one,";
    notes.push(`Nothing is known of this viewer yet: these are what most people watch. ${next} the next answer is personal.`);
  }
  if (unknown.length) notes.push(`The catalogue has no category ${unknown.join(", ")}.`);
  page.notice.hidden = !notes.length;
  page.notice.textContent = notes.join(" ");
  const { categories } = choice.value;
  page.empty.hidden = items.length > 0;
  page.empty.textContent = categories.length
    ? `Nothing of ${categories.join(", ")} is left to recommend.`
    : "Nothing is left to recommend: everything has been seen.";
}

/** Take the last answer off the page, so that nothing of it stands beside another user or other settings. */
function clearAnswer() {
  const lists = ["recommendations", "badges", "interest-list", "timing-bar", "timings"];
  const texts = ["interests-count", "total", "request-id", "notice", "status"];
  for (const id of lists) page[id].replaceChildren();
  for (const id of texts) page[id].textContent = "";
  page.notice.hidden = page.empty.hidden = page.problem.hidden = true;
  page.recommendations.classList.remove("pointing");
  state.ranks = state.pinned = null;
}

function clearHistory() {
  page["history-count"].textContent = "";
  page.history.replaceChildren();
}

function showProblem(error) {
  busy(choice.changing);
  page.problem.hidden = false;
  page["problem-title"].textContent = error.message;
  page["problem-remedy"].textContent = error.remedy ?? "This page itself failed: reload it.";
  page["problem-request"].textContent = error.requestId ? `request ${error.requestId}` : "";
}

/** Name the bundle that answered; and those of all workers, where they serve different ones. */
async function showModel(version) {
  const differ = () => state.workers.some((worker) => worker.model_version !== version);
  if (differ()) state.workers = await call("version").then((known) => known.workers, () => []);
  const each = state.workers.map((worker) => `${worker.pid}: ${worker.model_version}`).join("\n");
  page.model.hidden = false;
  page.model.textContent = `model ${version.split("-").at(-1)}${differ() ? ", workers differ" : ""}`;
  page.model.title = differ() ? each : version;
}

function pointAt(button, interest) {
  const point = (at) => highlight(page.recommendations, page["interest-list"], at);
  button.addEventListener("pointerenter", () => point(interest));
  button.addEventListener("pointerleave", () => point(state.pinned));
  button.addEventListener("focus", () => point(interest));
  button.addEventListener("blur", () => point(state.pinned));
  button.addEventListener("click", () => {
    state.pinned = state.pinned === interest ? null : interest;
    for (const other of page["interest-list"].querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button && state.pinned === interest));
    }
    point(state.pinned);
  });
}

/** Show that the list answers what is chosen, or that it does not yet. */
function busy(waiting) {
  page.progress.classList.toggle("active", waiting);
  page.recommendations.setAttribute("aria-busy", String(waiting));
}

let toasting;
function toast(text, ...buttons) {
  page.toast.replaceChildren(element("span", { textContent: text }), ...buttons);
  page.toast.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(hideToast, TOAST_MS);
}

function hideToast() {
  page.toast.hidden = true;
  page.toast.replaceChildren();
}

// The request as a command

function curl(request) {
  const body = JSON.stringify(request).replaceAll("'", "'\\''");
  const address = new URL("recommend", document.baseURI);
  const key = keptKey() ? `  -H "authorization: Bearer $DIMEREC_KEY" \\\n` : "";
  return `curl -s ${address} \\\n${key}  -H 'content-type: application/json' \\\n  -d '${body}'`;
}

async function copyCurl() {
  try {
    await navigator.clipboard.writeText(page.curl.textContent);
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(page.curl); // the clipboard is for secure origins only
    toast("Selected: copy it with the keyboard");
  }
}

// Starting

async function listUsers() {
  if (!state.allowed.lists_users) return { users: [], note: UNLISTED };
  try {
    const { users } = await call(`users?limit=${MAX_SUGGESTIONS}`);
    return { users, note: users.length ? "" : NOBODY };
  } catch (error) {
    return { users: [], note: `Users cannot be listed. ${error.message}. ${error.remedy}` };
  }
}

function suggest({ users, note }) {
  users.sort(new Intl.Collator(undefined, { numeric: true }).compare);
  page.users.replaceChildren(...users.map((user) => element("option", { value: user })));
  page.suggestions.hidden = !users.length;
  page.suggestions.replaceChildren(
    ...users.slice(0, SUGGESTED).map((user) => {
      const button = element("button", { type: "button", className: "suggestion", textContent: user });
      button.setAttribute("aria-pressed", String(user === choice.user));
      button.addEventListener("click", () => choice.choose(user));
      return button;
    }),
  );
  page["picker-note"].hidden = !note;
  page["picker-note"].textContent = note;
}

async function begin() {
  page.problem.hidden = true;
  try {
    const [version, allowed] = await Promise.all([call("version"), call("console/settings.json")]);
    state.allowed = allowed;
    page[allowed.writes ? "writes-on" : "writes-off"].hidden = false;
    state.workers = version.workers;
    showModel(version.model_version);
    await catalogue.begin(allowed.writes);
    choice.begin(version);
  } catch (error) {
    showProblem(error);
    return;
  }
  const listed = await listUsers();
  suggest(listed);
  const typing = document.activeElement === page.user && page.user.value !== "";
  if (choice.user !== null || typing) return; // a choice of ours would overwrite it
  if (listed.users.length) choice.choose(listed.users[0], true);
  else page.user.focus();
}

page.pick.addEventListener("submit", (event) => {
  event.preventDefault();
  if (choice.value) choice.choose(page.user.value);
  else begin();
});
page.retry.addEventListener("click", () => (choice.value ? refresh() : begin()));
page.copy.addEventListener("click", copyCurl);
offerChange(() => location.reload());
begin();
