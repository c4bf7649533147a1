// dsc plan: floors that arithmetic gives, site by site, and what fits.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Expected } from "../../compiler/analysis/expected.ts";
import { at, dsc, json, r1, refusal, tiny } from "./dsc.ts";

interface Step {
  sites: {
    site: string;
    op: string;
    times: number;
    bytes: number;
    flops: number;
    floor_us: number;
    bound: string;
    share: number;
  }[];
  launches: number;
  bytes: number;
  flops: number;
  floor_ms: number;
}
interface Plan {
  device: { bandwidth: number };
  decode: Step;
  prefill: Step;
  memory: {
    weights: number;
    cache: number;
    arena: number;
    total: number;
    fits: boolean;
    layers_that_fit: number;
    too_large?: object;
  };
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
    const experts = p.decode.sites
      .filter(
        (s) => s.op === "route_experts_add" || (s.op === "block_linear" && /moe_layer\/(block_linear|shared)$/.test(s.site)),
      )
      .reduce((a, s) => a + s.bytes, 0);
    expect(experts / (9 * 44.04e6)).toBeCloseTo(1, 2);
    expect(p.memory.fits).toBe(false);
    expect(p.memory.cache).toBe(62 * 576 * 2);
  });

  test("causal attention of a prompt computes the pairs that its mask leaves, of a step all of them", async () => {
    const p = await json<Plan>("plan", r1, "--device", "h200", "--context", "4096");
    const [heads, lanes] = [128, 128 + 64 + 128];
    const prompt = p.prefill.sites.find((s) => s.op === "attend")!;
    expect(prompt.flops).toBe(2 * ((4096 * 4097) / 2) * heads * lanes);
    const step = p.decode.sites.find((s) => s.op === "mla_attend")!;
    expect(step.flops).toBe(2 * 4096 * heads * (2 * 512 + 64));
  });

  test("more rows reach more experts, never more than there are, and long prompts are bound by FLOPs", async () => {
    const [one, many] = await Promise.all(
      ["1", "64"].map((batch) => json<Plan>("plan", r1, "--device", "h200", "--batch", batch, "--context", "4096")),
    );
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
      json<Plan>("plan", r1, ...context),
      json<Plan>("plan", r1, ...context, "--passes", "none"),
      json<Plan>("plan", r1, ...context, "--attention", "expanded"),
      json<Plan>("plan", r1, "--context", "4096", "--device", "h100"),
    ]);
    expect(none.decode.launches).toBeGreaterThan(2 * all.decode.launches);
    expect(expanded.decode.flops).toBeGreaterThan(2 * all.decode.flops);
    expect(h100.decode.floor_ms / all.decode.floor_ms).toBeCloseTo(4539 / 3350, 2);
    writeFileSync(
      at("half.json"),
      JSON.stringify({ name: "half an H200", bandwidth_gbs: 4539 / 2, memory_gb: 70, tflops: { fp8: 990, bf16: 495, f32: 33 } }),
    );
    const half = await json<Plan>("plan", r1, "--context", "4096", "--device", at("half.json"));
    expect(half.decode.floor_ms / all.decode.floor_ms).toBeCloseTo(2, 3);
    await dsc("compile", r1, "--target", "cuda", "-o", at("planned-r1"));
    expect((await json<Plan>("plan", at("planned-r1"), "--context", "4096")).decode).toEqual(all.decode);
  });

  test("what does not fit is said with what does: dsc runs on one, and a CPU's memory has an end", async () => {
    const gpu = (await dsc("plan", r1, "--device", "h200")).stdout;
    expect(gpu).toMatch(
      /of 150\.11 GB: does not fit; --mesh tp=8 divides it over ranks; the first \d+ of 61 layers fit \(--layers \d+\)\n$/,
    );
    const n = /--layers (\d+)/.exec(gpu)![1];
    expect((await json<Plan>("plan", r1, "--device", "h200", "--layers", n)).memory.fits).toBe(true);
    expect((await json<Plan>("plan", r1, "--device", "h200", "--layers", String(Number(n) + 1))).memory.fits).toBe(false);
    writeFileSync(at("large.json"), JSON.stringify({ bandwidth_gbs: 100, memory_gb: 4000, tflops: { bf16: 10 } }));
    expect((await json<Plan>("plan", r1, "--device", at("large.json"))).memory.fits).toBe(true);
    const cpu = await json<Plan>("plan", r1, "--bandwidth", "10");
    expect(cpu.memory).toMatchObject({
      fits: false,
      layers_that_fit: expect.any(Number),
      too_large: { weight: "moe_layer.experts_shared.gate_up" },
    });
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
    // Unasked, no more rows than the model has positions.
    await json("plan", tiny, "--set", "max_position_embeddings=128", "--device", "h200");
    expect(await refusal("plan", tiny, "--context", "99999999")).toContain("positions");
    expect(await refusal("plan", tiny, "--device", "h200", "--bandwidth", "3")).toContain("--bandwidth is for --device cpu");
    expect(await refusal("plan", tiny, "--device", "gpu")).toContain("did you mean h200?");
    writeFileSync(at("bad-device.json"), '{"bandwidth_gbs": "fast"}');
    expect(await refusal("plan", tiny, "--device", at("bad-device.json"))).toContain('bandwidth_gbs is "fast"');
    await dsc("compile", tiny, "-o", at("planned"));
    expect(await refusal("plan", at("planned"), "--attention", "absorbed", "--bandwidth", "3")).toContain(
      "the artifact is already compiled",
    );
  });

  test("beside the floor stands what the chosen kernels should take, and places without a hand-written one are named", async () => {
    const { expected } = await json<{ expected: Expected }>("plan", r1, "--device", "h200");
    for (const step of [expected.decode, expected.prefill]) {
      expect(step.ms).toBeGreaterThan(step.floor_ms);
      expect(step.ms).toBeLessThan(2 * step.floor_ms);
      expect(Object.values(step.by).reduce((sum, { ms }) => sum + ms, 0)).toBeCloseTo(step.ms, 6);
      expect(step.printed.reduce((sum, { share }) => sum + share, 0)).toBeLessThan(0.05);
    }
    expect(expected.decode.by["measured by us"].launches).toBeGreaterThan(100);
    const words = (await dsc("plan", r1, "--device", "h200")).stdout;
    expect(words).toMatch(/expected \d+\.\d+ ms by the chosen kernels, 1\.\d\d times the floor/);
    expect(words).toMatch(/no hand-written kernel serves \d+ sites?, .*embed/);
    // Times are of the GPU that kernels are made for.
    expect(await json<object>("plan", r1, "--device", "h100")).not.toHaveProperty("expected");
  });

  test("products that no hand-written kernel takes are a warning of a compile, unless printed kernels were asked for", async () => {
    const odd = path.resolve(import.meta.dirname, "../fixtures/a09-v3-odd");
    const compile = (...words: string[]): ReturnType<typeof dsc> =>
      dsc("compile", odd, "--target", "cuda", "-o", at("printed-products"), ...words);
    const { stdout, stderr } = await compile();
    expect(stderr).toMatch(/warning\[DSC4135\]: no hand-written kernel of sm_90 takes \d+ product/);
    expect(stdout).toMatch(/expected of its kernels: .* ms a token \(floor/);
    expect((await compile("--natives", "none")).stderr).not.toContain("DSC4135");
    expect((await compile("--activations", "f32")).stderr).not.toContain("DSC4135");
  });
});
