// Runs to lay over a report: what `dsc profile --json` and `dsc bench --json` print.
import { readFileSync } from "node:fs";
import path from "node:path";
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { finite, list, maybe, members, oneOf, text, whole, type Check } from "../../../runtime/schema.ts";
import { badValue } from "../../diagnostics.ts";
import type { MeasuredKernel, RunData } from "./schema.ts";

const floor: Check = (v, at) => (v === null ? undefined : finite(v, at));

interface Profile {
  schema: "dsc-profile/1";
  device: string;
  batch?: number;
  prompt?: number;
  wall: { prefill_ms: number; decode_ms: number };
  rows: { phase: "prefill" | "decode"; kernel: string; launches: number; total_us: number; floor_us: number | null }[];
}
const profile = members(
  {
    schema: oneOf("dsc-profile/1"),
    device: text,
    batch: maybe(whole(1)),
    prompt: maybe(whole(1)),
    wall: members({ prefill_ms: finite, decode_ms: floor }, true),
    rows: list(
      members({ phase: oneOf("prefill", "decode"), kernel: text, launches: finite, total_us: finite, floor_us: floor }, true),
    ),
  },
  true,
);

interface Bench {
  schema: "dsc-bench/1";
  device: string;
  rows: { test: string; ms: number; tokens_per_s: number; floor_ms: number | null }[];
}
const bench = members(
  {
    schema: oneOf("dsc-bench/1"),
    device: text,
    rows: list(members({ test: text, ms: finite, tokens_per_s: finite, floor_ms: floor }, true)),
  },
  true,
);

/** The runs of these files; what is neither a profile nor a bench is refused with what it lacks. */
export const readRuns = (files: readonly string[]): RunData[] => files.map(readRun);

function readRun(file: string): RunData {
  const value = parsed(file);
  const schema = (value as { schema?: unknown } | null)?.schema;
  const name = path.basename(file).replace(/\.json$/, "");
  try {
    if (schema === "dsc-bench/1") {
      bench(value, "");
      const { device, rows } = value as Bench;
      return {
        name,
        device,
        steps: rows.map(({ test, ms, tokens_per_s, floor_ms }) => ({ test, ms, floor_ms, tokens_per_s })),
      };
    }
    profile(value, "");
    return { name, ...ofProfile(value as Profile) };
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    throw refused(file, e.diagnostics[0].notes.join("; ") || e.diagnostics[0].title);
  }
}

function ofProfile({ device, batch, prompt, wall, rows }: Profile): Omit<RunData, "name"> {
  const of = (phase: "prefill" | "decode"): Profile["rows"] => rows.filter((r) => r.phase === phase);
  const known = (phase: "prefill" | "decode"): number | null =>
    of(phase).some((r) => r.floor_us !== null) ? of(phase).reduce((n, r) => n + (r.floor_us ?? 0), 0) / 1000 : null;
  const kernels = (phase: "prefill" | "decode"): Record<string, MeasuredKernel> =>
    Object.fromEntries(
      of(phase).map(({ kernel, launches, total_us, floor_us }) => [kernel, { launches, us: total_us, floor: floor_us }]),
    );
  return {
    device,
    ...(batch === undefined ? {} : { batch }),
    ...(prompt === undefined ? {} : { prompt }),
    steps: (["prefill", "decode"] as const)
      .filter((phase) => of(phase).length)
      .map((phase) => ({ test: phase, ms: wall[`${phase}_ms`], floor_ms: known(phase) })),
    kernels: { prefill: kernels("prefill"), decode: kernels("decode") },
  };
}

function parsed(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (e) {
    throw refused(file, (e as Error).message);
  }
}

const refused = (file: string, why: string): DiagnosticError =>
  new DiagnosticError(
    badValue(
      `--runs ${file}: it is no run of dsc: ${why}`,
      "dsc profile SRC --json and dsc bench SRC --json print runs; write one to a file",
      "--runs",
    ),
  );
