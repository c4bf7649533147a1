// Which kernel serves which place of an artifact, and why that one: its family and problem, the run-time sizes it is for, and
// where a family has schedules, every candidate with its estimate or the reason it cannot run.
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { evaluate, printSize } from "../../ir/size.ts";
import type { Sizes } from "../analysis/launches.ts";
import { caseOf } from "../../runtime/plan/walk.ts";
import type { Instead, Problem } from "../../ir/kernel/catalogue.ts";
import { emittersOf, nameInFields, type Arch } from "../../codegen/cuda/native.ts";
import { timeInWords, timeOf, type Time } from "../../codegen/cuda/select.ts";
import { withTuned, type TunedRow } from "../../codegen/cuda/tuned.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import { families } from "../../codegen/kernels/index.ts";

/** A kernel at a place. */
export interface Served {
  site: string;
  kernel: string;
  family: string;
  /** A tile program that every target can run, or a kernel written for this one. */
  form: "tile program" | "native";
  problem?: Problem;
  /** "T up to 16": the run-time sizes it is launched for, where others are served by another kernel. */
  when?: string;
  candidates?: Candidate[];
  /** Of a printed tile program on a GPU: why no hand-written kernel was a candidate. */
  printed?: string;
  /** Hand-written kernels that serve the op, and why they do not run here; of the kernel's first place. */
  instead?: readonly Instead[];
}

/** A schedule of the kernel's family for its problem. */
export interface Candidate {
  schedule: string;
  /** Its name in the fields that the numbers in it are: "w{rows}k{kGroups}". */
  fields: string;
  chosen: boolean;
  /** At the rows that were asked about, else the most the chosen one is launched for, where its native says; or why it cannot run. */
  time?: Time;
  illegal?: string;
  /** At a batch: why it lost to the chosen one. */
  lost?: string;
}

/** The candidates of a batch: the chosen one, then by time; each with why it lost. */
function ranked(candidates: readonly Candidate[]): Candidate[] {
  const [chosen, ...rest] = candidates;
  const us = (c: Candidate): number => c.time?.us ?? Infinity;
  const why = (c: Candidate): string => {
    if (c.illegal !== undefined) return c.illegal;
    if (!c.time || !chosen.time) return "the order of candidates decides";
    const more = c.time.us - chosen.time.us;
    if (more > 0) return `${more.toFixed(1)} us slower`;
    return chosen.time.source === c.time.source
      ? "as fast; the order of candidates decides"
      : `${c.time.source}, and what was ${chosen.time.source.replace("estimated", "chosen")} comes first`;
  };
  const inOrder = rest.toSorted((a, b) => Number(a.illegal !== undefined) - Number(b.illegal !== undefined) || us(a) - us(b));
  return [chosen, ...inOrder.map((c) => ({ ...c, lost: why(c) }))];
}

/**
 * Every launch of an artifact with its place; `at`: only those that run at these sizes, candidates judged there and in order;
 * `problems` is what the artifact says of its kernels, `tuned` what was measured on this
 * machine.
 */
export function servedBy(
  m: Manifest,
  problems: Readonly<Record<string, Problem>>,
  instead: Readonly<Record<string, readonly Instead[]>>,
  tuned: readonly TunedRow[] = [],
  at?: Sizes,
): Served[] {
  const arch = withTuned(archOf(m.gpu?.arch), tuned);
  const out = new Map<string, Served>();
  const walk = (steps: readonly Step[], when?: string, rows = 16): void => {
    for (const s of steps) {
      if (s.kind === "kernel") {
        const { family } = m.kernels[s.kernel];
        const problem = problems[s.kernel];
        const all = problem && candidatesOf(arch, family, problem, rows);
        const candidates = all && at ? ranked(all) : all;
        const key = `${s.site} ${s.kernel}`;
        if (!out.has(key))
          out.set(key, {
            site: s.site,
            kernel: s.kernel,
            family,
            form: family in families ? "tile program" : "native",
            ...(problem ? { problem } : {}),
            ...(when ? { when } : {}),
            ...(candidates ? { candidates } : {}),
            ...printedFor(m, arch, family),
            ...(instead[s.kernel] ? { instead: instead[s.kernel] } : {}),
          });
      } else if (s.kind === "cases") {
        let from = 1;
        const size = at && evaluate(s.on, at);
        for (const c of s.cases) {
          const on = printSize(s.on);
          if (size !== undefined && c !== caseOf(s, size)) {
            if (c.most !== null) from = c.most + 1;
            continue;
          }
          walk(
            c.steps,
            c.most === null ? `${on} from ${from}` : from === c.most ? `${on} = ${from}` : `${on} from ${from} to ${c.most}`,
            size ?? c.most ?? from,
          );
          if (c.most !== null) from = c.most + 1;
        }
      } else walk(inside(s), when, rows);
    }
  };
  for (const f of Object.values(m.functions)) walk(f.steps, undefined, at?.T);
  return [...out.values()];
}

/** Why a tile program is printed where an architecture could have a hand-written kernel. */
function printedFor({ target, options }: Manifest, arch: Arch, family: string): { printed?: string } {
  if (target !== "cuda" || !(family in families)) return {};
  if (!arch.natives.length) return { printed: `${arch.name} has no hand-written kernels: every kernel is printed` };
  if (options.natives === "none") return { printed: "compiled with --natives none" };
  const { serves } = families[family];
  if (arch.natives.some((n) => n.serves.some((op) => serves.includes(op)))) return {};
  return { printed: `no hand-written kernel of ${arch.name} serves ${serves.length ? serves.join(", ") : "copies"}` };
}

/** The schedules of a native's problem: those worth trying, and the one it has where that is another. */
function candidatesOf({ natives, machine }: Arch, family: string, problem: Problem, rows: number): Candidate[] | undefined {
  const by = emittersOf(natives).find((e) => e.family === family);
  if (!by || !("schedule" in problem)) return undefined;
  const { schedule, ...of } = problem;
  const { schedules: t } = by;
  const own = JSON.stringify(schedule);
  const tried = t.candidates(of, machine);
  const all = "reason" in tried ? [] : tried.filter((s) => JSON.stringify(s) !== own);
  return [schedule, ...all].map((s, i) => {
    const illegal =
      t.illegal(of, s, machine) ?? (rows > (t.maxRows?.(s) ?? Infinity) ? `it takes ${t.maxRows!(s)} rows at most` : null);
    const named = { schedule: t.name(s), fields: nameInFields(t, s), chosen: i === 0 };
    if (illegal !== null) return { ...named, illegal };
    const time = timeOf(t, of, s, rows, machine);
    if (time && !Number.isFinite(time.us)) throw new RangeError(`${t.name(s)}: no time can be said of this problem`);
    return { ...named, ...(time ? { time } : {}) };
  });
}

/** A field of a problem: lists in brackets, records in braces. */
function inWords(v: unknown): string {
  if (Array.isArray(v)) return `[${v.map(inWords).join(", ")}]`;
  if (typeof v !== "object" || v === null) return String(v);
  return `{ ${fields(v)} }`;
}

const fields = (p: object): string =>
  Object.entries(p)
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => `${k} ${inWords(v)}`)
    .join(", ");

const howLong = (c: Candidate): string => c.illegal ?? (c.time ? timeInWords(c.time) : "can run");

/** What the names of schedules are made of, where they are more than words. */
function named(candidates: readonly Candidate[]): string[] {
  const forms = [...new Set(candidates.map((c) => c.fields))].filter((f) => f.includes("{"));
  return forms.length ? [`    names are ${forms.join(" or ")}`] : [];
}

/** Runners-up that are told of one by one. */
const RUNNERS_UP = 2;

/** The chosen schedule and those that came next; how many others there are. */
function shortened(candidates: readonly Candidate[]): string[] {
  const [chosen, ...rest] = candidates;
  const able = rest.filter((c) => c.illegal === undefined);
  const unable = rest.length - able.length;
  const others = able.length - Math.min(able.length, RUNNERS_UP);
  const more = [others && `${others} more are slower`, unable && `${unable} cannot run`].filter(Boolean);
  return [
    `    chosen ${chosen.schedule}: ${howLong(chosen)}`,
    ...able.slice(0, RUNNERS_UP).map((c) => `           ${c.schedule}: ${howLong(c)}; ${c.lost}`),
    ...(more.length ? [`           ${more.join(", ")}: --all lists them`] : []),
    ...named([chosen, ...able.slice(0, RUNNERS_UP)]),
  ];
}

/** One kernel at a place, whole; `few`: with its first runners-up alone. */
export function printServed(s: Served, few = false): string {
  const candidates = s.candidates ?? [];
  return [
    s.site,
    `  ${s.kernel}: ${s.form}, family ${s.family}${s.when ? `, for ${s.when}` : ""}`,
    ...(s.problem ? [`    problem: ${fields(s.problem)}`] : []),
    ...(few && candidates.length
      ? shortened(candidates)
      : [
          ...candidates.map(
            (c) => `    ${c.chosen ? "chosen " : "       "}${c.schedule}: ${howLong(c)}${c.lost ? `; ${c.lost}` : ""}`,
          ),
          ...named(candidates),
        ]),
    ...(s.printed ? [`    ${s.printed}`] : []),
    ...(s.instead ?? []).map((i) => `    not ${i.family}: ${i.reason}`),
  ].join("\n");
}
