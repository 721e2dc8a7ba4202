// Why these items: the interests that brought them, and where the time went.

import { dot, element, percent, tone } from "./parts.js";

const KINDS = {
  draw: "Drawn by the diffusion",
  guidance: "A guidance vector: read off the history, it guides the draws",
  counts: "Counted: what followed the newest videos of the history in the log",
};

export function showInterests(list, count, answer, onPoint) {
  const { interests } = answer;
  const heaviest = Math.max(...interests.map((interest) => interest.weight), Number.MIN_VALUE);
  count.textContent = interests.length || "";
  const order = [...interests.keys()].sort((a, b) => interests[b].weight - interests[a].weight);
  list.replaceChildren(
    ...order.map((index) => {
      const button = interestButton(interests[index], index, interests[index].weight / heaviest);
      onPoint(button, index);
      return element("li", {}, button);
    }),
  );
  if (!order.length) {
    list.append(element("li", { className: "nothing", textContent: "None: this answer is the same for everyone." }));
  }
}

function interestButton({ kind, weight, item_count: items, top_categories: categories }, index, share) {
  const named = categories?.join(", ") || "no categories";
  const bar = element("span", { className: "bar-fill" });
  bar.style.setProperty("--share", share);
  const button = element(
    "button",
    { type: "button", className: "interest" },
    dot(index),
    element("span", { className: "interest-name", textContent: named, title: named }),
    element("span", { className: "interest-weight", textContent: percent(weight), title: "Its share of the answer" }),
    element("span", { className: "bar-track" }, bar),
    element("span", { className: "interest-kind", textContent: `${kind} · ${items === 1 ? "1 item" : `${items} items`}`, title: KINDS[kind] }),
  );
  button.setAttribute("aria-pressed", "false");
  tone(button, index);
  return button;
}

/** Light up the items of one interest and dim the others; null: all alike. */
export function highlight(items, interests, lit) {
  items.classList.toggle("pointing", lit !== null);
  for (const row of items.children) row.classList.toggle("lit", row.dataset.interest === String(lit));
  for (const button of interests.querySelectorAll("button")) {
    button.classList.toggle("lit", button.style.getPropertyValue("--interest") === String(lit));
  }
}

export function showTimings(bar, list, total, timings) {
  const { queue, model, search } = timings;
  const rest = Math.max(0, timings.total - queue - model - search);
  const parts = { queue, model, search, other: rest };
  total.textContent = milliseconds(timings.total);
  bar.replaceChildren(
    ...Object.values(parts).map((part, index) => {
      const segment = element("span", { className: `segment part-${index}` });
      segment.style.setProperty("--share", part / Math.max(timings.total, Number.MIN_VALUE));
      return segment;
    }),
  );
  list.replaceChildren(
    ...Object.entries(parts).map(([name, part], index) =>
      element(
        "div",
        {},
        element("dt", {}, element("span", { className: `key part-${index}` }), name),
        element("dd", { textContent: milliseconds(part) }),
      ),
    ),
  );
}

const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;
