// Pre-tokenizers: a text into the pieces that are encoded one by one. They follow the tokenizers library of Python, whose classes
// of characters are Unicode's: a digit is any numeric character, white space is White_Space (U+0085 is, U+FEFF is not).
import type { Part } from "../side-file.ts";
import { toByteText } from "./bytes.ts";
import { escapeRegex, patternOf, type CompilePattern } from "./pattern.ts";

/** Pieces of a section of text; `atStart` says whether the first of them begins where the whole text does. */
export interface Pieces {
  texts: string[];
  atStart: boolean;
}

export type PreTokenizer = (pieces: Pieces) => Pieces;

export const BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
export type Behavior = (typeof BEHAVIORS)[number];

/** [text, is a match] of a text from end to end. */
type Run = [text: string, match: boolean];

/** Splits at every match, which goes with the pieces as `behavior` says. */
export function splitAt(pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer {
  return ({ texts, atStart }) => {
    const out: string[] = [];
    let starts = atStart;
    for (const [i, text] of texts.entries()) {
      const runs = runsOf(text, pattern, invert);
      if (i === 0 && behavior === "Removed" && runs[0]?.[1]) starts = false;
      for (const piece of join(runs, behavior)) out.push(piece);
    }
    return { texts: out, atStart: starts };
  };
}

function runsOf(text: string, pattern: RegExp, invert: boolean): Run[] {
  const runs: Run[] = [];
  let end = 0;
  pattern.lastIndex = 0;
  for (let m = pattern.exec(text); m !== null; m = pattern.exec(text)) {
    if (m[0] === "") {
      pattern.lastIndex += text.codePointAt(pattern.lastIndex)! > 0xffff ? 2 : 1;
      continue;
    }
    if (m.index > end) runs.push([text.slice(end, m.index), invert]);
    runs.push([m[0], !invert]);
    end = m.index + m[0].length;
  }
  if (end < text.length) runs.push([text.slice(end), invert]);
  return runs;
}

function join(runs: Run[], behavior: Behavior): string[] {
  if (behavior === "Isolated") return runs.map(([t]) => t);
  if (behavior === "Removed") return runs.filter(([, match]) => !match).map(([t]) => t);
  const out: string[] = [];
  if (behavior === "MergedWithNext") {
    let before = "";
    for (const [text, match] of runs) {
      if (match) {
        if (before !== "") out.push(before);
        before = text;
      } else {
        out.push(before + text);
        before = "";
      }
    }
    return before === "" ? out : [...out, before];
  }
  let previous: boolean | undefined;
  for (const [text, match] of runs) {
    const together = behavior === "Contiguous" ? match === previous : match && previous === false;
    if (together) out[out.length - 1] += text;
    else out.push(text);
    previous = match;
  }
  return out;
}

const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu;
const SPACE = /\p{White_Space}/gu;
const WORDS =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;
const BYTE_LEVEL =
  /'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

const each =
  (change: (text: string, atStart: boolean) => string): PreTokenizer =>
  ({ texts, atStart }) => ({ texts: texts.map((t, i) => change(t, atStart && i === 0)), atStart });

const chain =
  (steps: PreTokenizer[]): PreTokenizer =>
  (pieces) =>
    steps.reduce((p, step) => step(p), pieces);

const KINDS = [
  "Sequence",
  "ByteLevel",
  "Split",
  "Digits",
  "Punctuation",
  "Whitespace",
  "WhitespaceSplit",
  "CharDelimiterSplit",
  "BertPreTokenizer",
  "Metaspace",
  "FixedLength",
] as const;

/** The pre-tokenizer that a part of tokenizer.json describes. */
export function preTokenizerOf(part: Part, compile: CompilePattern): PreTokenizer {
  if (!part.given) return (pieces) => pieces;
  switch (part.kind(KINDS)) {
    case "Sequence":
      return chain(
        part
          .get("pretokenizers")
          .list()
          .map((p) => preTokenizerOf(p, compile)),
      );
    case "ByteLevel": {
      const prefix = part.get("add_prefix_space").flag(true);
      const split = part.get("use_regex").flag(true) ? splitAt(BYTE_LEVEL, "Isolated") : (p: Pieces) => p;
      const spaced = each((t) => (prefix && t !== "" && !t.startsWith(" ") ? ` ${t}` : t));
      return chain([spaced, split, each(toByteText)]);
    }
    case "Split":
      return splitAt(patternOf(part.get("pattern"), compile), behaviorOf(part.get("behavior")), part.get("invert").flag(false));
    case "Digits":
      return part.get("individual_digits").flag(false) ? splitAt(/\p{N}/gu, "Isolated") : splitAt(/\p{N}+/gu, "Isolated");
    case "Punctuation": {
      const behavior = part.get("behavior");
      return splitAt(PUNCTUATION, behavior.given ? behaviorOf(behavior) : "Isolated");
    }
    case "Whitespace":
      return splitAt(WORDS, "Removed", true);
    case "WhitespaceSplit":
      return splitAt(SPACE, "Removed");
    case "CharDelimiterSplit":
      return splitAt(new RegExp(escapeRegex(part.get("delimiter").text()), "gu"), "Removed");
    case "BertPreTokenizer":
      return chain([splitAt(SPACE, "Removed"), splitAt(PUNCTUATION, "Isolated")]);
    case "Metaspace":
      return metaspaceOf(part);
    case "FixedLength":
      return fixedLength(Math.max(1, part.get("length").whole()));
  }
}

const behaviorOf = (part: Part): Behavior => {
  const word = part.text();
  const known = BEHAVIORS.find((b) => b === word);
  return known ?? part.fail(`is ${JSON.stringify(word)}; it must be one of ${BEHAVIORS.join(", ")}`);
};

/** How Metaspace marks the beginning of a text; the older key says it by true and false. */
export function prependSchemeOf(part: Part): "always" | "first" | "never" {
  const scheme = part.get("prepend_scheme");
  const older = part.get("add_prefix_space");
  const word = scheme.textOr("always");
  if (word !== "always" && word !== "first" && word !== "never")
    return scheme.fail(`is ${JSON.stringify(word)}; it must be always, first or never`);
  if (older.given && !older.flag(true)) {
    if (scheme.given && word !== "never") older.fail("is false, which prepend_scheme contradicts");
    return "never";
  }
  return word;
}

export const markOf = (part: Part): string => part.get("replacement").textOr("\u2581");

function metaspaceOf(part: Part): PreTokenizer {
  const mark = markOf(part);
  const scheme = prependSchemeOf(part);
  const marked = each((t, atStart) => {
    const text = t.replaceAll(" ", mark);
    return text !== "" && !text.startsWith(mark) && (scheme === "always" || (scheme === "first" && atStart)) ? mark + text : text;
  });
  if (!part.get("split").flag(true)) return marked;
  return chain([marked, splitAt(new RegExp(escapeRegex(mark), "gu"), "MergedWithNext")]);
}

const fixedLength =
  (length: number): PreTokenizer =>
  ({ texts, atStart }) => {
    const out: string[] = [];
    for (const text of texts) {
      const chars = Array.from(text);
      for (let i = 0; i < chars.length; i += length) out.push(chars.slice(i, i + length).join(""));
    }
    return { texts: out, atStart };
  };
