// Normalizers: a text before it is split. As the tokenizers library of Python has them; what it does by a table of its own
// (Precompiled, BertNormalizer, Nmt) is refused by name.
import type { Part } from "../side-file.ts";
import { toByteText } from "./bytes.ts";
import { patternOf, type CompilePattern } from "./pattern.ts";

export type Normalizer = (text: string) => string;

const KINDS = [
  "Sequence",
  "NFC",
  "NFD",
  "NFKC",
  "NFKD",
  "Lowercase",
  "Strip",
  "StripAccents",
  "Replace",
  "Prepend",
  "ByteLevel",
] as const;

/** The normalizer that a part of tokenizer.json describes; undefined where there is none. */
export function normalizerOf(part: Part, compile: CompilePattern): Normalizer | undefined {
  if (!part.given) return undefined;
  const kind = part.kind(KINDS);
  switch (kind) {
    case "Sequence": {
      const steps = part
        .get("normalizers")
        .list()
        .map((p) => normalizerOf(p, compile) ?? p.fail("is null; it must be a normalizer"));
      return (text) => steps.reduce((t, step) => step(t), text);
    }
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => text.normalize(kind);
    case "Lowercase":
      // Letter by letter: JavaScript would give a sigma at the end of a word its own form.
      return (text) => text.replace(/\p{Changes_When_Lowercased}/gu, (c) => c.toLowerCase());
    case "Strip": {
      const left = part.get("strip_left").flag(true);
      const right = part.get("strip_right").flag(true);
      return (text) => {
        const from = left ? text.replace(/^\p{White_Space}+/u, "") : text;
        return right ? trimEnd(from) : from;
      };
    }
    case "StripAccents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "Replace": {
      const pattern = patternOf(part.get("pattern"), compile);
      const content = part.get("content").text();
      return (text) => text.replace(pattern, () => content);
    }
    case "Prepend": {
      const prefix = part.get("prepend").text();
      return (text) => (text === "" ? "" : prefix + text);
    }
    case "ByteLevel":
      return toByteText;
  }
}

/** Without the white space at its end; a pattern that ends in $ would try every run of spaces. */
export function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1])) end--;
  return text.slice(0, end);
}
