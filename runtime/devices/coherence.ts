// Which segments hold the last value of which bytes of a call's block. Kernels of a segment see its own copy of the block, so what
// was written in another has to be copied before it is read. A byte range nobody wrote has no value: every segment will do.

interface Range {
  from: number;
  to: number;
  /** Segments whose copy is good; the first is where it was written. */
  valid: number[];
}

/** Bytes to bring from one segment to another. */
export interface Move {
  from: number;
  to: number;
  source: number;
}

export class Coherence {
  private ranges: Range[] = [];

  /** Bytes [from, to) now have their value in `segment` only. */
  wrote(from: number, to: number, segment: number): void {
    this.ranges = this.ranges.flatMap((r) => outside(r, from, to));
    this.ranges.push({ from, to, valid: [segment] });
  }

  /** What must be copied for `segment` to have [from, to); it counts as copied. */
  need(from: number, to: number, segment: number): Move[] {
    const moves: Move[] = [];
    this.ranges = this.ranges.flatMap((r) => {
      if (r.to <= from || to <= r.from || r.valid.includes(segment)) return [r];
      const [a, b] = [Math.max(from, r.from), Math.min(to, r.to)];
      moves.push({ from: a, to: b, source: r.valid[0] });
      return [...outside(r, a, b), { from: a, to: b, valid: [...r.valid, segment] }];
    });
    return moves;
  }
}

/** What is left of a range without [from, to). */
function outside(r: Range, from: number, to: number): Range[] {
  if (r.to <= from || to <= r.from) return [r];
  const left = r.from < from ? [{ ...r, to: from }] : [];
  return r.to > to ? [...left, { ...r, from: to }] : left;
}
