// Mutations of JSON values and of bytes: what an editor, a script or a broken disk makes of a file.
import { Random } from "./random.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const extremes: readonly Json[] = [
  0,
  1,
  -1,
  2,
  3,
  7,
  127,
  128,
  129,
  0.5,
  -0.5,
  1e308,
  -1e308,
  5e-324,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 53 + 2,
  1e20,
  1e21,
  4096,
  65537,
  "",
  " ",
  "yes",
  "none",
  "NaN",
  "Infinity",
  "1",
  "null",
  "a\u0000b",
  "ü€😀",
  "x".repeat(5000),
  "__proto__",
  true,
  false,
  null,
  [],
  [[]],
  [0],
  [null],
  ["x"],
  {},
  { a: 1 },
  { "": "" },
  { length: 3 },
];
const names = ["", "__proto__", "constructor", "toString", "hasOwnProperty", "length", "0", "a.b", "\u0000", "x".repeat(300)];

/** Paths to every member of every object and list. */
function places(v: Json, at: (string | number)[] = []): (string | number)[][] {
  if (typeof v !== "object" || v === null || at.length > 8) return [];
  const keys = Array.isArray(v) ? [...v.keys()] : Object.keys(v);
  return keys.flatMap((k) => [[...at, k], ...places((v as Record<string, Json>)[k], [...at, k])]);
}

const put = (o: object, k: string | number, value: Json): void =>
  void Object.defineProperty(o, k, { value, enumerable: true, writable: true, configurable: true });

function typo(r: Random, word: string): string {
  const at = r.below(Math.max(1, word.length));
  return r.one([
    word.slice(0, at) + word.slice(at + 1),
    word.slice(0, at) + r.one([..."aeiou_s0"]) + word.slice(at),
    word.toUpperCase(),
    word.replaceAll("_", "-"),
    word + "s",
    r.one(names),
  ]);
}

/** The value with one to four things changed; the original stays. */
export function mutateJson(r: Random, original: Json, strangers: readonly Json[] = []): Json {
  const root = structuredClone(original);
  for (let n = r.one([1, 1, 1, 2, 4]); n > 0; n--) {
    const all = places(root);
    if (all.length === 0) break;
    const path = r.one(all);
    const key = path.at(-1)!;
    const parent = path.slice(0, -1).reduce((v: Json, k) => (v as Record<string, Json>)[k], root) as Record<string, Json>;
    const value = parent[key];
    const kind = r.below(10);
    if (kind === 0) {
      if (Array.isArray(parent)) parent.splice(key as number, 1);
      else delete parent[key];
    } else if (kind === 1 && !Array.isArray(parent)) {
      delete parent[key];
      put(parent, typo(r, String(key)), value);
    } else if (kind === 2) put(parent, key, nested(r, value));
    else if (kind === 3 && typeof value === "number")
      put(
        parent,
        key,
        r.one([
          value + 1,
          value - 1,
          value * 2,
          value / 2,
          -value,
          value + 0.5,
          Math.round(value * r.next()),
          value * 1e6,
          String(value),
        ]),
      );
    else if (kind === 4)
      put(parent, key, structuredClone(r.one(all).reduce((v: Json, k) => (v as Record<string, Json>)[k], root)));
    else if (kind === 5 && typeof value === "string") put(parent, key, typo(r, value));
    else if (kind === 6 && strangers.length) put(parent, key, structuredClone(r.one(strangers)));
    else put(parent, key, structuredClone(r.one(extremes)));
  }
  return root;
}

/** Stands for nesting too deep for a value; the text has it. */
const DEEP = "@deep@";

function nested(r: Random, value: Json): Json {
  if (r.chance(0.2)) return DEEP;
  let v = value;
  for (let n = r.one([1, 2, 30]); n > 0; n--) v = n % 2 ? [v] : { a: v };
  return v;
}

/** Bytes with some flipped, cut, inserted, repeated or overwritten. */
export function mutateBytes(r: Random, original: Uint8Array): Uint8Array {
  let out = Uint8Array.from(original);
  for (let n = 1 + r.below(3); n > 0; n--) {
    const at = r.below(out.length + 1);
    const length = r.one([1, 1, 1, 2, 8, 100]);
    const some = Uint8Array.from({ length }, () => (r.chance(0.5) ? r.below(256) : r.one([...'{}[]",:0-e\\ \n']).charCodeAt(0)));
    const kind = r.below(5);
    if (kind === 0) out = Uint8Array.from([...out.subarray(0, at), ...out.subarray(at + length)]);
    else if (kind === 1) out = Uint8Array.from([...out.subarray(0, at), ...some, ...out.subarray(at)]);
    else if (kind === 2) out = out.slice(0, at);
    else if (kind === 3) out = Uint8Array.from([...out.subarray(0, at + length), ...out.subarray(at)]);
    else out.set(some.subarray(0, Math.max(0, out.length - at)), Math.min(at, out.length));
  }
  return out;
}

/** JSON text that keeps what JSON.stringify would refuse or lose. */
export const textOf = (r: Random, v: Json): string => {
  const depth = r.one([600, 20_000]);
  const deep = r.chance(0.5) ? "[".repeat(depth) + "]".repeat(depth) : '{"a":'.repeat(depth) + "1" + "}".repeat(depth);
  const text = JSON.stringify(v, null, r.one([undefined, 1, 2, "\t"])).replaceAll(`"${DEEP}"`, deep);
  // A key given twice, as a careless merge leaves it.
  return r.chance(0.05) ? text.replace(/"([^"]+)": ?([^,{}[\]]+)([,}])/, '"$1": $2, "$1": 1$3') : text;
};
