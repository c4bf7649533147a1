// Keys that stand twice in one object of a JSON text. JSON.parse keeps the last of the two without a word, and another reader may
// keep the first.
import { keysTwice, scanJson } from "../ir/json.ts";

/** Such a key, or undefined; `value` is the parsed text. */
export function duplicateKey(text: string, value: unknown): string | undefined {
  return colons(text) === keysIn(value) ? undefined : firstTwice(text);
}

/** Colons outside strings: one for every key that is written. */
function colons(text: string): number {
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) i = stringEnd(text, i);
    else if (c === 0x3a) n++;
  }
  return n;
}

/** Index of the quote that ends the string begun at `i`. */
function stringEnd(text: string, i: number): number {
  for (i++; i < text.length && text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
  return i;
}

function keysIn(value: unknown): number {
  let n = 0;
  const left = [value];
  while (left.length) {
    const v = left.pop();
    if (typeof v !== "object" || v === null) continue;
    const inner = Object.values(v);
    if (!Array.isArray(v)) n += inner.length;
    for (const x of inner) if (typeof x === "object") left.push(x);
  }
  return n;
}

/** The first key that its object has already. */
function firstTwice(text: string): string | undefined {
  const twice = keysTwice();
  let found: string | undefined;
  scanJson(text, { key: (_, path) => (twice(path) ? (found = path.at(-1) as string) : undefined) });
  return found;
}
