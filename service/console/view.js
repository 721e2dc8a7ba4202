// Turns answers of the service into elements. What users and catalogues contain is only ever set as text.

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const EARLIEST_DATE = 1e11; // smaller timestamps are an order, not ms since the epoch
const GOLDEN_ANGLE = 137.508; // neighbouring interests get colours far apart, however many there are
const FIRST_HUE = 285;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

export function showHistory(list, count, events, limit) {
  count.textContent = events.length === 1 ? "1 event" : `${events.length < limit ? "" : "newest "}${events.length} events`;
  list.replaceChildren(
    ...[...events].reverse().map((event) =>
      element(
        "li",
        { className: event.known ? "event" : "event unknown" },
        element("span", { className: "event-title", textContent: event.known ? titleOf(event) : event.item_id }),
        element("time", { className: "event-time", textContent: when(event.timestamp) }),
        element("span", {
          className: "event-categories",
          textContent: event.known ? event.categories.join(", ") : "not in the catalogue",
        }),
      ),
    ),
  );
  if (!events.length) list.append(element("li", { className: "nothing", textContent: "Nothing watched yet." }));
}

/** `ranks` maps the items of the list shown before to their ranks, so that moves can be told; null: a new user. */
export function showItems(list, answer, ranks, onWatch) {
  const before = new Map([...list.children].map((row) => [row.dataset.item, row.getBoundingClientRect().top]));
  const focused = list.contains(document.activeElement) && document.activeElement.closest("li").dataset.item;
  const best = Math.max(...answer.items.map((item) => item.score), Number.MIN_VALUE);
  list.replaceChildren(
    ...answer.items.map((item, place) => itemRow(item, place + 1, item.score / best, answer.interests, ranks, onWatch)),
  );
  for (const row of list.children) {
    if (row.dataset.item === focused) row.querySelector("button").focus();
    if (!calm.matches && ranks) slide(row, before.get(row.dataset.item));
  }
}

function itemRow(item, rank, share, interests, ranks, onWatch) {
  const title = titleOf(item);
  const watch = element("button", { className: "watch", type: "button", textContent: "Watch" });
  watch.setAttribute("aria-label", `Watch ${title}`);
  watch.addEventListener("click", () => onWatch(item, title, watch));
  const bar = element("span", { className: "bar-fill" });
  bar.style.setProperty("--share", share);
  const row = element(
    "li",
    { className: "item" },
    element("span", { className: "rank", textContent: rank }),
    element(
      "div",
      { className: "what" },
      element("p", { className: "title", textContent: title, title: `Item ${item.item_id}` }, moved(item, rank, ranks)),
      element(
        "p",
        { className: "categories" },
        ...item.categories.map((name) => element("span", { className: "category", textContent: name })),
      ),
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
    watch,
  );
  row.dataset.item = item.item_id;
  if (item.interest !== null) {
    row.dataset.interest = item.interest;
    tone(row, item.interest);
  }
  return row;
}

function reason(item, interests) {
  if (item.interest === null) return element("span", { className: "chip", textContent: "popular" });
  const categories = interests[item.interest].top_categories.slice(0, 2).join(", ");
  return element(
    "span",
    { className: "chip", title: `Brought by interest ${item.interest + 1}` },
    dot(item.interest),
    element("span", { className: "chip-text", textContent: categories || `interest ${item.interest + 1}` }),
  );
}

function moved(item, rank, ranks) {
  if (!ranks) return "";
  const earlier = ranks.get(item.item_id);
  if (earlier === undefined) return element("span", { className: "moved new", textContent: "new" });
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

export function showInterests(list, count, answer, onPoint) {
  const brought = Map.groupBy(answer.items, (item) => item.interest);
  const heaviest = Math.max(...answer.interests.map((interest) => interest.weight), Number.MIN_VALUE);
  count.textContent = answer.interests.length || "";
  const order = [...answer.interests.keys()].sort((a, b) => answer.interests[b].weight - answer.interests[a].weight);
  list.replaceChildren(
    ...order.map((place) => {
      const { weight, top_categories: categories } = answer.interests[place];
      const bar = element("span", { className: "bar-fill" });
      bar.style.setProperty("--share", weight / heaviest);
      const items = brought.get(place)?.length ?? 0;
      const named = categories.join(", ") || "no categories";
      const button = element(
        "button",
        { type: "button", className: "interest" },
        dot(place),
        element("span", { className: "interest-name", textContent: named, title: named }),
        element("span", { className: "interest-weight", textContent: percent(weight) }),
        element("span", { className: "bar-track" }, bar),
        element("span", { className: "interest-items", textContent: items === 1 ? "1 item" : `${items} items` }),
      );
      button.setAttribute("aria-pressed", "false");
      tone(button, place);
      onPoint(button, place);
      return element("li", {}, button);
    }),
  );
  if (!order.length) {
    list.append(element("li", { className: "nothing", textContent: "None: this answer is the same for everyone." }));
  }
}

/** Light up the items of one interest and dim the others; null: all alike. */
export function highlight(items, interests, place) {
  items.classList.toggle("pointing", place !== null);
  for (const row of items.children) row.classList.toggle("lit", row.dataset.interest === String(place));
  for (const button of interests.querySelectorAll("button")) {
    button.classList.toggle("lit", button.style.getPropertyValue("--place") === String(place));
  }
}

export function showTimings(bar, list, total, timings) {
  const { queue, model, search } = timings;
  const rest = Math.max(0, timings.total - queue - model - search);
  const parts = { queue, model, search, other: rest };
  total.textContent = milliseconds(timings.total);
  bar.replaceChildren(
    ...Object.values(parts).map((part, place) => {
      const segment = element("span", { className: `segment part-${place}` });
      segment.style.setProperty("--share", part / Math.max(timings.total, Number.MIN_VALUE));
      return segment;
    }),
  );
  list.replaceChildren(
    ...Object.entries(parts).map(([name, part], place) =>
      element(
        "div",
        {},
        element("dt", {}, element("span", { className: `key part-${place}` }), name),
        element("dd", { textContent: milliseconds(part) }),
      ),
    ),
  );
}

export function showBadges(box, answer) {
  const badges = [
    answer.source === "personal"
      ? element("span", { className: "badge personal", textContent: "personal", title: "From this viewer's history" })
      : element("span", { className: "badge", textContent: "popularity", title: "The same for everyone" }),
  ];
  if (answer.degraded) {
    const fault = `degraded: ${answer.degraded.replaceAll("_", " ")}`;
    badges.push(element("span", { className: "badge degraded", textContent: fault }));
  }
  box.replaceChildren(...badges);
}

function dot(place) {
  const mark = element("span", { className: "dot", textContent: place + 1 });
  tone(mark, place);
  return mark;
}

function tone(node, place) {
  node.classList.add("toned");
  node.style.setProperty("--hue", (FIRST_HUE + place * GOLDEN_ANGLE) % 360);
  node.style.setProperty("--place", place);
}

function when(timestamp) {
  if (timestamp < EARLIEST_DATE) return `#${timestamp}`;
  const minutes = Math.round((timestamp - Date.now()) / 60_000);
  if (Math.abs(minutes) < 60) return AGO.format(minutes, "minute");
  if (Math.abs(minutes) < 24 * 60) return AGO.format(Math.round(minutes / 60), "hour");
  return DATE.format(timestamp);
}

const titleOf = ({ title, item_id: id }) => title ?? `Untitled ${id}`;
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;
