// Sends launches to the segment of their weights or cache, and brings them what was computed in another: copies go into the program
// where they are needed, and at its end what the caller will look at goes back to where he looks. Used where there are several
// segments; with one there is nothing to do.
import type { Operand } from "../plan/pointer.ts";
import { Coherence } from "./coherence.ts";
import { offsetOf, segmentOf, type Segments } from "./segments.ts";

/** An operand and whether the launch writes it: weights are read where they are or copied once, a cache stays, a value moves. */
export interface Use {
  operand: Operand;
  written: boolean;
}

/** Copies a program makes: COPY, source segment, offset, segment, offset, bytes. */
export type Copy = readonly [source: number, from: number, segment: number, to: number, bytes: number];

/** Weights below this part of a segment do not decide where a launch runs. */
const SMALL = 1 / 256;

export class Router {
  private readonly segments: Segments;
  private readonly emit: (copy: Copy) => void;
  private readonly coherence = new Coherence();
  private here = 0;

  constructor(segments: Segments, emit: (copy: Copy) => void) {
    this.segments = segments;
    this.emit = emit;
  }

  /** A value that lies at its address before the program runs. */
  given(from: number, to: number): void {
    this.coherence.wrote(from, to, segmentOf(from));
  }

  /** Picks the segment of launches, and gives it what they use. Where a cache is touched that is its segment. */
  enter(uses: readonly Use[]): number {
    this.here = this.choose(uses.map((u) => u.operand));
    for (const { operand } of uses) if (operand.kind === "value") this.bring(operand.from, operand.to, this.here);
    for (const { operand, written } of uses)
      if (written && operand.kind === "value") this.coherence.wrote(operand.from, operand.to, this.here);
    return this.here;
  }

  /** Where an address within an operand is in the segment entered last. */
  address(base: number, operand: Operand): number {
    return operand.kind === "weight"
      ? this.segments.replica(base, this.here)
      : operand.kind === "value"
        ? this.segments.mirror(base, this.here)
        : base;
  }

  /** Brings a value to where the caller knows it. */
  home(from: number, to: number): void {
    this.bring(from, to, segmentOf(from));
  }

  private bring(from: number, to: number, segment: number): void {
    for (const m of this.coherence.need(from, to, segment))
      this.emit([
        m.source,
        offsetOf(this.segments.mirror(m.from, m.source)),
        segment,
        offsetOf(this.segments.mirror(m.from, segment)),
        m.to - m.from,
      ]);
  }

  private choose(operands: readonly Operand[]): number {
    const bytes = new Map<number, number>();
    for (const o of operands) {
      if (o.kind === "cache") return segmentOf(o.from);
      if (o.kind !== "weight") continue;
      const size = this.segments.blockOf(o.from).bytes;
      if (size >= this.segments.fill * SMALL) bytes.set(segmentOf(o.from), (bytes.get(segmentOf(o.from)) ?? 0) + size);
    }
    let best = this.here;
    for (const [segment, size] of bytes) if (size > (bytes.get(best) ?? 0)) best = segment;
    return best;
  }
}
