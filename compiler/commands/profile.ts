// dsc profile SRC_OR_OUT: where the time of a prompt and of decode steps goes, kernel by kernel, beside each kernel's floor.
import { writeFileSync } from "node:fs";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Costs } from "../analysis/step-cost.ts";
import { cannotWrite } from "../diagnostics.ts";
import { floorsOf, promptsOf } from "../measuring/floors.ts";
import { measured, median, type Measured } from "../measuring/runs.ts";
import { during } from "../progress.ts";
import { digits, table, times } from "../report/table.ts";
import { opened, workloadFlags, type WorkloadFlags } from "./workload.ts";

interface Options extends WorkloadFlags {
  trace?: string;
  format: "table" | "md" | "csv";
  json: boolean;
}

/** A kernel in a phase. */
interface Row {
  phase: "prefill" | "decode";
  kernel: string;
  /** In one prompt or one step. */
  launches: number;
  /** Of one launch, and of all of them in one prompt or step. */
  us: number;
  total_us: number;
  /** Of the kernels' time of the phase, from 0 to 1. */
  share: number;
  /** Of all its launches in one prompt or step; null where it is not known. */
  floor_us: number | null;
}

export const profile = {
  command: "profile <src>",
  describe: "where time goes on this machine: kernels of a prompt and of a decode step, with launches, time, floor and share",
  builder: (y: Argv): Argv<Options> =>
    workloadFlags(y, { prompt: 64, maxNew: 16, rounds: 1 })
      .option("trace", {
        type: "string",
        describe: "a file for Chrome's tracing or Perfetto: phases as they ran, kernels of each at their mean time",
      })
      .option("format", {
        choices: ["table", "md", "csv"] as const,
        default: "table" as const,
        describe: "for people, for markdown, for a spreadsheet",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const o = await opened(a, true);
    try {
      const w = o.workload;
      const spent = new Phases(() => o.model.device.timings());
      const times = await during(
        "measuring",
        measured(o.model, w, (name) => spent.begin(name)),
      );
      spent.begin("end");
      const { manifest } = o.model;
      const { prompts, calls } = promptsOf(manifest, w.batch);
      const costs = floorsOf(manifest, o.files, o.machine, { batch: w.batch, context: w.prompt, prompts });
      const rows = (["prefill", "decode"] as const).flatMap((p) =>
        p === "prefill" ? rowsOf(p, spent.of(p), w.rounds, costs, calls) : rowsOf(p, spent.of(p), w.rounds * w.steps, costs),
      );
      if (a.trace !== undefined) writeTrace(a.trace, times, rows);
      const wall = { prefill_ms: median(times.prefill.ms), decode_ms: median(times.decode.ms) };
      const answer = {
        schema: "dsc-profile/1",
        model: manifest.model.architecture,
        target: manifest.target,
        device: o.machine.name,
        batch: w.batch,
        prompt: w.prompt,
        wall,
        rows,
      };
      process.stdout.write(a.json ? `${JSON.stringify(answer)}\n` : `${printed(answer, a.format)}\n`);
    } finally {
      await o.model.close();
    }
  },
};

type Totals = Map<string, { ms: number; launches: number }>;

/** Time by kernel in each phase: what a device adds up, taken apart where a phase ends. */
class Phases {
  readonly #sums = new Map<string, Totals>();
  readonly #read: () => { kernel: string; ms: number; launches: number }[];
  #now = "";
  #before: Totals = new Map();

  constructor(read: () => { kernel: string; ms: number; launches: number }[]) {
    this.#read = read;
  }

  begin(name: string): void {
    const after: Totals = new Map(this.#read().map(({ kernel, ...t }) => [kernel, { ...t }]));
    const sum = this.#sums.get(this.#now) ?? new Map<string, { ms: number; launches: number }>();
    for (const [kernel, t] of after) {
      const was = this.#before.get(kernel) ?? { ms: 0, launches: 0 };
      const so = sum.get(kernel) ?? { ms: 0, launches: 0 };
      if (t.launches > was.launches)
        sum.set(kernel, { ms: so.ms + t.ms - was.ms, launches: so.launches + t.launches - was.launches });
    }
    this.#sums.set(this.#now, sum);
    [this.#now, this.#before] = [name, after];
  }

  of(phase: string): Totals {
    return this.#sums.get(phase) ?? new Map();
  }
}

function rowsOf(phase: Row["phase"], spent: Totals, runs: number, costs: Costs | undefined, calls = 1): Row[] {
  const all = [...spent.values()].reduce((a, t) => a + t.ms, 0);
  return [...spent]
    .map(([kernel, { ms, launches }]): Row => {
      const here = costs?.launches.filter((l) => l.step === phase && l.kernel === kernel) ?? [];
      return {
        phase,
        kernel,
        launches: launches / runs,
        us: (1000 * ms) / launches,
        total_us: (1000 * ms) / runs,
        share: all > 0 ? ms / all : 0,
        floor_us: here.length ? calls * here.reduce((a, l) => a + l.times * l.floor_us, 0) : null,
      };
    })
    .toSorted((x, y) => y.total_us - x.total_us);
}

const HEAD = ["%", "kernel", "launches", "us", "in all us", "floor us", "of floor"];

function printed(
  {
    model,
    target,
    device,
    wall,
    rows,
  }: { model: string; target: string; device: string; wall: { prefill_ms: number; decode_ms: number }; rows: Row[] },
  format: Options["format"],
): string {
  const cells = (list: readonly Row[]): string[][] =>
    list.map((r) => [
      (100 * r.share).toFixed(1),
      r.kernel,
      times(r.launches),
      digits(r.us),
      digits(r.total_us),
      r.floor_us === null ? "" : digits(r.floor_us),
      r.floor_us === null ? "" : `${((100 * r.floor_us) / r.total_us).toFixed(1)} %`,
    ]);
  if (format === "csv")
    return [["phase", ...HEAD], ...rows.map((r, i) => [r.phase, ...cells(rows)[i]])].map((c) => c.join(",")).join("\n");
  const blocks = (["prefill", "decode"] as const).flatMap((p) => {
    const here = rows.filter((r) => r.phase === p);
    if (!here.length) return [];
    const title = `${p}: ${digits(wall[`${p}_ms`])} ms, ${digits(here.reduce((a, r) => a + r.total_us, 0) / 1000)} ms in kernels`;
    if (format === "md")
      return [
        `**${title}**`,
        "",
        ...[HEAD, HEAD.map((_, i) => (i === 1 ? "---" : "---:")), ...cells(here)].map((c) => `| ${c.join(" | ")} |`),
        "",
      ];
    return ["", title, ...table(HEAD, cells(here), [0, 2, 3, 4, 5, 6])];
  });
  return [`${model} for ${target}; floors on ${device}`, ...blocks].join("\n");
}

/** Phases as they ran, and below each its kernels one after another, each as long as its launches took in the mean. */
function writeTrace(file: string, measured: Measured, rows: readonly Row[]): void {
  const events: object[] = [
    { name: "process_name", ph: "M", pid: 1, args: { name: "dsc profile" } },
    { name: "thread_name", ph: "M", pid: 1, tid: 1, args: { name: "steps, as they ran" } },
    { name: "thread_name", ph: "M", pid: 1, tid: 2, args: { name: "kernels, mean time of all their launches in the step" } },
  ];
  const zero = Math.min(...measured.prefill.began);
  for (const phase of ["prefill", "decode"] as const)
    measured[phase].ms.forEach((ms, i) => {
      const ts = 1000 * (measured[phase].began[i] - zero);
      events.push({ name: phase, ph: "X", pid: 1, tid: 1, ts, dur: 1000 * ms });
      let at = ts;
      for (const r of rows.filter((x) => x.phase === phase)) {
        events.push({
          name: r.kernel,
          ph: "X",
          pid: 1,
          tid: 2,
          ts: at,
          dur: r.total_us,
          args: { launches: r.launches, us: r.us, floor_us: r.floor_us },
        });
        at += r.total_us;
      }
    });
  try {
    writeFileSync(file, `${JSON.stringify({ traceEvents: events, displayTimeUnit: "ms" })}\n`);
  } catch (e) {
    throw new DiagnosticError(cannotWrite({ where: file, problem: (e as Error).message }));
  }
}
