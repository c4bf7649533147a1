// A text put together from sections, each of which is known by what it is: the lines of every generated text lead back to their makers.
import type { Segment } from "../ir/kernel/catalogue.ts";

export class Sections {
  readonly #lines: string[] = [];
  readonly segments: Segment[] = [];

  /** Lines of one kind; nothing for an empty text. */
  add(kind: Segment["kind"], text: string | readonly string[], name?: string, ops: readonly string[] = []): this {
    const lines = typeof text === "string" ? text.split("\n") : text;
    if (lines.length === 0) return this;
    const last = this.segments.at(-1);
    if (last?.kind !== kind || last.name !== name || String(last.ops ?? []) !== String(ops))
      this.segments.push({
        line: this.#lines.length,
        kind,
        ...(name === undefined ? {} : { name }),
        ...(ops.length ? { ops } : {}),
      });
    this.#lines.push(...lines);
    return this;
  }

  /** The text, ending in a line break. */
  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}

/** A line of a header, and what it says: "problem", "floor". */
export type Heading = readonly [says: string, line: string];

/** Segments of a text below a header. */
export const below = (heading: readonly Heading[], segments: readonly Segment[]): Segment[] => [
  ...heading.map(([name], line): Segment => ({ line, kind: "header", name })),
  ...segments.map((s) => ({ ...s, line: s.line + heading.length })),
];
