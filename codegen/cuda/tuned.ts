// Times that `dsc tune` measured on a machine: in front of every other, for the problems that they are of.
import { native, type Arch, type Native } from "./native.ts";

/** Microseconds of a launch by itself with so many rows. */
export interface TunedRow {
  family: string;
  problem: object;
  schedule: object;
  rows: number;
  us: number;
}

/** Of one problem, by rows and schedule. */
type Times = Map<number, Map<string, number>>;

/** An architecture whose natives know what was measured. */
export function withTuned(arch: Arch, tuned: readonly TunedRow[] = []): Arch {
  const families = new Map<string, Map<string, Times>>();
  for (const { family, problem, schedule, rows, us } of tuned) {
    const problems = within(families, family);
    within(within(problems, JSON.stringify(problem)), rows).set(JSON.stringify(schedule), us);
  }
  if (!families.size) return arch;
  const of = (n: Native): Native => {
    const times = families.get(n.family);
    return times ? knowing(n, times) : n;
  };
  return {
    ...arch,
    natives: arch.natives.map(of),
    batchInvariant: new Map([...arch.batchInvariant].map(([n, instead]) => [of(n), of(instead)])),
  };
}

/** The map at a key, made where there is none. */
function within<K, L, V>(map: Map<K, Map<L, V>>, key: K): Map<L, V> {
  if (!map.has(key)) map.set(key, new Map());
  return map.get(key)!;
}

/** The same native with measured times: those at the next count of rows that was measured, for between two one kernel serves. */
const knowing = (n: Native, times: Map<string, Times>): Native =>
  native({
    ...n,
    schedules: {
      ...n.schedules,
      tunedUs(problem, schedule, rows) {
        const of = times.get(JSON.stringify(problem));
        const at = of && [...of.keys()].filter((r) => r >= rows).reduce((least, r) => Math.min(least, r), Infinity);
        return at === undefined ? undefined : of!.get(at)?.get(JSON.stringify(schedule));
      },
    },
  });
