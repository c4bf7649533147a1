// Text of a growing list of ids: `push` gives what is new, holding back an unfinished character.
import type { TextOfIds } from "./tokenizer/decode.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Text of ids that come one by one; bytes that are no whole character wait for the rest. */
export class TextStream implements TextOfIds {
  private readonly inner: TextOfIds;

  constructor(tokenizer: Tokenizer, options: { special?: boolean } = {}) {
    this.inner = tokenizer.stream(options);
  }

  push(id: number): string {
    return this.inner.push(id);
  }

  /** What was held back: an unfinished character prints as U+FFFD. */
  end(): string {
    return this.inner.end();
  }
}
