// Launches side by side: a layer in miniature, and at random: whatever touches what another writes is ordered as the program orders it.
import { expect, test } from "vitest";
import { dealLanes, type Placement, type Touch } from "../../runtime/devices/cuda/lanes.ts";

const reads = (...at: number[]): Touch[] => at.map((a) => ({ from: a, to: a + 1, write: false }));
const writes = (...at: number[]): Touch[] => at.map((a) => ({ from: a, to: a + 1, write: true }));

/** Whether launch b begins after launch a has ended, by lanes and waits. */
function ordered(p: readonly Placement[], a: number, b: number): boolean {
  const seen = new Set<number>();
  const reach = (i: number): boolean => {
    if (i === a) return true;
    if (i < a || seen.has(i)) return false;
    seen.add(i);
    const own = p.slice(0, i).findLastIndex((q) => q.lane === p[i].lane);
    return (own >= 0 && reach(own)) || (p[i].after !== undefined && reach(p[i].after));
  };
  return reach(b);
}

test("what reads the same value runs side by side, and what needs both waits", () => {
  const launches = [writes(0), [...reads(0), ...writes(1)], [...reads(1), ...writes(2)], [...reads(1), ...writes(3)], [...reads(2, 3), ...writes(4)], reads(4)];
  const lanes = dealLanes(launches);
  expect(lanes).toEqual([{ lane: 0 }, { lane: 0 }, { lane: 0 }, { lane: 1, after: 1 }, { lane: 0, after: 3 }, { lane: 0 }]);
});

test("two hundred random programs keep every order that data needs", () => {
  let s = 12345;
  const random = (n: number): number => ((s = (Math.imul(s, 1103515245) + 12345) >>> 0) >>> 8) % n;
  let beside = 0;
  for (let run = 0; run < 200; run++) {
    const launches: Touch[][] = Array.from({ length: 24 }, () =>
      Array.from({ length: 1 + random(3) }, () => {
        const from = random(12);
        return { from, to: from + 1 + random(3), write: random(3) === 0 };
      }),
    );
    const lanes = dealLanes(launches);
    for (let b = 0; b < launches.length; b++)
      for (let a = 0; a < b; a++) {
        const meet = launches[a].some((x) => launches[b].some((y) => (x.write || y.write) && x.from < y.to && y.from < x.to));
        if (meet || a === 0 || b === launches.length - 1) expect(ordered(lanes, a, b), `run ${run}: ${a} before ${b}`).toBe(true);
        else if (!ordered(lanes, a, b)) beside++;
      }
  }
  expect(beside).toBeGreaterThan(0);
});
