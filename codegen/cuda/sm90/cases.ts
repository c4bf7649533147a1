// Launches by the number of rows, known only at run time: one case between two sizes where the choice of schedule changes.
import type { Choice, Chosen } from "../../../ir/kernel/catalogue.ts";
import type { Size } from "../../../ir/size.ts";

/** Rows at which the choice of a schedule is looked at again; between two of them one kernel serves. */
const STEPS = [1, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384, 32768] as const;

/** One launch where every size takes the same schedule, else cases that cover all sizes. */
export function casesOf<S>(rows: Size, choose: (rows: number) => S, launch: (schedule: S) => Chosen): Choice {
  const cases: { most: number | null; launches: Chosen[] }[] = [];
  let last: S | undefined;
  for (const most of STEPS) {
    const s = choose(most);
    if (s === last) cases[cases.length - 1].most = most;
    else cases.push({ most, launches: [launch(s)] });
    last = s;
  }
  cases[cases.length - 1].most = null;
  return cases.length === 1 ? cases[0].launches : { on: rows, cases };
}
