// Added tokens: texts that are one id wherever they stand, found before anything else. Those that are not normalized are looked
// for in the text as it is, the others in the normalized rest; where several begin at one place, the longest wins.
import { escapeRegex } from "./pattern.ts";
import { trimEnd, type Normalizer } from "./normalize.ts";

export interface AddedToken {
  id: number;
  content: string;
  /** White space before it, or after it, is part of it. */
  lstrip: boolean;
  rstrip: boolean;
  /** Not within a word. */
  singleWord: boolean;
  normalized: boolean;
  /** Left out of decoded text. */
  special: boolean;
}

/** A stretch of text, or the id of an added token; `atStart`: the stretch begins where the whole text does. */
export type Section = { text: string; atStart: boolean } | number;

/** A control token is special, or looks as markup does: many checkpoints mark <｜User｜> or <think> as not special. */
export const isControl = (t: AddedToken): boolean => t.special || /^(?:<.+>|\[.+\])$/su.test(t.content);

const WORD = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
const ENDS_IN_WORD = new RegExp(`${WORD}$`, "u");
const BEGINS_WITH_WORD = new RegExp(`^${WORD}`, "u");

export class AddedTokens {
  readonly byContent = new Map<string, AddedToken>();
  readonly byId = new Map<number, AddedToken>();
  /** What a token stands for in a decoded text: as it was found, so normalized where it is looked for in normalized text. */
  readonly shown: ReadonlyMap<number, string>;
  private readonly normalize: Normalizer | undefined;
  private readonly raw: Finder;
  private readonly normal: Finder;
  private readonly control: RegExp | undefined;

  constructor(tokens: readonly AddedToken[], normalize: Normalizer | undefined) {
    this.normalize = normalize;
    const kept = tokens.filter((t) => t.content !== "");
    for (const t of kept) {
      this.byContent.set(t.content, t);
      this.byId.set(t.id, t);
    }
    this.shown = new Map(kept.map((t) => [t.id, t.normalized ? (normalize?.(t.content) ?? t.content) : t.content]));
    this.raw = new Finder(kept.filter((t) => !t.normalized).map((t) => [t.content, t]));
    this.normal = new Finder(kept.filter((t) => t.normalized).map((t) => [normalize?.(t.content) ?? t.content, t]));
    const control = kept.filter(isControl).map((t) => t.content);
    // A lookahead, so that tokens that overlap are all found.
    this.control = control.length ? new RegExp(`(?=${longestFirst(control)})[\\s\\S]`, "gu") : undefined;
  }

  /** The text with `mark` inside everything that would be a control token, behind its first character. */
  hide(text: string, mark: string): string {
    return this.control ? text.replace(this.control, (c) => c + mark) : text;
  }

  split(text: string): Section[] {
    const out: Section[] = [];
    let atStart = true;
    for (const found of this.raw.split(text)) {
      if (typeof found === "number") out.push(found);
      else
        for (const inner of this.normal.split(this.normalize?.(found) ?? found)) {
          out.push(typeof inner === "number" ? inner : { text: inner, atStart });
          atStart = false;
        }
      atStart = false;
    }
    return out;
  }
}

const longestFirst = (contents: string[]): string =>
  contents
    .toSorted((a, b) => b.length - a.length)
    .map(escapeRegex)
    .join("|");

class Finder {
  private readonly tokens: ReadonlyMap<string, AddedToken>;
  private readonly pattern: RegExp | undefined;

  constructor(tokens: [string, AddedToken][]) {
    this.tokens = new Map(tokens.filter(([content]) => content !== ""));
    this.pattern = this.tokens.size ? new RegExp(longestFirst([...this.tokens.keys()]), "g") : undefined;
  }

  split(text: string): (string | number)[] {
    if (!this.pattern) return text === "" ? [] : [text];
    const out: (string | number)[] = [];
    let end = 0;
    for (const m of text.matchAll(this.pattern)) {
      const token = this.tokens.get(m[0])!;
      let from = m.index;
      let to = from + m[0].length;
      if (from < end) continue;
      if (
        token.singleWord &&
        (ENDS_IN_WORD.test(text.slice(Math.max(0, from - 2), from)) || BEGINS_WITH_WORD.test(text.slice(to, to + 2)))
      )
        continue;
      if (token.lstrip) from = end + trimEnd(text.slice(end, from)).length;
      if (token.rstrip) to += /^\p{White_Space}*/u.exec(text.slice(to))![0].length;
      if (from > end) out.push(text.slice(end, from));
      out.push(token.id);
      end = to;
    }
    if (end < text.length) out.push(text.slice(end));
    return out;
  }
}
