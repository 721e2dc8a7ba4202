// What the viewer chose, in the address behind `#`, which browsers never send to a server: #user=196&k=20&steps=8
//
// An address may come from anywhere: what is out of bounds is clamped, what makes no sense is left out, and both are
// told. Nothing of it is ever more than a value of a control, or text.

const MODES = ["draws", "guidance", "both"];
const MAX_CATEGORIES = 64;
const MAX_NAME = 128;
const SHOWN = 40;

/** The choice that an address names, where it says nothing the defaults, and complaints about the rest of it. */
export function readAddress(hash, defaults, bounds) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const choice = { user: given.get("user") || null, ...defaults };
  const complaints = [];
  for (const [name, text] of given) {
    if (name === "user" || name === "categories") continue;
    const { value, complaint } = readOne(name, text, bounds);
    if (value !== undefined) choice[name] = value;
    if (complaint) complaints.push(complaint);
  }
  const named = [...new Set(given.getAll("categories"))];
  choice.categories = named.filter(isName).slice(0, MAX_CATEGORIES);
  if (choice.categories.length < named.length) {
    complaints.push(`of the categories only ${MAX_CATEGORIES} names of 1 to ${MAX_NAME} characters count`);
  }
  return { choice, complaints };
}

/** The address of a choice: the user, and whatever differs from the defaults. */
export function writeAddress(choice, defaults) {
  const given = new URLSearchParams();
  if (choice.user !== null) given.append("user", choice.user);
  for (const name of Object.keys(defaults)) {
    if (name !== "categories" && choice[name] !== defaults[name]) given.append(name, choice[name]);
  }
  for (const name of choice.categories) given.append("categories", name);
  return `#${given}`;
}

export const isName = (text) => text.length > 0 && [...text].length <= MAX_NAME;

function readOne(name, text, bounds) {
  if (name === "interest_mode") {
    const complaint = `the mode ${quoted(text)} is none of ${MODES.join(", ")}`;
    return MODES.includes(text) ? { value: text } : { complaint };
  }
  if (!Object.hasOwn(bounds, name)) return { complaint: `${quoted(name)} is no setting of this page` };
  const { min, max, whole } = bounds[name];
  const number = /^-?\d{1,20}(\.\d{1,20})?$/.test(text) ? Number(text) : NaN;
  if (Number.isNaN(number) || (whole && !Number.isInteger(number))) {
    return { complaint: `${name} ${quoted(text)} is no ${whole ? "whole " : ""}number` };
  }
  const value = Math.min(Math.max(number, min), max);
  if (value === number) return { value };
  if (name === "seed") return { complaint: `the seed must lie within ${min} and ${max}` }; // another one is another answer
  return { value, complaint: `${name} ${quoted(text)} is out of bounds, so ${value} is used` };
}

const quoted = (text) => `“${text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text}”`;
