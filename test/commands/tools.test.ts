// plan, explain, doctor, completion, and the options that make a model smaller.
import { execFile, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { during, progressLine } from "../../compiler/progress.ts";
import { flops } from "../../compiler/report/summary.ts";
import { at, cli, dsc, json, r1, refusal, tiny } from "./dsc.ts";
import { lacks } from "../conditions.ts";

interface Step {
  sites: { site: string; op: string; times: number; bytes: number; flops: number; floor_us: number; bound: string; share: number }[];
  launches: number;
  bytes: number;
  flops: number;
  floor_ms: number;
}
interface Plan {
  device: { bandwidth: number };
  decode: Step;
  prefill: Step;
  memory: { weights: number; cache: number; arena: number; total: number; fits: boolean; layers_that_fit: number; too_large?: object };
}

describe("plan", () => {
  test("a whole R1 token on an H200 has the floor that arithmetic gives: 8.3 ms of 37.7 GB", async () => {
    const p = await json<Plan>("plan", r1, "--device", "h200", "--context", "1");
    expect(p.decode.bytes / 37.7e9).toBeGreaterThan(0.97);
    expect(p.decode.bytes / 37.7e9).toBeLessThan(1.04);
    expect(p.decode.floor_ms / 8.3).toBeGreaterThan(0.97);
    expect(p.decode.floor_ms / 8.3).toBeLessThan(1.04);
    const total = p.decode.sites.reduce((a, s) => a + s.times * s.floor_us, 0) / 1000;
    expect(total).toBeCloseTo(p.decode.floor_ms, 6);
    // One expert is 44 MB: gate, up and down, of the eight a token chooses and the one all share.
    const experts = p.decode.sites.filter((s) => s.op === "route_experts_add" || (s.op === "block_linear" && /moe_layer\/(block_linear|shared)$/.test(s.site))).reduce((a, s) => a + s.bytes, 0);
    expect(experts / (9 * 44.04e6)).toBeCloseTo(1, 2);
    expect(p.memory.fits).toBe(false);
    expect(p.memory.cache).toBe(62 * 576 * 2);
  });

  test("more rows reach more experts, never more than there are, and long prompts are bound by FLOPs", async () => {
    const [one, many] = await Promise.all(["1", "64"].map((batch) => json<Plan>("plan", r1, "--device", "h200", "--batch", batch, "--context", "4096")));
    const grouped = (p: Plan): number => p.decode.sites.find((s) => s.op === "route_experts_add")!.bytes;
    expect(grouped(many) / grouped(one)).toBeGreaterThan(20);
    expect(grouped(many) / grouped(one)).toBeLessThan(32.5);
    expect(many.memory.cache).toBe(64 * one.memory.cache);
    expect(many.prefill.sites.find((s) => s.site === "prefill/dense_layer/q")!.bound).toBe("FLOPs");
  });

  test("every site has a name of its own, the longest come first, and shares add up", async () => {
    const { decode, prefill } = await json<Plan>("plan", r1, "--device", "h200");
    for (const step of [decode, prefill]) {
      expect(new Set(step.sites.map((s) => s.site)).size).toBe(step.sites.length);
      const shares = step.sites.map((s) => s.share);
      expect(shares).toEqual(shares.toSorted((a, b) => b - a));
      expect(shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
    }
    expect(prefill.sites.map((s) => s.site)).toContain("prefill/dense_layer/block_linear(ffn.down)");
  });

  test("passes, attention, other devices and artifacts are honoured", async () => {
    const context = ["--context", "4096", "--device", "h200"];
    const [all, none, expanded, h100] = await Promise.all([
      json<Plan>("plan", r1, ...context), json<Plan>("plan", r1, ...context, "--passes", "none"), json<Plan>("plan", r1, ...context, "--attention", "expanded"),
      json<Plan>("plan", r1, "--context", "4096", "--device", "h100"),
    ]);
    expect(none.decode.launches).toBeGreaterThan(2 * all.decode.launches);
    expect(expanded.decode.flops).toBeGreaterThan(2 * all.decode.flops);
    expect(h100.decode.floor_ms / all.decode.floor_ms).toBeCloseTo(4539 / 3350, 2);
    writeFileSync(at("half.json"), JSON.stringify({ name: "half an H200", bandwidth_gbs: 4539 / 2, memory_gb: 70, tflops: { fp8: 990, bf16: 495, f32: 33 } }));
    const half = await json<Plan>("plan", r1, "--context", "4096", "--device", at("half.json"));
    expect(half.decode.floor_ms / all.decode.floor_ms).toBeCloseTo(2, 3);
    await dsc("compile", r1, "--target", "cuda", "-o", at("planned-r1"));
    expect((await json<Plan>("plan", at("planned-r1"), "--context", "4096")).decode).toEqual(all.decode);
  });

  test("what does not fit is said with what does: dsc runs on one, and a CPU's memory has an end", async () => {
    const gpu = (await dsc("plan", r1, "--device", "h200")).stdout;
    expect(gpu).toMatch(/of 150\.11 GB: does not fit; dsc runs on one; the first \d+ of 61 layers fit \(--layers \d+\)\n$/);
    const n = /--layers (\d+)/.exec(gpu)![1];
    expect((await json<Plan>("plan", r1, "--device", "h200", "--layers", n)).memory.fits).toBe(true);
    expect((await json<Plan>("plan", r1, "--device", "h200", "--layers", String(Number(n) + 1))).memory.fits).toBe(false);
    writeFileSync(at("large.json"), JSON.stringify({ bandwidth_gbs: 100, memory_gb: 4000, tflops: { bf16: 10 } }));
    expect((await json<Plan>("plan", r1, "--device", at("large.json"))).memory.fits).toBe(true);
    const cpu = await json<Plan>("plan", r1, "--bandwidth", "10");
    expect(cpu.memory).toMatchObject({ fits: false, layers_that_fit: expect.any(Number), too_large: { weight: "moe_layer.experts_shared.gate_up" } });
    expect(cpu.memory.layers_that_fit).toBeLessThanOrEqual(3);
  });

  test("on this machine, with a bandwidth given", async () => {
    const p = await json<Plan>("plan", tiny, "--bandwidth", "20", "--layers", "2");
    expect(p.device.bandwidth).toBe(20e9);
    expect(p.memory.fits).toBe(true);
    const { code, stdout } = await dsc("plan", tiny);
    expect(code).toBe(0);
    expect(stdout).toMatch(/GB\/s measured/);
    expect(stdout).toMatch(/at least [\d.]+ ms a step/);
  });

  test("what it cannot plan", async () => {
    expect(await refusal("plan", tiny, "--context", "99999999")).toContain("positions");
    expect(await refusal("plan", tiny, "--device", "h200", "--bandwidth", "3")).toContain("--bandwidth is for --device cpu");
    expect(await refusal("plan", tiny, "--device", "gpu")).toContain("did you mean h200?");
    writeFileSync(at("bad-device.json"), '{"bandwidth_gbs": "fast"}');
    expect(await refusal("plan", tiny, "--device", at("bad-device.json"))).toContain('bandwidth_gbs is "fast"');
    await dsc("compile", tiny, "-o", at("planned"));
    expect(await refusal("plan", at("planned"), "--attention", "absorbed", "--bandwidth", "3")).toContain("the artifact is already compiled");
  });
});

test("explain takes a code with or without its letters, and lists all without one", async () => {
  const [long, short, all] = await Promise.all([dsc("explain", "DSC1015"), dsc("explain", "1015"), dsc("explain")]);
  expect(long).toEqual(short);
  expect(long.stdout).toMatch(/^DSC1015: .+\n[^]+For example:\n[^]+What to do:\n/);
  expect(all.stdout.split("\n").length).toBeGreaterThan(90);
  expect(await refusal("explain", "DSC1105")).toContain("did you mean DSC10");
});

test("doctor says what there is, and that is a success on any machine", async () => {
  const answer = await json<{ can: Record<string, boolean>; checks: { part: string; state: string; found: string; needed_for: string }[] }>("doctor");
  expect(answer.can).toMatchObject({ compile: true, run_cpu: true });
  const parts = answer.checks.map((c) => c.part);
  for (const p of ["Node", "cores", "memory", "WebAssembly SIMD", "WebAssembly threads", "koffi", "CUDA driver", "nvcc", "Python with Triton"]) expect(parts).toContain(p);
  for (const c of answer.checks) {
    expect(c.found, c.part).not.toBe("");
    expect(c.needed_for, c.part).not.toBe("");
  }
});

describe("completion", () => {
  const cases: [string[], string[]][] = [
    [["com"], ["compile", "completion"]],
    [["compile", "--target", ""], ["cpu", "cuda", "triton"]],
    [["compile", "x", "--att"], ["--attention"]],
    [["compile", "x", "--passes", "all,ad"], ["all,add-norm"]],
    [["why", "x", "add"], ["add-norm"]],
    [["why", "--json", "x", "ker"], ["kernels"]],
    [["explain", "DSC600"], ["DSC6001", "DSC6002", "DSC6003", "DSC6004", "DSC6005", "DSC6006", "DSC6007", "DSC6008", "DSC6009"]],
    [["ops", "rms"], ["rms_norm"]],
    [["inspect", "OUT", "norm_quant"], ["norm_quant_144", "norm_quant_256"]],
    [["help", "pl"], ["plan"]],
    [["ver"], ["verify", "version"]],
  ];
  const made = dsc("compile", tiny, "-o", at("completed"));
  const words = (c: string[]): string[] => c.map((w) => (w === "OUT" ? at("completed") : w));

  test("bash completes commands, options, values, passes, ops, codes and kernels", async () => {
    await made;
    writeFileSync(at("dsc.bash"), (await dsc("completion", "bash")).stdout);
    const script = `source ${at("dsc.bash")}; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _dsc; printf '%s\\n' "\${COMPREPLY[@]}"`;
    for (const [typed, wanted] of cases) {
      const { stdout } = await promisify(execFile)("bash", ["-c", script, "bash", "dsc", ...words(typed)]);
      expect(stdout.trim().split("\n").toSorted(), typed.join(" ")).toEqual(wanted.toSorted());
    }
    expect((await dsc("completion", "zsh")).stdout).toContain("bashcompinit");
  });

  test.skipIf(lacks("fish"))("fish completes the same", async () => {
    await made;
    writeFileSync(at("dsc.fish"), (await dsc("completion", "fish")).stdout);
    for (const [typed, wanted] of cases) {
      const { stdout } = await promisify(execFile)("fish", ["--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', at("dsc.fish"), ["dsc", ...words(typed)].join(" ")]);
      expect(stdout.trim().split("\n").map((l) => l.split("\t")[0]).toSorted(), typed.join(" ")).toEqual(wanted.toSorted());
    }
  });

  test("PowerShell's script has the same words", async () => {
    const { stdout } = await dsc("completion", "pwsh");
    for (const word of ["'compile --target' = @('cpu', 'cuda', 'triton')", "'help 1' = @('summary', 'compile'", "'inspect 2' = $true", "'passes 1' = @('absorb-mla'"]) expect(stdout).toContain(word);
  });
});

test("opt reads stdin and writes a file, whole or not at all", async () => {
  const text = "module t\n\nfunc @f(%a: [T, 4] f32) assume {T = 16} {\n  return y = %a\n}\n";
  writeFileSync(at("t.dsc"), text);
  const piped = spawnSync(process.execPath, [cli, "opt", "-", "-p", "none", "-o", at("t-out.dsc")], { input: text, encoding: "utf8" });
  expect([piped.status, piped.stdout, piped.stderr]).toEqual([0, "", ""]);
  expect(readFileSync(at("t-out.dsc"), "utf8")).toBe((await dsc("opt", at("t.dsc"), "-p", "none")).stdout);
  const wrong = spawnSync(process.execPath, [cli, "opt", "-", "-p", "none"], { input: "modul", encoding: "utf8" });
  expect(wrong.stderr).toMatch(/--> <stdin>:1:1/);
  expect(await refusal("opt", at("t.dsc"), "-p", "none", "-o", at("t.dsc/below"))).toContain("cannot write");
  expect(await refusal("opt", "/dev/zero", "-p", "none")).toContain("- reads stdin");
});

test("a cost is a number a person reads", async () => {
  for (const page of ["absorb-mla", "experts-add", "add-norm"]) expect((await dsc("passes", page)).stdout).not.toMatch(/e[+-]\d+ |0\.00\d+ /);
  expect(["0 FLOP", "320 FLOP", "1.39 TFLOP", "999 GFLOP", "1.00 TFLOP", "12.3 kFLOP"]).toEqual([0, 320, 1.39e12, 999.2e9, 999.7e9, 12_345].map(flops));
});

test("--layers keeps the first layers at full width, --shrink every mechanism at a small one", async () => {
  const few = await json<{ parameters: number; layers: object }>("summary", r1, "--layers", "4");
  expect(few).toMatchObject({ parameters: 15_111_101_696, layers: { dense: 3, moe: 1, mtp: 0 } });
  const small = await json<{ parameters_with_mtp: number; layers: object }>("summary", r1, "--shrink");
  expect(small.layers).toEqual({ dense: 2, moe: 2, mtp: 1 });
  expect(small.parameters_with_mtp).toBeLessThan(5e6);
  const both = await json<{ layers: object }>("summary", r1, "--shrink", "--layers", "2");
  expect(both.layers).toEqual({ dense: 2, moe: 0, mtp: 0 });
  const ran = await json<{ ids: number[] }>("run", r1, "--shrink", "--weights", "synthetic:0", "--ids", "1,2,3", "--max-new", "3");
  expect(ran.ids).toHaveLength(3);
  // The first layers of a checkpoint run with the checkpoint as it is.
  expect((await json<{ ids: number[] }>("run", tiny, "--layers", "2", "--ids", "1,2,3", "--max-new", "2")).ids).toHaveLength(2);
  expect(await refusal("summary", r1, "--layers", "62")).toContain("the model has 61 layers");
  expect(await refusal("compile", r1, "-o", at("none"), "--layers", "1.5")).toContain("--layers");
});

describe("progress", () => {
  const said: string[] = [];
  const stream = (isTTY: boolean): NodeJS.WriteStream => ({ isTTY, columns: 40, write: (t: string) => said.push(t) > 0 }) as unknown as NodeJS.WriteStream;

  test("a line on a terminal, taken away when the work is done", async () => {
    const slow = async (): Promise<string> => {
      while (!said.length) await sleep(50);
      return "done";
    };
    expect(await during("loading 1.40 GB of weights", slow(), progressLine(stream(true)))).toBe("done");
    expect(said.join("")).toMatch(/loading 1\.40 GB of weights, \d+ s/);
    expect(said.at(-1)).toBe("\r\x1b[K");
  });

  test("nothing where stderr is no terminal, and nothing for short work", async () => {
    said.length = 0;
    await during("loading", sleep(900), progressLine(stream(false)));
    await during("loading", sleep(20), progressLine(stream(true)));
    expect(said).toEqual([]);
  });
});

describe("inspect", () => {
  test("a kernel's way back to config keys, tensors and rules is one command", async () => {
    await dsc("compile", r1, "-o", at("r1"));
    const { stdout } = await dsc("inspect", at("r1"), "norm_quant_1536", "--origin");
    expect(stdout).toContain("decode/moe_layer/norm_quant\n    %1 = norm_quant %qa, @moe_layer.q_norm : [T, 1536] e4m3/1x128\n");
    expect(stdout).toContain("  tensor  model.layers.{layer}.self_attn.q_a_layernorm.weight (layers 3..61)\n");
    expect(stdout).toMatch(/ {2}config {2}.*q_lora_rank.*quantization_config/);
    expect(stdout).toContain("  rule    fuse-quant: quantise while normalising\n");
    // Where a number of its text comes from is not recorded, so nothing is said of it.
    expect(stdout).not.toContain("numbers in its text");
    expect(await refusal("inspect", at("r1"), "--origin")).toContain("--origin is of a kernel");
  });

  test("every launch has its origin, and --json is one object in every form", async () => {
    interface Launch {
      kernel: string;
      site: string;
      op: string;
      keys?: string[];
    }
    await dsc("compile", tiny, "-o", at("tiny"));
    const all = await json<{ kernels: Record<string, { uses: number }> }>("inspect", at("tiny"));
    for (const [name, { uses }] of Object.entries(all.kernels).slice(0, 4)) {
      const { launches } = await json<{ launches: Launch[] }>("inspect", at("tiny"), name, "--origin");
      expect(launches.length, name).toBe(uses);
    }
    expect((await json<{ text: string }>("inspect", at("tiny"), "--ir")).text).toContain("func @decode");
  });

  test("a function by its name, after any pass; runs of equal calls and long lists are folded", async () => {
    await dsc("compile", r1, "-o", at("r1-functions"));
    const [layer, before, step, whole] = await Promise.all([
      dsc("inspect", at("r1-functions"), "decode/moe_layer"), dsc("inspect", at("r1-functions"), "decode/moe_layer", "--after", "frontend"), dsc("inspect", at("r1-functions"), "decode"),
      dsc("inspect", at("r1-functions"), "--ir"),
    ]);
    expect(layer.stdout).toMatch(/^func @decode\/moe_layer\([^]*\n}\n$/);
    expect(before.stdout).toMatch(/^func @decode\/moe_layer\([^]* = einsum [^]*\n}\n$/);
    expect(step.stdout).toMatch(/\{layer = 3\}.*\n {2}\.\.\. 56 more calls of @decode\/moe_layer, layers 4 to 59\n.*\{layer = 60\}/);
    expect(whole.stdout.split("\n").find((l) => l.startsWith("@rope"))!.length).toBeLessThan(200);
    expect(await refusal("inspect", at("r1-functions"), "decode/moe_leyer")).toContain("did you mean decode/moe_layer?");
    expect(await refusal("inspect", at("r1-functions"), "norm_quant_1536", "--after", "load")).toContain("which has no kernels");
  });
});

describe("inspect --cost", () => {
  interface Launch {
    kernel: string;
    site: string;
    op: string;
    step: string | null;
    when?: string;
    at: { T: number; B: number };
    times: number;
    bytes: number;
    flops: number;
    floor_us: number;
    share: number;
  }
  type Total = { bytes: number; flops: number; floor_us: number; launches: number };
  interface Costs {
    launches: Launch[];
    steps: Record<"decode" | "prefill", Total>;
  }
  const out = at("cost-r1");
  const made = dsc("compile", r1, "--target", "cuda", "-o", out);
  const costs = async (...words: string[]): Promise<Costs> => {
    await made;
    return json<Costs>("inspect", out, "--cost", ...words);
  };

  test("the launches of a step add up to it, and to hardly more than the plan's floor", async () => {
    const [{ launches, steps }, plan] = await Promise.all([costs("--batch", "4", "--context", "2048"), json<Plan>("plan", r1, "--device", "h200", "--batch", "4", "--context", "2048")]);
    for (const step of ["decode", "prefill"] as const) {
      const here = launches.filter((l) => l.step === step);
      const sum = (of: (l: Launch) => number): number => here.reduce((a, l) => a + l.times * of(l), 0);
      expect(sum((l) => l.bytes)).toBeCloseTo(steps[step].bytes, 0);
      expect(sum((l) => l.floor_us)).toBeCloseTo(steps[step].floor_us, 6);
      expect(here.reduce((a, l) => a + l.share, 0)).toBeCloseTo(1, 9);
      // Rows that one launch of an op hands to the next count here and not in the floor.
      expect(steps[step].bytes / plan[step].bytes).toBeGreaterThan(0.999);
      expect(steps[step].bytes / plan[step].bytes).toBeLessThan(1.02);
      expect(steps[step].flops / plan[step].flops).toBeCloseTo(1, 2);
    }
  });

  test("a part has its own cost, not that of the whole", async () => {
    const { launches } = await costs("--batch", "64");
    const parts = launches.filter((l) => l.step === "decode" && l.site === "decode/moe_layer/next");
    expect(parts.map((l) => l.op)).toEqual(expect.arrayContaining(["sort_experts", "gather_rows", "grouped_linear", "silu_mul_quant", "combine_add"]));
    const of = (op: string): Launch[] => parts.filter((l) => l.op === op);
    expect(of("sort_experts")[0].bytes).toBeLessThan(1e6);
    expect(of("silu_mul_quant")[0].bytes).toBeLessThan(2e7);
    const [up, down] = of("grouped_linear");
    expect(up.bytes / down.bytes).toBeGreaterThan(1.9);
    expect(up.bytes / down.bytes).toBeLessThan(2.1);
  });

  test("a kernel for a range of rows is judged at the largest of them, there and in its own text", async () => {
    const { launches } = await costs();
    const one = launches.filter((l) => l.kernel.startsWith("block_gemm_24576x1536_m1_"));
    expect(one.length).toBeGreaterThan(0);
    for (const l of one) expect(l).toMatchObject({ when: "T = 1", at: { T: 1, B: 1 }, flops: 2 * 24576 * 1536 });
    const most = /^T (?:= |up to |from \d+ to )(\d+)$/;
    for (const l of launches.filter((x) => x.step === null && most.test(x.when ?? ""))) expect(l.at.T, l.kernel).toBe(Number(most.exec(l.when!)![1]));
    for (const { kernel } of one) {
      const { stdout } = await dsc("inspect", out, kernel);
      expect(stdout).toContain("// floor at T = 1, B = 1: 8.33 us (37.81 MB, 0.08 GFLOP)\n");
    }
    expect((await dsc("inspect", out, one[0].kernel, "--cost")).stdout).toMatch(/T = 1 +T = 1, B = 1, s = \d+ +37\.8 +0\.075 +8\.3\n/);
  });

  test("every kernel of the artifact is in the list", async () => {
    const { kernels } = await json<{ kernels: Record<string, unknown> }>("inspect", out);
    const { launches } = await costs();
    expect(new Set(launches.map((l) => l.kernel))).toEqual(new Set(Object.keys(kernels)));
  });
});
