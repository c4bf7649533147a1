// dsc inspect: a kernel's way back to the config, functions of the graph, and what every launch costs.
import { describe, expect, test } from "vitest";
import { at, dsc, json, r1, refusal, tiny } from "./dsc.ts";

describe("inspect", () => {
  test("kernels that the runtime launches for itself are listed and shown", async () => {
    await dsc("compile", tiny, "-o", at("system"), "--target", "cuda");
    expect((await dsc("inspect", at("system"))).stdout).toMatch(
      /\nlaunched by the runtime itself: dsc_begin, dsc_end, dsc_advance, dsc_fill, dsc_not_finite, dsc_sample\n/,
    );
    expect((await dsc("inspect", at("system"), "dsc_sample")).stdout).toMatch(
      /^\/\/ dsc_sample: [^]*\ndsc_sample\(const float\* logits, /,
    );
    expect((await json<{ family: string }>("inspect", at("system"), "dsc_end")).family).toBe("system");
    expect(await refusal("inspect", at("system"), "dsc_ends")).toContain("dsc_end");
  });

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
      dsc("inspect", at("r1-functions"), "decode/moe_layer"),
      dsc("inspect", at("r1-functions"), "decode/moe_layer", "--after", "frontend"),
      dsc("inspect", at("r1-functions"), "decode"),
      dsc("inspect", at("r1-functions"), "--ir"),
    ]);
    expect(layer.stdout).toMatch(/^func @decode\/moe_layer\([^]*\n}\n$/);
    expect(before.stdout).toMatch(/^func @decode\/moe_layer\([^]* = einsum [^]*\n}\n$/);
    expect(step.stdout).toMatch(
      /\{layer = 3\}.*\n {2}\.\.\. 56 more calls of @decode\/moe_layer, layers 4 to 59\n.*\{layer = 60\}/,
    );
    expect(whole.stdout.split("\n").find((l) => l.startsWith("@rope"))!.length).toBeLessThan(200);
    expect(await refusal("inspect", at("r1-functions"), "decode/moe_leyer")).toContain("did you mean decode/moe_layer?");
    expect(await refusal("inspect", at("r1-functions"), "norm_quant_1536", "--after", "load")).toContain("which has no kernels");
  });
});

describe("inspect FUNCTION --batch", () => {
  interface At {
    schema: string;
    launches: {
      index: number;
      kernel: string;
      site: string;
      op: string;
      times: number;
      reads: string[];
      writes: string[];
      line?: string;
    }[];
    buffers: { name: string; slot: number; bytes: number; from: number; to: number }[];
    live: number[];
    arena_bytes: number;
    calls: { function: string; layer: number }[];
    totals: { launches: number; floor_us: number };
  }
  const out = at("function-r1");
  const made = dsc("compile", r1, "--target", "cuda", "-o", out);

  test("launches in order, each with what it reads and writes; a buffer is written before it is read", async () => {
    await made;
    const f = await json<At>("inspect", out, "decode/moe_layer", "--batch", "1");
    expect(f.schema).toBe("dsc-function/1");
    expect(f.launches.map((l) => l.op)).toEqual([
      "norm_block_linear",
      "norm_block_linear",
      "mla_query",
      "mla_attend",
      "einsum_quant",
      "block_linear",
      "add_norm_both",
      "linear",
      "route_experts_add",
      "route_experts_add",
    ]);
    const named = new Set(f.buffers.map((b) => b.name));
    const written = new Set<string>();
    const value = (arg: string): string => arg.slice(arg.indexOf(" = ") + 3);
    for (const l of f.launches) {
      for (const r of l.reads.map(value).filter((v) => named.has(v))) expect(written.has(r), `${l.site} reads ${r}`).toBe(true);
      for (const w of l.writes.map(value)) written.add(w);
      expect(l.line).toContain(` = ${l.op} `);
    }
    // Two buffers of one slot are never live at the same launch.
    for (const [i, a] of f.buffers.entries())
      for (const b of f.buffers.slice(i + 1))
        expect(a.slot === b.slot && a.from <= b.to && b.from <= a.to, `${a.name}, ${b.name}`).toBe(false);
    expect(Math.max(...f.live)).toBeLessThanOrEqual(f.arena_bytes);
  });

  test("an entry says what it calls, sequences are launched for one by one, and another batch has other kernels", async () => {
    await made;
    const [whole, one, many] = await Promise.all([
      json<At>("inspect", out, "decode", "--batch", "2"),
      json<At>("inspect", out, "decode/moe_layer", "--batch", "1"),
      json<At>("inspect", out, "decode/moe_layer", "--batch", "64"),
    ]);
    expect(whole.calls).toHaveLength(61);
    expect(many.launches.map((l) => l.kernel)).not.toEqual(one.launches.map((l) => l.kernel));
    const text = (await dsc("inspect", out, "decode/moe_layer", "--batch", "1")).stdout;
    expect(text).toMatch(/^decode\/moe_layer for cuda: 1 row of 1 sequence, 1024 cached; floors on NVIDIA H200\n/);
    expect(text).toContain("\nin all: ");
    expect(await refusal("inspect", out, "--batch", "2")).toContain("of a function's launches");
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
    const [{ launches, steps }, plan] = await Promise.all([
      costs("--batch", "4", "--context", "2048"),
      json<Costs["steps"]>("plan", r1, "--device", "h200", "--batch", "4", "--context", "2048"),
    ]);
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
    expect(parts.map((l) => l.op)).toEqual(
      expect.arrayContaining(["sort_experts", "gather_rows", "grouped_linear", "gated_quant", "combine_add"]),
    );
    const of = (op: string): Launch[] => parts.filter((l) => l.op === op);
    expect(of("sort_experts")[0].bytes).toBeLessThan(1e6);
    expect(of("gated_quant")[0].bytes).toBeLessThan(2e7);
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
    for (const l of launches.filter((x) => x.step === null && most.test(x.when ?? "")))
      expect(l.at.T, l.kernel).toBe(Number(most.exec(l.when!)![1]));
    for (const { kernel } of one) {
      const { stdout } = await dsc("inspect", out, kernel);
      expect(stdout).toContain("// floor at T = 1, B = 1: 8.33 us (37.81 MB, 0.08 GFLOP)\n");
    }
    expect((await dsc("inspect", out, one[0].kernel, "--cost")).stdout).toMatch(
      /T = 1 +T = 1, B = 1, s = \d+ +37\.8 +0\.075 +8\.3\n/,
    );
  });

  test("every kernel of the artifact is in the list", async () => {
    const { kernels } = await json<{ kernels: Record<string, unknown> }>("inspect", out);
    const { launches } = await costs();
    expect(new Set(launches.map((l) => l.kernel))).toEqual(new Set(Object.keys(kernels)));
  });
});
