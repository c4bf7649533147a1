// compute-sanitizer on R1 and DeepSeek-V2-Lite cut down (small.ts): npm run device -- --only sanitize. Every width is small, every form of
// kernel that these have runs: the tools slow a launch by the accesses it makes, and at full width racecheck does not come to an end.
// Batches are divided over processes that run at once. No kernel starts early, for the tools put work between two launches. Errors with
// their kernels are rows; what is known of the tools is in docs/notes-gpu-runtime.md.
import { spawn } from "node:child_process";
import path from "node:path";
import type { Row } from "./device.ts";

/** Widths of few blocks; heads and latents as wide as the native attention takes. */
const CUT =
  "hidden_size=512 num_attention_heads=64 num_key_value_heads=64 q_lora_rank=256 intermediate_size=512 moe_intermediate_size=256 n_routed_experts=32 n_group=4 topk_group=2 num_experts_per_tok=4 vocab_size=1024";
/** The same of DeepSeek-V2-Lite, whose experts are bf16. */
const CUT_BF16 =
  "hidden_size=512 intermediate_size=512 moe_intermediate_size=128 n_routed_experts=32 num_experts_per_tok=4 vocab_size=1024";
/** Seconds a tool may take: less than the harness gives a part, or nothing comes back. */
const LIMIT = 50;

interface Run {
  tool: string;
  /** Prompts of batches, as DSC_SMALL has them. */
  rows: string;
  natives?: "none";
  /** In place of R1. */
  model?: "DeepSeek-V2-Lite";
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
  { tool: "memcheck", rows: "1;1,1,1,1,1;12", model: "DeepSeek-V2-Lite" },
  { tool: "synccheck", rows: "1;1,1,1,1,1;12", model: "DeepSeek-V2-Lite" },
  { tool: "racecheck", rows: "1;1,1,1", model: "DeepSeek-V2-Lite" },
];

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
    DSC_SMALL_SET: model ? CUT_BF16 : CUT,
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
        tool,
        rows,
        model: model ?? "DeepSeek-R1",
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

/** DSC_MODELS names one of the two, and then all of its runs; else the longest run of the second is left out. */
const chosen = (r: Run): boolean =>
  process.env.DSC_MODELS ? process.env.DSC_MODELS === (r.model ?? "DeepSeek-R1") : !(r.model && r.tool === "racecheck");

export const check = (): Promise<Row[]> => Promise.all(runs.filter(chosen).map(run));
