// Small elements that several views share. What users and catalogues contain is only ever set as text.

const GOLDEN_ANGLE = 137.508; // neighbouring interests get colours far apart, however many there are
const FIRST_HUE = 285;

export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** A button that says what it does, and to readers of the screen to which video. */
export function namedButton(name, title, className, onClick) {
  const button = element("button", { type: "button", className, textContent: name });
  button.setAttribute("aria-label", `${name} ${title}`);
  button.addEventListener("click", onClick);
  return button;
}

export function dot(interest) {
  const mark = element("span", { className: "dot", textContent: interest + 1 });
  tone(mark, interest);
  return mark;
}

export function tone(node, interest) {
  node.classList.add("toned");
  node.style.setProperty("--hue", (FIRST_HUE + interest * GOLDEN_ANGLE) % 360);
  node.style.setProperty("--interest", interest);
}

export const titleOf = ({ title, item_id: id }) => title ?? `Untitled ${id}`;
export const percent = (share) => `${(100 * share).toFixed(1)}%`;
