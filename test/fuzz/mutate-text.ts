// Damage to a text: characters that go, come twice or turn into others.
import type { Random } from "./random.ts";

const STRANGE = [
  "\0",
  "\ufeff",
  "\ud800",
  "\u2028",
  "é",
  "{",
  "}",
  "[",
  '"',
  "\\",
  "\r\n",
  "%}",
  "{{",
  "{%",
  "|",
  "(",
  ")",
  "-",
  "9".repeat(30),
  "1e999",
];

export function mutate(text: string, r: Random): string {
  let out = text;
  for (let n = 1 + r.below(3); n > 0; n--) {
    const at = r.below(out.length + 1);
    const length = r.below(6);
    out = r.one([
      () => out.slice(0, at) + out.slice(at + length),
      () => out.slice(0, at) + r.one(STRANGE) + out.slice(at),
      () => out.slice(0, at),
      () => out.slice(0, at + length) + out.slice(at),
    ])();
  }
  return out;
}
