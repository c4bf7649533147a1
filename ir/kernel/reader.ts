// A cursor over the words of one line of a tile program: what stands next, what was expected, and the place of a complaint.
import { DiagnosticError, didYouMean, type Span } from "../diagnostic.ts";
import { kernelText } from "./diagnostics.ts";
import { tokens, type Token } from "./tokens.ts";

export class Reader {
  readonly file: string;
  /** Number of the line, from 1. */
  readonly line: number;
  readonly text: string;
  readonly #words: readonly Token[];
  #next = 0;

  constructor(file: string, line: number, text: string) {
    [this.file, this.line, this.text] = [file, line, text];
    const words = tokens(text);
    if (!Array.isArray(words))
      throw new DiagnosticError(
        kernelText({ problem: `${JSON.stringify(words.stray)} is not a sign of tile programs` }, this.#span(words.at, 1)),
      );
    this.#words = words;
  }

  #span(at: number, length: number, label?: string): Span {
    return {
      file: this.file,
      line: this.line,
      column: at + 1,
      length,
      text: this.text,
      ...(label === undefined ? {} : { label }),
    };
  }

  /** The place of a word; of the next one unless said. */
  span(word: Token = this.peek(), label?: string): Span {
    return this.#span(word.at, word.kind === "end" ? 1 : word.text.length, label);
  }

  /** The place of the whole line. */
  whole(): Span {
    const from = Math.max(0, this.text.search(/\S/));
    return this.#span(from, Math.max(1, this.#words[this.#words.length - 1].at - from));
  }

  peek(ahead = 0): Token {
    return this.#words[Math.min(this.#next + ahead, this.#words.length - 1)];
  }

  take(): Token {
    const word = this.peek();
    if (this.#next < this.#words.length - 1) this.#next++;
    return word;
  }

  get over(): boolean {
    return this.peek().kind === "end";
  }

  is(text: string, ahead = 0): boolean {
    const word = this.peek(ahead);
    return word.text === text && word.kind !== "end";
  }

  /** Takes the word if it is this one. */
  skip(text: string): boolean {
    const yes = this.is(text);
    if (yes) this.take();
    return yes;
  }

  /** The word that has to stand here; `where` completes "expected X ...". */
  expect(text: string, where = ""): Token {
    if (!this.is(text)) this.fail(`expected ${text}${where ? ` ${where}` : ""}, found ${this.peek().text}`);
    return this.take();
  }

  name(what: string): Token {
    if (this.peek().kind !== "name") this.fail(`expected ${what}, found ${this.peek().text}`);
    return this.take();
  }

  /** One of a few words. */
  oneOf<T extends string>(words: readonly T[], what: string): T {
    const word = this.peek();
    const found = words.find((w) => this.is(w));
    if (found === undefined) {
      const near = word.kind === "name" ? didYouMean(word.text, words) : undefined;
      return this.fail(
        `expected ${what}, found ${word.text}`,
        near === undefined ? `there are ${words.join(", ")}` : `did you mean ${near}?`,
      );
    }
    this.take();
    return found;
  }

  /** A number with its sign, Infinity and NaN included. */
  number(what: string): number {
    const first = this.peek();
    const sign = this.skip("-") ? -1 : 1;
    const word = this.peek();
    if (word.kind !== "number" && word.text !== "Infinity" && word.text !== "NaN")
      this.fail(`expected ${what}, found ${word.text}`, undefined, first);
    return sign * Number(this.take().text);
  }

  /** A whole number of at least one: an extent, a tile, a step. */
  count(what: string): number {
    const word = this.peek();
    const n = this.number(what);
    if (!Number.isSafeInteger(n) || n < 1) this.fail(`${what} is a whole number of at least 1, found ${n}`, undefined, word);
    return n;
  }

  /** The line has to be over. */
  end(): void {
    if (!this.over) this.fail(`expected the end of the line, found ${this.peek().text}`);
  }

  fail(problem: string, help?: string, word: Token = this.peek()): never {
    throw new DiagnosticError(kernelText({ problem, help }, this.span(word)));
  }
}
