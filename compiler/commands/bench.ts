// dsc bench SRC_OR_OUT -p 512 -n 128: tokens a second of a prompt and of decode steps, beside the floor.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { floorsOf, promptsOf } from "../measuring/floors.ts";
import { measured, median } from "../measuring/runs.ts";
import { during } from "../progress.ts";
import { digits, table } from "../report/table.ts";
import { opened, workloadFlags, type WorkloadFlags } from "./workload.ts";

interface Options extends WorkloadFlags {
  format: "table" | "md" | "csv";
  json: boolean;
}

interface Row {
  test: string;
  target: string;
  batch: number;
  tokens: number;
  /** Of the prompt, or of one step: median, least and most. */
  ms: number;
  least_ms: number;
  most_ms: number;
  tokens_per_s: number;
  floor_ms: number | null;
  /** Of the time, how much the floor is; from 0 to 1. */
  of_floor: number | null;
}

export const bench = {
  command: "bench <src>",
  describe: "tokens a second on this machine, of a prompt and of decode steps, beside the floor under them",
  builder: (y: Argv): Argv<Options> =>
    workloadFlags(y, { prompt: 512, maxNew: 128, rounds: 3 })
      .option("format", {
        choices: ["table", "md", "csv"] as const,
        default: "table" as const,
        describe: "for people, for markdown, for a spreadsheet",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const o = await opened(a, false);
    try {
      const { manifest } = o.model;
      const w = o.workload;
      const times = await during("measuring", measured(o.model, w));
      const floors = floorsOf(manifest, o.files, o.machine, { batch: w.batch, context: w.prompt + Math.ceil(w.steps / 2) });
      const { prompts, calls } = promptsOf(manifest, w.batch);
      const prompt = floorsOf(manifest, o.files, o.machine, { batch: 1, context: w.prompt, prompts });
      const row = (test: string, tokens: number, ms: readonly number[], floor: number | undefined): Row => ({
        test,
        target: manifest.target,
        batch: w.batch,
        tokens,
        ms: median(ms),
        least_ms: Math.min(...ms),
        most_ms: Math.max(...ms),
        tokens_per_s: (1000 * tokens) / median(ms),
        floor_ms: floor ?? null,
        of_floor: floor === undefined ? null : floor / median(ms),
      });
      const prefill = prompt && (calls * prompt.steps.prefill.floor_us) / 1000;
      const rows = [
        row(`pp${w.prompt}`, w.prompt * w.batch, times.prefill.ms, prefill),
        ...(w.steps ? [row(`tg${w.steps}`, w.batch, times.decode.ms, floors && floors.steps.decode.floor_us / 1000)] : []),
      ];
      const { architecture, layers } = manifest.model;
      const answer = { schema: "dsc-bench/1", model: architecture, layers, device: o.machine.name, rounds: w.rounds, rows };
      process.stdout.write(a.json ? `${JSON.stringify(answer)}\n` : `${printed(answer, a.format)}\n`);
    } finally {
      await o.model.close();
    }
  },
};

const HEAD = ["test", "target", "batch", "ms", "least", "most", "tokens/s", "floor ms", "of floor"];

function printed(
  { model, layers, device, rows }: { model: string; layers: number; device: string; rows: Row[] },
  format: Options["format"],
): string {
  const cells = rows.map((r) => [
    r.test,
    r.target,
    String(r.batch),
    digits(r.ms),
    digits(r.least_ms),
    digits(r.most_ms),
    digits(r.tokens_per_s),
    r.floor_ms === null ? "" : digits(r.floor_ms),
    r.of_floor === null ? "" : `${(100 * r.of_floor).toFixed(1)} %`,
  ]);
  if (format === "csv") return [HEAD, ...cells].map((c) => c.join(",")).join("\n");
  if (format === "md")
    return [HEAD, HEAD.map((_, i) => (i > 1 ? "---:" : "---")), ...cells].map((c) => `| ${c.join(" | ")} |`).join("\n");
  return [`${model}, ${layers} layers; floors on ${device}`, ...table(HEAD, cells, [2, 3, 4, 5, 6, 7, 8])].join("\n");
}
