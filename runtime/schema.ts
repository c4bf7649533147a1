// Checks of values that come from a file, put together like the types they stand for. A check throws DSC5005 with the path of the
// first value that is not as expected: "manifest.json: functions.decode.steps[3].args[0].slot is -1; expected a whole number".
import { brokenManifest } from "./diagnostics.ts";
import { shownJson } from "./shown.ts";

/** Where a value stands. */
export type Path = string;
export type Check = (value: unknown, at: Path) => void;

export function wrong(at: Path, value: unknown, expected: string): never {
  throw brokenManifest({ why: `${at} is ${shownJson(value)}; expected ${expected}`, at });
}

const numberCheck =
  (holds: (n: number) => boolean, expected: string): Check =>
  (v, at) => {
    if (typeof v !== "number" || !holds(v)) wrong(at, v, expected);
  };

/** A whole number of `least` to `most`. */
export const whole = (least = 0, most = Number.MAX_SAFE_INTEGER): Check =>
  numberCheck(
    (n) => Number.isSafeInteger(n) && n >= least && n <= most,
    `a whole number${most < Number.MAX_SAFE_INTEGER ? ` from ${least} to ${most}` : least ? ` of at least ${least}` : ""}`,
  );

export const finite: Check = numberCheck(Number.isFinite, "a finite number");

export const boolean: Check = (v, at) => {
  if (typeof v !== "boolean") wrong(at, v, "true or false");
};

/** A text with something in it. */
export const text: Check = (v, at) => {
  if (typeof v !== "string" || v === "") wrong(at, v, "a text");
};

/** A text of a pattern. */
export const matching =
  (pattern: RegExp, expected: string): Check =>
  (v, at) => {
    if (typeof v !== "string" || !pattern.test(v)) wrong(at, v, expected);
  };

export const oneOf =
  (...values: readonly (string | number)[]): Check =>
  (v, at) => {
    if (!values.includes(v as string)) wrong(at, v, values.map((x) => JSON.stringify(x)).join(" or "));
  };

export const orNull =
  (check: Check): Check =>
  (v, at) => {
    if (v !== null) check(v, at);
  };

/** The first of several kinds of value, told apart by a test. */
export const either =
  (is: (v: unknown) => boolean, first: Check, other: Check): Check =>
  (v, at) =>
    (is(v) ? first : other)(v, at);

export const list =
  (check: Check, least = 0, most = 1e6): Check =>
  (v, at) => {
    if (!Array.isArray(v) || v.length < least || v.length > most)
      wrong(at, v, least === most ? `a list of ${least}` : `a list${least ? ` of at least ${least}` : ""}`);
    (v as unknown[]).forEach((x, i) => check(x, `${at}[${i}]`));
  };

function isRecord(v: unknown, at: Path): asserts v is Record<string, unknown> {
  if (typeof v !== "object" || v === null || Array.isArray(v)) wrong(at, v, "an object");
}

/** Path of a member; names that are no plain words are quoted. */
const member = (at: Path, key: string): Path =>
  /^[\w$-]+$/.test(key) ? (at === "" ? key : `${at}.${key}`) : `${at}[${JSON.stringify(key).slice(0, 80)}]`;

/** An object used as a map. `__proto__` names nothing: as a key it would be lost on the way. */
export const map =
  (check: (v: unknown, at: Path, key: string) => void): Check =>
  (v, at) => {
    isRecord(v, at);
    for (const [key, value] of Object.entries(v)) {
      if (key === "" || key === "__proto__") throw brokenManifest({ why: `${at} has a member named ${JSON.stringify(key)}`, at });
      check(value, member(at, key), key);
    }
  };

/** Marks a member that may be absent. */
export interface Optional {
  optional: Check;
}
export const maybe = (optional: Check): Optional => ({ optional });

/** A check for every member of a type; the compiler asks for a new member's. */
export type Members<T> = { [K in keyof T]-?: undefined extends T[K] ? Optional : Check };

/** An object of just these members: one that is not known would be ignored, and so would its meaning. */
export const object = <T>(known: Members<T>): Check => members(known);

/** The same where no type names the members. `open`: others may be there too, and are not looked at. */
export function members(known: Readonly<Record<string, Check | Optional>>, open = false): Check {
  const checks = new Map(Object.entries(known));
  return (v, at) => {
    isRecord(v, at);
    for (const key of open ? [] : Object.keys(v))
      if (!checks.has(key))
        throw brokenManifest({
          why: `${at || "the manifest"} has a member ${JSON.stringify(key).slice(0, 80)}, which means nothing there`,
          at,
        });
    for (const [key, check] of checks) {
      const there = Object.hasOwn(v, key);
      if (typeof check === "function") check(there ? v[key] : undefined, member(at, key));
      else if (there) check.optional(v[key], member(at, key));
    }
  };
}

/** By the value of one member. */
export const union =
  (tag: string, kinds: Readonly<Record<string, Check>>): Check =>
  (v, at) => {
    isRecord(v, at);
    const kind = Object.hasOwn(v, tag) ? v[tag] : undefined;
    if (typeof kind !== "string" || !Object.hasOwn(kinds, kind)) wrong(member(at, tag), kind, Object.keys(kinds).join(" or "));
    kinds[kind as string](v, at);
  };
