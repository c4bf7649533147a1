// A growing answer, told apart into reasoning and answer by <think> and </think>. The marks themselves are not shown; a piece
// of text that may be the beginning of one is held back until it is clear.

/** A piece of an answer as it is streamed: reasoning or answer, and its text. */
export interface Piece {
  kind: "reasoning" | "answer";
  text: string;
}

const OPEN = "<think>";
const CLOSE = "</think>";

export class ReasoningStream {
  private kind: Piece["kind"];
  private held = "";
  /** Nothing but white space has come: the answer may still begin with <think>. */
  private fresh = true;
  private afterMark = false;

  /** `prompt` ends where the answer begins; templates of newer checkpoints open the reasoning there. */
  constructor(prompt: string) {
    this.afterMark = prompt.trimEnd().endsWith(OPEN);
    this.kind = this.afterMark ? "reasoning" : "answer";
  }

  /** Whether the reasoning is still going on. */
  get reasoning(): boolean {
    return this.kind === "reasoning";
  }

  push(text: string): Piece[] {
    this.held += text;
    const out: Piece[] = [];
    for (;;) {
      // Line ends after a mark belong to it.
      if (this.afterMark) this.held = this.held.replace(/^\n+/, "");
      if (this.held !== "") this.afterMark = false;
      const mark = this.kind === "reasoning" ? CLOSE : this.fresh ? OPEN : "";
      const at = mark ? this.held.indexOf(mark) : -1;
      if (at >= 0 && (mark === CLOSE || this.held.slice(0, at).trim() === "")) {
        if (mark === CLOSE) out.push({ kind: "reasoning", text: this.held.slice(0, at) });
        this.held = this.held.slice(at + mark.length);
        this.kind = mark === OPEN ? "reasoning" : "answer";
        this.fresh = false;
        this.afterMark = true;
        continue;
      }
      // White space before <think> is not shown; before an answer it is.
      const keep = mark === OPEN && OPEN.startsWith(this.held.trim()) ? this.held.length : mark ? overlap(this.held, mark) : 0;
      const ready = this.held.slice(0, this.held.length - keep);
      this.held = this.held.slice(ready.length);
      if (ready.trim() !== "") this.fresh = false;
      out.push({ kind: this.kind, text: ready });
      return out.filter((p) => p.text !== "");
    }
  }

  /** What was held back. */
  end(): Piece[] {
    const rest = this.held;
    this.held = "";
    return rest ? [{ kind: this.kind, text: rest }] : [];
  }
}

/** Length of the longest end of `text` that begins `mark`. */
function overlap(text: string, mark: string): number {
  let n = Math.min(text.length, mark.length - 1);
  while (n > 0 && !text.endsWith(mark.slice(0, n))) n--;
  return n;
}
