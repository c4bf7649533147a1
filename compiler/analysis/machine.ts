// Machines that no table has, for `dsc plan`: what a JSON file describes, and this one, measured.
import { availableParallelism, totalmem } from "node:os";
import { Worker } from "node:worker_threads";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { desktop } from "../../codegen/cpu/machine.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Machine } from "../../ir/machine.ts";
import type { Links } from "../../ir/machine.ts";
import { unmeasured } from "../diagnostics.ts";

/** A device as a JSON file describes it; gives what is wrong with it in words. */
export function describedBy(value: unknown, file: string): Machine | string {
  const v = value as Record<string, unknown> | null;
  if (typeof v !== "object" || v === null || Array.isArray(v)) return "it is no object";
  const known = ["name", "bandwidth_gbs", "memory_gb", "tflops", "activations", "link_gbs"];
  const stray = Object.keys(v).find((k) => !known.includes(k));
  if (stray !== undefined) return `${stray} is not one of ${known.join(", ")}`;
  const above = (x: unknown): x is number => typeof x === "number" && Number.isFinite(x) && x > 0;
  const { bandwidth_gbs: gbs, memory_gb: gb } = v;
  const notAbove = (k: string): string => `${k} is ${JSON.stringify(v[k])}, and has to be a number above 0`;
  if (!above(gbs)) return notAbove("bandwidth_gbs");
  if (!above(gb)) return notAbove("memory_gb");
  const t = (v.tflops ?? {}) as Record<string, unknown>;
  const { bf16 } = t;
  if (typeof t !== "object" || !above(bf16)) return "tflops.bf16 is missing, or no number above 0";
  for (const k of Object.keys(t))
    if (!["fp8", "bf16", "f32"].includes(k) || !above(t[k]))
      return `tflops.${k} is ${JSON.stringify(t[k])}; there are fp8, bf16 and f32, above 0`;
  if (v.activations !== undefined && v.activations !== "f32" && v.activations !== "bf16")
    return `activations is ${JSON.stringify(v.activations)}; there are f32 and bf16`;
  if (v.link_gbs !== undefined && !above(v.link_gbs)) return notAbove("link_gbs");
  if (v.name !== undefined && typeof v.name !== "string") return "name is no text";
  const tera = (k: string): number => {
    const given = t[k];
    return (above(given) ? given : bf16) * 1e12;
  };
  const [bandwidth, memory] = [gbs * 1e9, gb * 1e9];
  const rates = { fp8: tera("fp8"), bf16: tera("bf16"), f32: tera("f32") };
  return {
    name: (v.name as string | undefined) ?? file,
    bandwidth,
    peaks: rates,
    memory,
    launch: 0,
    activations: (v.activations as "f32" | "bf16" | undefined) ?? "bf16",
    ...(above(v.link_gbs) ? { links: linksOf(v.link_gbs, file) } : {}),
    source:
      `${gbs} GB/s, ${gb} GB of memory, ` +
      `${(["fp8", "bf16", "f32"] as const).map((k) => `${rates[k] / 1e12} TFLOP/s ${k}`).join(", ")}, as ${file} ` +
      "says",
  };
}

/** What joins devices of which only the rate of their links is known. */
const linksOf = (gbs: number, file: string): Links => ({
  ...h200.links,
  bandwidth: gbs * 1e9,
  source: `${gbs} GB/s to the other devices of a host, as ${file} says; what collectives reach of it and their start as on H200`,
});

/** This machine: bandwidth as given, or measured with every core, and SIMD arithmetic measured on one core, times the cores. */
export async function thisMachine(bandwidth?: number): Promise<Machine> {
  const cores = availableParallelism();
  const read = bandwidth ?? (await readBandwidth(cores));
  const flops = multiplyAdds() * cores;
  const how = bandwidth === undefined ? "measured by comparing equal buffers on every core" : "as given by --bandwidth";
  return {
    name: `this machine, ${cores} core${cores === 1 ? "" : "s"}`,
    source:
      `${(read / 1e9).toFixed(1)} GB/s ${how}; ${(flops / 1e9).toFixed(0)} GFLOP/s of WebAssembly SIMD, measured ` +
      `on one core, times ${cores}`,
    bandwidth: read,
    peaks: { fp8: flops, bf16: flops, f32: flops },
    memory: totalmem(),
    launch: desktop.launch,
    activations: "f32",
  };
}

const COMPARED = 96 << 20;

/** Comparing two equal buffers reads both and writes nothing, at the speed of the C library. */
async function readBandwidth(cores: number): Promise<number> {
  const script = `
    const { parentPort } = require("node:worker_threads");
    const [a, b] = [Buffer.alloc(${COMPARED}, 1), Buffer.alloc(${COMPARED}, 1)];
    a.equals(b);
    parentPort.on("message", () => { for (let i = 0; i < 4; i++) a.equals(b); parentPort.postMessage(1); });
    parentPort.postMessage(0);`;
  const workers: Worker[] = [];
  try {
    // Between two questions nobody listens, and an error that nobody hears ends the program.
    for (let i = 0; i < cores; i++) workers.push(new Worker(script, { eval: true }).on("error", () => {}));
    return await fastest(workers);
  } catch (e) {
    throw new DiagnosticError(unmeasured({ why: (e as Error).message }));
  } finally {
    await Promise.all(workers.map((w) => w.terminate()));
  }
}

/** The next message of a thread. One that ends without a word, as where memory runs out or something kills it, answers nothing either. */
export function answerOf(w: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    const settled = (f: () => void): void => {
      w.off("message", answered).off("error", failed).off("exit", ended);
      f();
    };
    const answered = (): void => settled(resolve);
    const failed = (e: Error): void => settled(() => reject(e));
    const ended = (code: number): void => settled(() => reject(new Error(`a thread ended with code ${code}`)));
    w.on("message", answered).on("error", failed).on("exit", ended);
  });
}

async function fastest(workers: readonly Worker[]): Promise<number> {
  const answers = (): Promise<unknown> => Promise.all(workers.map(answerOf));
  await answers();
  let best = 0;
  for (let i = 0; i < 3; i++) {
    const from = performance.now();
    const done = answers();
    for (const w of workers) w.postMessage(0);
    await done;
    best = Math.max(best, (workers.length * 4 * 2 * COMPARED) / ((performance.now() - from) / 1000));
  }
  return best;
}

/** Operations a second of eight independent f32x4 sums of products in a WebAssembly loop, on this thread. */
function multiplyAdds(): number {
  const sums = 8;
  const turns = 1 << 21;
  const get = (i: number): number[] => [0x20, i];
  // local 0: turns left; 1..8: sums; 9: the factor. sum = sum * x + x, as f32x4.mul and f32x4.add.
  const step = Array.from({ length: sums }, (_, s) => [
    ...get(s + 1),
    ...get(9),
    0xfd,
    0xe6,
    0x01,
    ...get(9),
    0xfd,
    0xe4,
    0x01,
    0x21,
    s + 1,
  ]).flat();
  const loop = [0x03, 0x40, ...step, ...get(0), 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b];
  const total = [
    ...get(1),
    ...Array.from({ length: sums - 1 }, (_, s) => [...get(s + 2), 0xfd, 0xe4, 0x01]).flat(),
    0xfd,
    0x1f,
    0,
  ];
  const body = [1, 9, 0x7b, ...loop, ...total, 0x0b];
  const section = (id: number, bytes: number[]): number[] => [id, ...leb(bytes.length), ...bytes];
  const binary = Uint8Array.from([
    0,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7d]),
    ...section(3, [1, 0]),
    ...section(7, [1, 3, 0x72, 0x75, 0x6e, 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
  const run = new WebAssembly.Instance(new WebAssembly.Module(binary)).exports.run as (turns: number) => number;
  run(1 << 16);
  let best = 0;
  for (let i = 0; i < 3; i++) {
    const from = performance.now();
    run(turns);
    best = Math.max(best, (turns * sums * 4 * 2) / ((performance.now() - from) / 1000));
  }
  return best;
}

function leb(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)];
}
