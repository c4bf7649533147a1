// Values of any kind in messages.

/** A value in a message: short, and on one line. */
export function shown(v: unknown): string {
  if (typeof v === "string") return JSON.stringify(v.length > 40 ? `${v.slice(0, 40)}...` : v);
  if (v === undefined) return "not given";
  if (typeof v === "function") return "a function";
  if (typeof v === "bigint") return `${v}n`;
  if (typeof v !== "object" || v === null) return String(v);
  if (Array.isArray(v)) return v.length ? `an array of ${v.length}` : "an empty array";
  return Object.keys(v).length ? `an object with ${Object.keys(v).slice(0, 3).join(", ")}` : "an empty object";
}
