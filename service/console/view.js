// A user's history and recommendations. What users and catalogues contain is only ever set as text.

import { dot, element, namedButton, percent, titleOf, tone } from "./parts.js";

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const EARLIEST_DATE = 1e11; // smaller timestamps are an order, not ms since the epoch
const KINDS = new Map([["negative", "not wanted"], ["ignored", "ignored"]]);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** `undoButton` gives what takes an event back, or "". */
export function showHistory(list, count, events, limit, undoButton) {
  count.textContent = events.length === 1 ? "1 event" : `${events.length < limit ? "" : "newest "}${events.length} events`;
  list.replaceChildren(
    ...[...events].reverse().map((event) =>
      element(
        "li",
        { className: event.known ? "event" : "event unknown" },
        element("span", { className: "event-title", textContent: event.known ? titleOf(event) : event.item_id }, kind(event)),
        element("time", { className: "event-time", textContent: when(event.timestamp) }),
        element("span", {
          className: "event-categories",
          textContent: event.known ? event.categories.join(", ") : absence(event),
        }),
        undoButton(event),
      ),
    ),
  );
  if (!events.length) list.append(element("li", { className: "nothing", textContent: "Nothing watched yet." }));
}

/** What an event is that is no watch. */
function kind({ event_type: type, meaning }) {
  const text = KINDS.get(meaning);
  return text ? element("span", { className: "event-kind", textContent: text, title: type }) : "";
}

const absence = (event) => (event.removed ? "removed from the catalogue" : "not in the catalogue");

/**
 * `ranks` maps the items of the list shown before to their ranks, so that moves can be told; null: a new user.
 * `onWatch` is called for an item that is watched, `onRefuse` for one that is not wanted, `onRemove` for one that is to
 * be taken down; null: not offered.
 */
export function showItems(list, answer, ranks, { onWatch, onRefuse, onRemove }) {
  const before = new Map([...list.children].map((row) => [row.dataset.item, row.getBoundingClientRect().top]));
  const focused = list.contains(document.activeElement) && document.activeElement.closest("li").dataset.item;
  const best = Math.max(...answer.items.map((item) => item.score), Number.MIN_VALUE);
  list.replaceChildren(
    ...answer.items.map((item, index) => {
      const actions = [
        onWatch && noteButton("Watch", "watch", item, answer, onWatch),
        onRefuse && noteButton("Not for me", "small", item, answer, onRefuse),
        onRemove && namedButton("Take down", titleOf(item), "small", () => onRemove(item)),
      ].filter(Boolean);
      return itemRow(item, index + 1, item.score / best, answer.interests, ranks, actions);
    }),
  );
  for (const row of list.children) {
    if (row.dataset.item === focused) row.querySelector("button")?.focus();
    if (!calm.matches && ranks) slide(row, before.get(row.dataset.item));
  }
  if (focused && !list.contains(document.activeElement)) list.focus({ preventScroll: true }); // its row is gone
}

function itemRow(item, rank, share, interests, ranks, actions) {
  const title = titleOf(item);
  const bar = element("span", { className: "bar-fill" });
  bar.style.setProperty("--share", share);
  const row = element(
    "li",
    { className: "item" },
    element("span", { className: "rank", textContent: rank }),
    element(
      "div",
      { className: "what" },
      element("p", { className: "title", title: `Item ${item.item_id}` }, title, newBadge(item), moved(item, rank, ranks)),
      element(
        "p",
        { className: "categories" },
        ...item.categories.map((name) => element("span", { className: "category", textContent: name })),
      ),
      because(item),
    ),
    element(
      "div",
      { className: "why" },
      reason(item, interests),
      element(
        "span",
        { className: "score", title: "Score, and its share of the best" },
        element("span", { className: "bar-track" }, bar),
        element("span", { className: "score-value", textContent: percent(item.score) }),
      ),
    ),
    actions.length ? element("div", { className: "item-actions" }, ...actions) : "",
  );
  row.dataset.item = item.item_id;
  if (item.interest !== null) {
    row.dataset.interest = item.interest;
    tone(row, item.interest);
  }
  return row;
}

function noteButton(text, className, item, { request_id: request }, onNote) {
  const title = titleOf(item);
  const button = namedButton(text, title, className, () => onNote(item, title, request, button));
  return button;
}

/** The videos of the user's own history that are nearest to the interest that brought the item. */
function because(item) {
  if (!item.because?.length) return "";
  const titles = item.because.map((watched) => element("span", { className: "watched", textContent: titleOf(watched) }));
  return element("p", { className: "because" }, "Because of ", ...titles);
}

function reason(item, interests) {
  if (item.interest === null) return element("span", { className: "chip", textContent: "popular" });
  const categories = interests[item.interest].top_categories?.slice(0, 2).join(", ");
  return element(
    "span",
    { className: "chip", title: `Brought by interest ${item.interest + 1}` },
    dot(item.interest),
    element("span", { className: "chip-text", textContent: categories || `interest ${item.interest + 1}` }),
  );
}

const newBadge = (item) =>
  item.new ? element("span", { className: "badge new", textContent: "new", title: "Put since the model was trained" }) : "";

function moved(item, rank, ranks) {
  if (!ranks) return "";
  const earlier = ranks.get(item.item_id);
  if (earlier === undefined) return element("span", { className: "moved up", textContent: "▲ in" });
  if (earlier === rank) return "";
  const [way, sign] = earlier > rank ? ["up", "▲"] : ["down", "▼"];
  const mark = element("span", { className: `moved ${way}`, textContent: `${sign} ${Math.abs(earlier - rank)}` });
  mark.setAttribute("aria-label", `${way} ${Math.abs(earlier - rank)}`);
  mark.setAttribute("role", "img");
  return mark;
}

function slide(row, top) {
  const distance = top === undefined ? 0 : top - row.getBoundingClientRect().top;
  const from = top === undefined ? { opacity: 0, transform: "translateY(10px)" } : { transform: `translateY(${distance}px)` };
  if (top === undefined || distance) row.animate([from, {}], { duration: 320, easing: "cubic-bezier(.2, .8, .2, 1)" });
}

export function showBadges(box, answer) {
  const badges = [
    answer.source === "personal"
      ? element("span", { className: "badge personal", textContent: "personal", title: "From this viewer's history" })
      : element("span", { className: "badge", textContent: answer.source, title: "The same for everyone" }),
  ];
  if (answer.degraded) {
    const fault = `degraded: ${answer.degraded.replaceAll("_", " ")}`;
    badges.push(element("span", { className: "badge degraded", textContent: fault }));
  }
  box.replaceChildren(...badges);
}

function when(timestamp) {
  if (timestamp < EARLIEST_DATE) return `#${timestamp}`;
  const minutes = Math.round((timestamp - Date.now()) / 60_000);
  if (Math.abs(minutes) < 60) return AGO.format(minutes, "minute");
  if (Math.abs(minutes) < 24 * 60) return AGO.format(Math.round(minutes / 60), "hour");
  return DATE.format(timestamp);
}
