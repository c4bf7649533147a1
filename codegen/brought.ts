// Kernels from outside: families of tile programs, hand-written kernels, schedules and architectures that plug-ins bring. A family of
// a plug-in is asked before dsc's for the same op; of natives the one with the least time runs, whoever wrote it.
import type { Families } from "./choose.ts";
import type { Family } from "./family.ts";
import { native, type Arch, type Native } from "./cuda/native.ts";
import { families } from "./kernels/index.ts";
import type { FoundFunction } from "./library-function.ts";

/** A schedule of one of dsc's natives, or of another plug-in's, for some of its problems, with the time that it takes. */
export interface GivenSchedule {
  /** The native, by its family: "block_gemm". */
  readonly native: string;
  /** Fields of the problems that it is for: `{ n: 2112, k: 7168 }`. */
  readonly problem: Readonly<Record<string, unknown>>;
  /** The rows that it is for, from and to. */
  readonly rows: readonly [from: number, to: number];
  /** A schedule record of that native. It need not be among the candidates that the native lists. */
  readonly schedule: object;
  /** Microseconds of a launch, as its author measured it. What `dsc tune` measured on this machine goes before. */
  readonly us: number;
}

/** Declares a schedule. */
export const schedule = (s: GivenSchedule): GivenSchedule => Object.freeze({ ...s });

export interface BroughtKernels {
  readonly families: readonly Family[];
  /** By the architecture they are for. */
  readonly natives: Readonly<Record<string, readonly Native[]>>;
  readonly schedules: readonly GivenSchedule[];
  readonly archs: readonly Arch[];
  /** Functions of other libraries that serve ops, wherever they compute. */
  readonly functions: readonly FoundFunction[];
}

export const noKernels: BroughtKernels = Object.freeze({ families: [], natives: {}, schedules: [], archs: [], functions: [] });

/** dsc's families with those of plug-ins before them. */
export const familiesWith = ({ families: own }: BroughtKernels): Families =>
  own.length ? { ...Object.fromEntries(own.map((f) => [f.name, f])), ...families } : families;

/** An architecture with the natives and schedules of plug-ins. */
export function archWith(arch: Arch, { natives, schedules }: BroughtKernels): Arch {
  const all = [...(natives[arch.name] ?? []), ...arch.natives];
  const given = all.map((n) => {
    const own = schedules.filter((s) => s.native === n.family);
    return own.length ? withGiven(n, own) : n;
  });
  if (given.every((n, i) => n === arch.natives[i])) return arch;
  const now = new Map(all.map((n, i) => [n, given[i]]));
  return {
    ...arch,
    natives: given,
    batchInvariant: new Map([...arch.batchInvariant].map(([n, instead]) => [now.get(n) ?? n, instead])),
  };
}

/** Whether a schedule is for a problem: every field that it names is equal there. */
export const isFor = (s: GivenSchedule, problem: object): boolean =>
  Object.entries(s.problem).every(([k, v]) => JSON.stringify((problem as Record<string, unknown>)[k]) === JSON.stringify(v));

/** A native with schedules that somebody gave, among its candidates and with their times. */
function withGiven(n: Native, own: readonly GivenSchedule[]): Native {
  const { schedules: t } = n;
  return native({
    ...n,
    schedules: {
      ...t,
      candidates(problem, machine) {
        const listed = t.candidates(problem, machine);
        const more = own.filter((s) => isFor(s, problem)).map((s) => s.schedule);
        if ("reason" in listed) return more.length ? more : listed;
        const known = new Set(listed.map((s) => JSON.stringify(s)));
        return [...listed, ...more.filter((s) => !known.has(JSON.stringify(s)))];
      },
      // Between the steps of the ladder, too, the rows that a schedule is for begin and end.
      steps: [...(t.steps ?? []), ...own.flatMap(({ rows: [from, to] }) => (from > 1 ? [from - 1, to] : [to]))],
      givenUs: (problem, s, rows) =>
        own.find(
          (g) => isFor(g, problem) && rows >= g.rows[0] && rows <= g.rows[1] && JSON.stringify(g.schedule) === JSON.stringify(s),
        )?.us,
    },
  });
}
