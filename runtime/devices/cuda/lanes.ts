// Which launches of a step may run side by side: what each reads and writes, as ranges of addresses, decides what it must wait for.
// Two lanes are enough for what a layer holds apart (the rotated keys beside the absorbed query, the shared expert beside the routed
// ones). A lane is a stream of a capture; a wait on the other lane is an edge of the graph.

/** Bytes that a launch touches. */
export interface Touch {
  from: number;
  to: number;
  write: boolean;
}

/** Where a launch goes, and the launch of the other lane it waits for. */
export interface Placement {
  lane: 0 | 1;
  after?: number;
}

/** What was last done to a range: its writer, and who has read it since. */
interface Range {
  from: number;
  to: number;
  writer: number;
  readers: number[];
}

/** The launches each one must follow, because one of the two writes what the other touches. All follow the first. */
function dependencies(launches: readonly (readonly Touch[])[]): Set<number>[] {
  let ranges: Range[] = [];
  return launches.map((touches, i) => {
    const direct = new Set<number>(i > 0 ? [0] : []);
    for (const t of touches) {
      const met = ranges.filter((r) => r.from < t.to && t.from < r.to);
      for (const r of met) {
        if (r.writer >= 0) direct.add(r.writer);
        if (t.write) for (const reader of r.readers) direct.add(reader);
      }
      if (t.write) ranges = [...ranges.filter((r) => !(r.from >= t.from && r.to <= t.to)), { from: t.from, to: t.to, writer: i, readers: [] }];
      else if (met.some((r) => r.from <= t.from && t.to <= r.to)) for (const r of met) r.readers.push(i);
      else ranges.push({ from: t.from, to: t.to, writer: -1, readers: [i] });
    }
    direct.delete(i);
    return direct;
  });
}

/** Deals launches, in order, to lanes. The last one is on lane 0 and follows all others. */
export function dealLanes(launches: readonly (readonly Touch[])[]): Placement[] {
  const direct = dependencies(launches);
  const out: Placement[] = [];
  /** Every launch that has ended before launch i begins. */
  const before: Set<number>[] = [];
  const tails = [-1, -1];
  for (const [i, needs] of direct.entries()) {
    const last = i === launches.length - 1;
    if (last) for (const t of tails) if (t >= 0) needs.add(t);
    const follows = (lane: 0 | 1): boolean => tails[lane] < 0 || [...needs].some((d) => d === tails[lane] || before[d].has(tails[lane]));
    // What follows the end of lane 0 continues it; what could run beside that end goes to lane 1.
    const lane = last || follows(0) ? 0 : 1;
    const own = tails[lane];
    const ended = new Set<number>(own >= 0 ? [own, ...before[own]] : []);
    // Of the other lane the latest one it needs stands for all before it there.
    const other = [...needs].filter((d) => out[d].lane !== lane && !ended.has(d));
    const after = other.length ? Math.max(...other) : undefined;
    if (after !== undefined) for (const d of [after, ...before[after]]) ended.add(d);
    out.push(after === undefined ? { lane } : { lane, after });
    before.push(ended);
    tails[lane] = i;
    // A lane whose end has been waited for is free again.
    if (lane === 0 && ended.has(tails[1])) tails[1] = -1;
  }
  return out;
}
