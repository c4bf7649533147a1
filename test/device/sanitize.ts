// compute-sanitizer on R1, DeepSeek-V2-Lite and GLM-4.7-Flash cut down (small.ts): npm run device -- --only sanitize. Every width is small,
// every form of kernel that these have runs: the tools slow a launch by the accesses it makes, and at full width racecheck does not come
// to an end. Batches are divided over processes that run at once. No kernel starts early, for the tools put work between two
// launches. Errors with their kernels are rows; what is known of the tools is in docs/notes-gpu-runtime.md.
import { spawn } from "node:child_process";
import path from "node:path";
import type { Row } from "./device.ts";

/** Widths of few blocks; heads and latents as wide as the native attention takes. */
const CUT =
  "hidden_size=512 num_attention_heads=64 num_key_value_heads=64 q_lora_rank=256 intermediate_size=512 moe_intermediate_size=256 n_routed_experts=32 n_group=4 topk_group=2 num_experts_per_tok=4 vocab_size=1024";
/** The family's: their heads and head sizes, two shared experts and one, an expert width that is no multiple of 256. */
const FEW = "hidden_size=512 intermediate_size=512 moe_intermediate_size=384 n_routed_experts=16 vocab_size=1024";
const CUT_FAMILY = {
  "DeepSeek-V2-Lite": FEW,
  "GLM-4.7-Flash": `${FEW} q_lora_rank=256`,
};
/** Seconds a tool may take: less than the harness gives a part, or nothing comes back. */
const LIMIT = 50;

interface Run {
  tool: string;
  /** Prompts of batches, as DSC_SMALL has them. */
  rows: string;
  natives?: "none";
  /** A model of the family with bf16 experts and few heads, in R1's place. */
  model?: keyof typeof CUT_FAMILY;
}

const all = "1;2,130;12;60;260";
const runs: readonly Run[] = [
  { tool: "memcheck", rows: all },
  { tool: "synccheck", rows: all },
  { tool: "initcheck", rows: all },
  { tool: "racecheck", rows: "1;12;3" },
  { tool: "racecheck", rows: "2,130" },
  { tool: "racecheck", rows: "60;1,1,1,1,1" },
  { tool: "racecheck", rows: "260" },
  { tool: "racecheck", rows: "2,3", natives: "none" },
];

/** Steps of one, few and tens of tokens, and prompts that the grouped products take. */
const ones = (n: number): string => Array<number>(n).fill(1).join(",");
const ofFamily = (Object.keys(CUT_FAMILY) as (keyof typeof CUT_FAMILY)[]).flatMap((model): Run[] => [
  { model, tool: "memcheck", rows: `1;${ones(5)};${ones(11)};${ones(24)};260` },
  { model, tool: "synccheck", rows: `1;${ones(5)};${ones(24)};260` },
  { model, tool: "racecheck", rows: `1;${ones(5)}` },
  { model, tool: "racecheck", rows: `${ones(11)};130` },
]);

function run({ tool, rows, natives, model }: Run): Promise<Row> {
  const from = performance.now();
  // A child of the harness again: one step of one part, in one process.
  const words = [
    "--tool",
    tool,
    "--print-limit",
    "40",
    "--show-backtrace",
    "no",
    process.execPath,
    path.join(import.meta.dirname, "device.js"),
    "--alone",
    "small",
    "--step",
    "check",
    "--rows",
    "/dev/null",
  ];
  const env = {
    ...process.env,
    DSC_ONCE: "1",
    DSC_NO_PDL: "1",
    DSC_SMALL: rows,
    DSC_SMALL_SET: model ? CUT_FAMILY[model] : CUT,
    ...(model ? { DSC_SMALL_MODEL: model } : {}),
    DSC_NATIVES: natives ?? "all",
    ...(tool === "initcheck" ? { DSC_FILL: "1" } : {}),
  };
  const child = spawn("compute-sanitizer", words, { env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  // The whole group: a tool that is killed alone leaves its child on the card.
  const late = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), LIMIT * 1000);
  let text = "";
  for (const s of [child.stdout, child.stderr]) s.on("data", (d: Buffer) => (text += d.toString()));
  return new Promise((resolve) => {
    const end = (extra: Row): void => {
      clearTimeout(late);
      resolve({
        model: model ?? "R1",
        tool,
        rows,
        natives: natives ?? "all",
        seconds: (performance.now() - from) / 1000,
        ...extra,
      });
    };
    child.on("error", (e) => end({ ok: false, error: e.message }));
    child.on("close", (_, signal) => {
      const summary = [...text.matchAll(/(?:ERROR|RACECHECK) SUMMARY: (\d+)/g)].at(-1);
      const where = [...new Set([...text.matchAll(/ at ([a-z]\w+)\+0x/g)].map((m) => m[1]))].slice(0, 8);
      const broken = /Internal Sanitizer Error[^\n]*/.exec(text)?.[0];
      end({
        ...(signal ? { error: `not done after ${LIMIT} s` } : broken ? { error: broken } : {}),
        errors: summary ? Number(summary[1]) : -1,
        kernels: where.join(" "),
        ok: !signal && !broken && summary?.[1] === "0",
      });
    });
  });
}

/** DSC_MODELS names models, and then all of their runs; else the longest runs of the family are left out. */
const chosen = (r: Run): boolean =>
  process.env.DSC_MODELS
    ? process.env.DSC_MODELS.split(",").includes(r.model ?? "DeepSeek-R1")
    : !(r.model && r.tool === "racecheck");

export const check = (): Promise<Row[]> => Promise.all([...runs, ...ofFamily].filter(chosen).map(run));
