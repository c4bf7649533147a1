// Words of a tile program's text, with their columns. A kernel text is read a line at a time; a line is a list of these.

export interface Token {
  kind: "name" | "number" | "mark" | "end";
  text: string;
  /** Column of its first character, from 0. */
  at: number;
}

/** What is no word of the text: its column, and the character. */
export interface Stray {
  stray: string;
  at: number;
}

// Longest first. `Infinity` and `NaN` are names here and numbers where a number may stand.
const WORD = /\s+|([A-Za-z_]\w*)|((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)|(:=|\+=|<=|==|!=|\.\.|[-+*/%<=()[\]{}:|,^])/giy;

/** The words of one line; what stands after `#` is a comment. */
export function tokens(line: string): Token[] | Stray {
  const out: Token[] = [];
  const end = line.includes("#") ? line.indexOf("#") : line.length;
  let at = 0;
  while (at < end) {
    WORD.lastIndex = at;
    // "0 .. 8" and "0..8" alike: a number does not swallow the first dot of two.
    const m = WORD.exec(line.slice(0, end));
    if (!m) return { stray: line[at], at };
    let text = m[0];
    if (m[2]?.endsWith(".") && line[at + text.length] === ".") text = text.slice(0, -1);
    if (text.trim() !== "") out.push({ kind: m[1] ? "name" : m[2] ? "number" : "mark", text, at });
    at += text.length;
  }
  out.push({ kind: "end", text: "the end of the line", at: line.slice(0, end).trimEnd().length });
  return out;
}
