// Values in messages: short, and on one line.

/** Any value, as an argument may be. */
export function shown(v: unknown): string {
  if (typeof v === "string") return JSON.stringify(v.length > 40 ? `${v.slice(0, 40)}...` : v);
  if (v === undefined) return "not given";
  if (typeof v === "function") return "a function";
  if (typeof v === "bigint") return `${v}n`;
  if (typeof v !== "object" || v === null) return String(v);
  if (Array.isArray(v)) return v.length ? `an array of ${v.length}` : "an empty array";
  return Object.keys(v).length ? `an object with ${Object.keys(v).slice(0, 3).join(", ")}` : "an empty object";
}

/** A value of a JSON file, however deep it is. */
export function shownJson(v: unknown): string {
  if (Array.isArray(v)) return `a list of ${v.length}`;
  if (typeof v === "object" && v !== null) return "an object";
  const text = JSON.stringify(v) ?? "missing";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
