// racecheck on every form of MLA decode, alone: npm run device -- --only race --steps check --limit 400. Kernels are compiled with line
// numbers, so that a report names both accesses; each pair is looked up in the machine code, with what orders blocks, warps and copies
// between the two addresses. Variants differ from the kernel in one thing each: which of them ends the reports says what the tool cannot follow.
// Needs compute-sanitizer, nvcc and cuobjdump. DSC_RACE_OUT: a folder for texts, machine code and whole reports.
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { entriesFor } from "../../codegen/cuda/ptx/index.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { pairsOf, synchronising } from "./race-pairs.ts";
import type { Row } from "./device.ts";
import { forms, type Form } from "./mla-decode.ts";

const exec = promisify(execFile);
/** Seconds a report may take. */
const LIMIT = 170;

/** The kernels: a form and its heads. k64s2c1 and k64s2c2 are the balanced form's. */
export const kernels: Readonly<Record<string, readonly [Form, number]>> = {
  fixed16x8: ["fixed16", 128],
  fixed32x8: ["fixed32", 128],
  k64s2c1: ["balanced", 64],
  k64s2c2: ["balanced", 128],
};

type Change = readonly (readonly [from: string | RegExp, to: string])[];
const noEarly: Change = [
  ["  release_next();\n", ""],
  [/^ *await_previous\(\);.*\n/gm, ""],
  ["if (now & 1) await_previous();", ""],
];
/** One change each; a change whose words are not in the text is a fault of this list. */
export const variants: Readonly<Record<string, { of: RegExp; change?: Change; words?: string[] }>> = {
  "as it is": { of: /./ },
  "indirect dependencies followed": { of: /./, words: ["--racecheck-indirect-barrier-dependency", "yes"] },
  "no early start": { of: /fixed16|k64s2c1/, change: noEarly },
  "every lane arrives": {
    of: /^k64/,
    change: [
      ["mbarrier_init(scored + 8 * s, 4)", "mbarrier_init(scored + 8 * s, 128)"],
      ["if (lane == 0) mbarrier_arrive(scored + 8 * stage)", "mbarrier_arrive(scored + 8 * stage)"],
      [/mbarrier_init\(empty \+ 8 \* s, 8 \* CLUSTER\)/, "mbarrier_init(empty + 8 * s, 8 * 32 * CLUSTER)"],
      [
        /if \(lane < CLUSTER\) (mbarrier_arrive\w*)\(empty \+ 8 \* stage(, lane)?\)/,
        "for (int r = 0; r < CLUSTER; r++) $1(empty + 8 * stage$2)",
      ],
      [", lane);\n        if (++stage", ", r);\n        if (++stage"],
    ],
  },
  "scores wait for the stage to be empty": {
    of: /^k64/,
    change: [
      [
        "        // All warps have read the rotary lanes;",
        "        mbarrier_wait(empty + 8 * stage, phase ^ 1);\n        // All warps have read the rotary lanes;",
      ],
    ],
  },
  "peaks in turn": {
    of: /^fixed/,
    change: [
      ["peaks[8][GROUP]", "peaks[3][8][GROUP]"],
      ["peaks[warp][head_of(h)] = most[h]", "peaks[i / TEAMS % 2][warp][head_of(h)] = most[h]"],
      ["fmaxf(most[h], peaks[w]", "fmaxf(most[h], peaks[i / TEAMS % 2][w]"],
      ["peaks[warp][head_of(h)] = top[h]", "peaks[2][warp][head_of(h)] = top[h]"],
      ["peaks[0][thread]", "peaks[2][0][thread]"],
    ],
  },
  "barriers of 256 by number": {
    of: /^fixed/,
    change: [
      [/__syncthreads\(\)/g, "bar_sync(0, 256)"],
      ["  const int thread = threadIdx.x, warp = __shfl_sync", "  // \n  const int thread = threadIdx.x, warp = __shfl_sync"],
    ],
  },
  "cluster barriers that order": {
    of: /^fixed/,
    change: [["barrier.cluster.arrive.relaxed.aligned", "barrier.cluster.arrive.release.aligned"]],
  },
  "mailboxes without TMA": {
    of: /^fixed16/,
    change: [
      [
        "    } else if (lane == 0) {\n      cp_async_bulk_cluster(",
        "    } else if (lane == 0 && false) {\n      cp_async_bulk_cluster(",
      ],
      [
        "mbarrier_arrive_expect_tx(received, (min(stages, SPLITS) - (mine > 0)) * OWN * MAILBOX)",
        "mbarrier_arrive_expect_tx(received, 0)",
      ],
    ],
  },
};

/** The kernel's text with the variant's change. */
export function textOf(kernel: string, variant: string): KernelText {
  const [form, heads] = kernels[kernel];
  const text = forms[form](heads);
  let { source } = text;
  for (const [from, to] of variants[variant].change ?? []) source = source.replace(from as string, to);
  // A device function that the text did not call before.
  if (source.includes("bar_sync(") && !/void bar_sync\(/.test(source))
    source = source.replace(
      "__device__",
      `${entriesFor("bar_sync")
        .map((e) => e.text)
        .join("\n")}\n__device__`,
    );
  if (variants[variant].change && source === text.source) throw new RangeError(`${variant}: nothing of it is in ${kernel}`);
  return { ...text, source };
}

async function one(kernel: string, variant: string, folder: string): Promise<Row[]> {
  const from = performance.now();
  const about = { kernel, variant };
  const name = path.join(folder, `${kernel}.${variant.replace(/\W+/g, "-")}`);
  try {
    fs.writeFileSync(`${name}.cu`, textOf(kernel, variant).source);
    await exec(
      "nvcc",
      ["-cubin", "-O3", "-std=c++17", "-lineinfo", "-gencode=arch=compute_90a,code=sm_90a", "-o", `${name}.cubin`, `${name}.cu`],
      { maxBuffer: 1 << 26 },
    );
    const { stdout: sass } = await exec("cuobjdump", ["-sass", `${name}.cubin`], { maxBuffer: 1 << 28 });
    fs.writeFileSync(`${name}.sass`, sass);
    const report = await sanitize(kernel, `${name}.cubin`, variants[variant].words ?? []);
    fs.writeFileSync(`${name}.txt`, report.text);
    const summary = [
      ...report.text.matchAll(/RACECHECK SUMMARY: (\d+) hazards? displayed \((\d+) errors?, (\d+) warnings?\)/g),
    ].at(-1);
    const pairs = pairsOf(report.text, sass);
    const seconds = (performance.now() - from) / 1000;
    const head: Row = {
      ...about,
      summary: `${kernel}, ${variant}`,
      hazards: summary ? Number(summary[1]) : -1,
      pairs: pairs.length,
      seconds,
      ...(report.late ? { error: `not done after ${LIMIT} s` } : {}),
      ok: summary?.[1] === "0" || variant !== "as it is",
    };
    return [head, ...pairs.map((p): Row => ({ ...about, ...p, between: synchronising(sass, p).join(" ").slice(0, 600) }))];
  } catch (e) {
    return [
      { ...about, summary: `${kernel}, ${variant}`, error: (e as Error).message.slice(0, 400), ok: variant !== "as it is" },
    ];
  }
}

/** What the tool says of a kernel run over batches of every form (race-run.ts). */
function sanitize(kernel: string, cubin: string, extra: readonly string[]): Promise<{ text: string; late: boolean }> {
  const words = [
    "--tool",
    "racecheck",
    "--racecheck-report",
    "analysis",
    "--print-limit",
    "400",
    "--show-backtrace",
    "no",
    ...extra,
    process.execPath,
    path.join(import.meta.dirname, "device.js"),
    "--alone",
    "race-run",
    "--step",
    "check",
    "--rows",
    "/dev/null",
  ];
  const child = spawn("compute-sanitizer", words, {
    env: { ...process.env, DSC_RACE_KERNEL: kernel, DSC_RACE_CUBIN: cubin },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let [text, late] = ["", false];
  // The whole group: a tool that is killed alone leaves its child on the card.
  const timer = setTimeout(() => {
    late = true;
    process.kill(-child.pid!, "SIGKILL");
  }, LIMIT * 1000);
  for (const s of [child.stdout, child.stderr]) s.on("data", (d: Buffer) => (text += d.toString()));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve({ text, late });
    });
  });
}

export async function check(): Promise<Row[]> {
  const folder = process.env.DSC_RACE_OUT ?? fs.mkdtempSync(path.join(tmpdir(), "dsc-race-"));
  fs.mkdirSync(folder, { recursive: true });
  const queue = Object.entries(variants).flatMap(([variant, { of }]) =>
    Object.keys(kernels)
      .filter((k) => of.test(k))
      .map((kernel) => ({ kernel, variant })),
  );
  const rows: Row[] = [];
  // A tool takes a core or two, and the card serves them in turn.
  const lane = async (): Promise<void> => {
    for (let q = queue.shift(); q; q = queue.shift()) rows.push(...(await one(q.kernel, q.variant, folder)));
  };
  await Promise.all(Array.from({ length: 7 }, lane));
  return rows;
}
