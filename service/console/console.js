// The console: keeps what the viewer chose, asks the service, and hands its answers to the view.

import { element, highlight, showBadges, showHistory, showInterests, showItems, showTimings } from "./view.js";

const SETTLE_MS = 120; // a slider on the move asks once it rests this long
const SUGGESTED = 8;
const HISTORY_SHOWN = 100;
const MOST_SUGGESTIONS = 500;

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const state = { user: null, seed: null, defaults: null, ranks: null, pinned: null };
const natural = new Intl.Collator(undefined, { numeric: true }).compare;

class Problem extends Error {
  constructor(title, detail) {
    super(title);
    this.detail = detail;
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service does not answer", "It may be restarting, or the network is down.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Problem(answer.title ?? `The service answered ${response.status}`, answer.detail ?? "");
}

const post = (path, body, signal) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

/** Calls of which only the latest counts: a new one aborts the one before. */
class Latest {
  #controller = new AbortController();

  async run(task) {
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    try {
      return await task(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      return null;
    }
  }
}

const recommending = new Latest();
const readingHistory = new Latest();

function wish() {
  const controls = page.controls.elements;
  const wish = { user_id: state.user, k: Number(controls.k.value) };
  for (const name of ["steps", "draws", "diversity"]) wish[name] = Number(controls[name].value);
  wish.interest_mode = controls.interest_mode.value;
  if (state.seed !== null) wish.seed = state.seed;
  return wish;
}

async function recommend() {
  if (state.user === null) return;
  const asked = wish();
  page.curl.textContent = curl(asked);
  busy(true);
  try {
    const answer = await recommending.run((signal) => post("/recommend", asked, signal));
    if (answer) show(answer);
  } catch (error) {
    showProblem(error);
  }
}

function show(answer) {
  busy(false);
  page.problem.hidden = true;
  showBadges(page.badges, answer);
  showItems(page.recommendations, answer, state.ranks, watch);
  showInterests(page["interest-list"], page["interests-count"], answer, pointAt);
  showTimings(page["timing-bar"], page.timings, page.total, answer.timings_ms);
  state.ranks = new Map(answer.items.map((item, place) => [item.item_id, place + 1]));
  state.pinned = null;
  highlight(page.recommendations, page["interest-list"], null);
  page["request-id"].textContent = `request ${answer.request_id}`;
  showModel(answer.model_version);
  page.notice.hidden = answer.source === "personal";
  page.notice.textContent = answer.degraded
    ? "The history store does not answer, so these are what most people watch. Personal answers come back by themselves."
    : "Nothing is known of this viewer yet: these are what most people watch. Watch one, and the next answer is personal.";
  page.empty.hidden = answer.items.length > 0;
  page.empty.textContent = "Nothing is left to recommend: everything has been seen.";
  say(`${answer.items.length} recommendations for ${state.user}, ${answer.source}`);
}

function showProblem(error) {
  busy(false);
  if (state.ranks === null) page.recommendations.replaceChildren(); // what is there is another viewer's
  page.problem.hidden = false;
  page["problem-title"].textContent = error.message;
  page["problem-detail"].textContent = error.detail ?? "";
}

async function readHistory() {
  const path = `/users/${encodeURIComponent(state.user)}/history?limit=${HISTORY_SHOWN}`;
  try {
    const answer = await readingHistory.run((signal) => call(path, { signal }));
    if (answer) showHistory(page.history, page["history-count"], answer.events, HISTORY_SHOWN);
  } catch (error) {
    page["history-count"].textContent = "";
    page.history.replaceChildren(element("li", { className: "nothing", textContent: error.message }));
  }
}

function choose(user) {
  state.user = user;
  state.ranks = null;
  page.user.value = user;
  history.replaceState(null, "", `#${encodeURIComponent(user)}`);
  for (const button of page.suggestions.children) {
    button.setAttribute("aria-pressed", String(button.textContent === user));
  }
  readHistory();
  recommend();
}

async function watch(item, title, button) {
  button.disabled = true;
  const event = { user_id: state.user, item_id: item.item_id, timestamp: Date.now(), event_id: `console-${randomHex()}` };
  try {
    await post("/events", event);
    toast(`Watched ${title}`);
    readHistory();
    recommend();
  } catch (error) {
    button.disabled = false;
    toast(`Not noted. ${error.message}`);
  }
}

function pointAt(button, place) {
  const point = (at) => highlight(page.recommendations, page["interest-list"], at);
  button.addEventListener("pointerenter", () => point(place));
  button.addEventListener("pointerleave", () => point(state.pinned));
  button.addEventListener("focus", () => point(place));
  button.addEventListener("blur", () => point(state.pinned));
  button.addEventListener("click", () => {
    state.pinned = state.pinned === place ? null : place;
    for (const other of page["interest-list"].querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button && state.pinned === place));
    }
    point(state.pinned);
  });
}

let settling;
function changed() {
  showValues();
  clearTimeout(settling);
  settling = setTimeout(recommend, SETTLE_MS);
}

function showValues() {
  const { steps, draws, diversity, interest_mode: mode } = page.controls.elements;
  page["steps-value"].textContent = steps.value;
  page["draws-value"].textContent = draws.value;
  page["diversity-value"].textContent = Number(diversity.value).toFixed(2);
  for (const slider of [steps, draws]) {
    slider.disabled = mode.value === "guidance"; // the guidance vectors are there before any step or draw
    slider.style.setProperty("--filled", (slider.value - slider.min) / (slider.max - slider.min));
  }
  page.redraw.disabled = mode.value === "guidance";
  diversity.style.setProperty("--filled", diversity.value);
}

function useDefaults() {
  state.seed = null;
  const { steps, draws, diversity, interest_mode: mode, k } = page.controls.elements;
  steps.max = state.defaults.most_steps;
  steps.value = state.defaults.steps;
  draws.value = state.defaults.draws;
  diversity.value = state.defaults.diversity;
  mode.value = state.defaults.interest_mode;
  k.value = "10";
  showValues();
}

function showModel(version) {
  page.model.hidden = false;
  page.model.textContent = `model ${version.split("-").at(-1)}`;
  page.model.title = version;
}

function curl(asked) {
  const body = JSON.stringify(asked).replaceAll("'", "'\\''");
  return `curl -s ${location.origin}/recommend \\\n  -H 'content-type: application/json' \\\n  -d '${body}'`;
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

function busy(waiting) {
  page.progress.classList.toggle("active", waiting);
  page.recommendations.setAttribute("aria-busy", String(waiting));
}

function say(text) {
  page.status.textContent = text;
}

let toasting;
function toast(text) {
  page.toast.textContent = text;
  page.toast.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => { page.toast.hidden = true; }, 4000);
}

function randomHex() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function suggest(users) {
  users.sort(natural);
  page.users.replaceChildren(...users.map((user) => element("option", { value: user })));
  page.suggestions.hidden = !users.length;
  page.suggestions.replaceChildren(
    ...users.slice(0, SUGGESTED).map((user) => {
      const button = element("button", { type: "button", className: "suggestion", textContent: user });
      button.addEventListener("click", () => choose(user));
      return button;
    }),
  );
}

function wire() {
  page.pick.addEventListener("submit", (event) => {
    event.preventDefault();
    choose(page.user.value);
  });
  page.controls.addEventListener("submit", (event) => event.preventDefault());
  page.controls.addEventListener("input", changed);
  page.reset.addEventListener("click", (event) => {
    event.preventDefault();
    useDefaults();
    recommend();
  });
  page.redraw.addEventListener("click", () => {
    state.seed = crypto.getRandomValues(new Uint32Array(1))[0];
    recommend();
  });
  page.retry.addEventListener("click", () => { readHistory(); recommend(); });
  page.copy.addEventListener("click", copyCurl);
  addEventListener("hashchange", () => {
    const user = userInAddress();
    if (user && user !== state.user) choose(user);
  });
}

function typing() {
  return document.activeElement === page.user && page.user.value !== "" && page.user.value !== state.user;
}

function userInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

async function start() {
  wire();
  try {
    const version = await call("/version");
    state.defaults = { ...version.defaults, most_steps: version.most_steps };
    showModel(version.model_version);
    useDefaults();
  } catch (error) {
    showProblem(error);
    return;
  }
  const { users } = await call(`/users?limit=${MOST_SUGGESTIONS}`).catch(() => ({ users: [] }));
  suggest(users);
  if (typing()) return; // a choice of ours would overwrite it
  const user = userInAddress() || users[0];
  if (user) {
    choose(user);
  } else {
    page.empty.hidden = false;
    page.empty.textContent = "Type a user id to see what they watched and what comes next.";
    page.user.focus();
  }
}

start();
