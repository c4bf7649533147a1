// A template as tokens. Line ends become "\n", one at the end goes; what stands between tags is text, whose white space the tags
// take away as Jinja does with trim_blocks and lstrip_blocks: the settings chat templates are written for.
import { Fault, type At } from "./errors.ts";

export type TokenKind = "text" | "block" | "/block" | "print" | "/print" | "name" | "string" | "int" | "float" | "op" | "end";

export interface Token {
  kind: TokenKind;
  text: string;
  at: At;
}

const FLOAT = /(?<!\.)((?:\d+_)*\d+(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|(?:\d+_)*\d+\.(?:\d+_)*\d+)/;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/;
const NUMBER = new RegExp(`${FLOAT.source}|${INTEGER.source}`, "iuy");
const NAME = /[\p{XID_Start}_][\p{XID_Continue}]*/uy;
const STRING = /'(?:[^'\\]|\\[\s\S])*'|"(?:[^"\\]|\\[\s\S])*"/y;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const SPACE = /\s+/y;
const OPENING: Readonly<Record<string, string>> = { ")": "(", "]": "[", "}": "{" };

export class Lexer {
  readonly source: string;
  private readonly tokens: Token[] = [];
  private readonly starts: number[] = [0];
  private pos = 0;
  /** What is before `pos` ends a line, or is the beginning. */
  private lineStart = true;

  constructor(text: string) {
    this.source = text.replace(/\r\n|\r/g, "\n").replace(/\n$/, "");
    for (let i = this.source.indexOf("\n"); i >= 0; i = this.source.indexOf("\n", i + 1)) this.starts.push(i + 1);
  }

  /** Line and column of an offset. */
  at(offset: number): At {
    let [low, high] = [0, this.starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - this.starts[low] + 1 };
  }

  read(): Token[] {
    const { source } = this;
    const opening = /\{%|\{\{|\{#/g;
    while (this.pos < source.length) {
      opening.lastIndex = this.pos;
      const found = opening.exec(source);
      if (!found) {
        this.add("text", source.slice(this.pos), this.pos);
        break;
      }
      this.tag(found[0], found.index);
    }
    this.tokens.push({ kind: "end", text: "", at: this.at(source.length) });
    return this.tokens;
  }

  /** The text before a tag, and the tag. */
  private tag(open: string, from: number): void {
    const { source } = this;
    const sign = /[-+]/.exec(source[from + 2] ?? "")?.[0] ?? "";
    const raw = open === "{%" && this.match(/\{%[-+]?\s*raw\s*(?:-%\}\s*|%\})/y, from);
    this.add("text", this.before(source.slice(this.pos, from), sign, open === "{{"), this.pos);
    if (raw) return this.raw(from, from + raw.length);
    if (open === "{#") {
      const rest = this.match(/[\s\S]*?(?:\+#\}|-#\}\s*|#\}\n?)/y, from + 2);
      if (rest === undefined) throw new Fault("syntax", "Missing end of comment tag", this.at(from));
      return this.move(from + 2 + rest.length);
    }
    const kind = open === "{{" ? "print" : "block";
    this.tokens.push({ kind, text: "", at: this.at(from) });
    // `{{+` is the plain opening with its sign; a sign that is an operand's has a space before it.
    this.move(from + 2 + (sign ? 1 : 0));
    this.inside(kind, from);
  }

  /** Text before a tag, without what the tag takes away. */
  private before(text: string, sign: string, prints: boolean): string {
    if (sign === "-") return text.trimEnd();
    if (sign === "+" || prints) return text;
    const line = text.lastIndexOf("\n") + 1;
    return (line > 0 || this.lineStart) && /^\s+$/.test(text.slice(line)) ? text.slice(0, line) : text;
  }

  private raw(from: number, body: number): void {
    this.move(body);
    const found = this.match(/[\s\S]*?\{%[-+]?\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)/y, body);
    if (found === undefined) throw new Fault("syntax", "Missing end of raw directive", this.at(from));
    const close = /\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)$/.exec(found)!;
    this.add("text", this.before(found.slice(0, close.index), close[1], false), body);
    this.move(body + found.length);
  }

  /** The tokens of a tag, up to its end. */
  private inside(kind: "print" | "block", from: number): void {
    const open: { op: string; at: number }[] = [];
    const close = kind === "print" ? /-\}\}\s*|\}\}/y : /\+%\}|-%\}\s*|%\}\n?/y;
    for (;;) {
      if (this.pos >= this.source.length)
        throw new Fault("syntax", `unexpected end of template: ${kind === "print" ? "{{" : "{%"} is not closed`, this.at(from));
      const end = open.length === 0 ? this.match(close, this.pos) : undefined;
      if (end !== undefined) {
        this.tokens.push({ kind: kind === "print" ? "/print" : "/block", text: end, at: this.at(this.pos) });
        return this.move(this.pos + end.length);
      }
      this.token(open);
    }
  }

  private token(open: { op: string; at: number }[]): void {
    const { pos } = this;
    const at = this.at(pos);
    const space = this.match(SPACE, pos);
    if (space !== undefined) return this.move(pos + space.length);
    NUMBER.lastIndex = pos;
    const number = NUMBER.exec(this.source);
    if (number) return this.push(number[1] === undefined ? "int" : "float", number[0], at);
    const name = this.match(NAME, pos);
    if (name !== undefined) return this.push("name", name, at);
    const string = this.match(STRING, pos);
    if (string !== undefined) return this.push("string", string, at);
    const op = this.match(OPERATOR, pos);
    if (op === undefined)
      throw new Fault("syntax", `unexpected char ${JSON.stringify(String.fromCodePoint(this.source.codePointAt(pos)!))}`, at);
    if ("([{".includes(op)) open.push({ op, at: pos });
    else if (OPENING[op]) {
      const last = open.pop();
      if (!last) throw new Fault("syntax", `unexpected '${op}'`, at);
      if (last.op !== OPENING[op]) throw new Fault("syntax", `unexpected '${op}', expected the end of '${last.op}'`, at);
    }
    this.push("op", op, at);
  }

  private push(kind: TokenKind, text: string, at: At): void {
    this.tokens.push({ kind, text, at });
    this.move(this.pos + text.length);
  }

  private add(kind: "text", text: string, at: number): void {
    if (text) this.tokens.push({ kind, text, at: this.at(at) });
  }

  private move(to: number): void {
    this.pos = to;
    this.lineStart = to === 0 || this.source[to - 1] === "\n";
  }

  private match(pattern: RegExp, at: number): string | undefined {
    pattern.lastIndex = at;
    return pattern.exec(this.source)?.[0];
  }
}

const SIMPLE: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  a: "\x07",
  b: "\b",
  f: "\f",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "\n": "",
};

/** What a string literal says: escapes as in Python. */
export function unescape(literal: string, at: At): string {
  return literal
    .slice(1, -1)
    .replace(
      /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(N)|([\s\S]))/g,
      (all, octal, x, u, long, named, other: string | undefined) => {
        if (octal) return String.fromCodePoint(parseInt(octal as string, 8));
        if (named) throw new Fault("unsupported", "\\N{NAME} in a string", at);
        const hex = (x ?? u ?? long) as string | undefined;
        if (hex !== undefined) {
          const code = parseInt(hex, 16);
          if (code > 0x10ffff) throw new Fault("syntax", "illegal Unicode character in a string", at);
          return String.fromCodePoint(code);
        }
        if (other === "x" || other === "u" || other === "U")
          throw new Fault("syntax", `truncated \\${other} escape in a string`, at);
        return SIMPLE[other!] ?? (all as string);
      },
    );
}
