// A text put together from sections, each of which is known by what it is: the lines of every generated text lead back to their makers.
import type { Segment } from "../ir/kernel/catalogue.ts";

export class Sections {
  readonly #lines: string[] = [];
  readonly segments: Segment[] = [];

  /** Lines of one kind; nothing for an empty text. */
  add(kind: Segment["kind"], text: string | readonly string[], name?: string): this {
    const lines = typeof text === "string" ? text.split("\n") : text;
    if (lines.length === 0) return this;
    const last = this.segments.at(-1);
    if (last?.kind !== kind || last.name !== name)
      this.segments.push({ line: this.#lines.length, kind, ...(name === undefined ? {} : { name }) });
    this.#lines.push(...lines);
    return this;
  }

  /** The text, ending in a line break. */
  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}

/** Segments of a text below so many other lines. */
export const below = (lines: number, segments: readonly Segment[]): Segment[] => [
  ...(lines > 0 ? [{ line: 0, kind: "header" } as const] : []),
  ...segments.map((s) => ({ ...s, line: s.line + lines })),
];
