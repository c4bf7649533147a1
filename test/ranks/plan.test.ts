// dsc plan of a divided model: bytes, FLOPs, memory and wire of a rank as arithmetic gives them, estimates beside measured collectives,
// and the layouts that fit.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { layoutsOf } from "../../compiler/analysis/layouts.ts";
import { plannedOf } from "../../compiler/analysis/planned.ts";
import { memoryOf, stepOf, type Planned } from "../../compiler/analysis/roofline.ts";
import { sizesOf } from "../../compiler/analysis/launches.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { parseMesh } from "../../ir/mesh.ts";
import { exchangeSeconds } from "../../ir/wire.ts";
import { standard } from "../../passes/index.ts";
import { at, json, refusal } from "../commands/dsc.ts";

const fixture = path.resolve(import.meta.dirname, "../fixtures/a01-v3-yarn");
const { spec } = loadSpec(fixture, []);
const asked = { target: "cuda", activations: "bf16", passOptions: {}, actQuant: "dynamic" } as const;
const planned = (mesh: string | undefined, passes = "none"): Planned =>
  plannedOf(spec, { ...asked, passes, ...(mesh === undefined ? {} : { mesh: parseMesh(mesh) }) }, standard);

// a01: hidden 64, 4 heads of 16 + 8 and 16, q_lora 48, kv_lora 32, dense 197, 8 experts of 72 and one shared, 3 a token, 3 layers of which
// the first is dense, vocabulary 131. Over two ranks: heads and both kinds of experts; 197 and 131 are odd and stay whole.
const sizes = {
  heads: 4 * 24 * 48 + 4 * 32 * 32 + 64 * 4 * 16,
  attention: 48 * 64 + 40 * 64 + 64 + 48 + 32,
  dense: 3 * 197 * 64 + 64,
  experts: 9 * 3 * 72 * 64,
  router: 8 * 64 + 64,
  ends: 2 * 131 * 64 + 64,
};

test("weights of a rank are its parts of what is divided, and all of the rest", () => {
  const load = { batch: 3, context: 16 };
  const elements = (parts: number): number =>
    3 * (sizes.heads / parts + sizes.attention) + sizes.dense + 2 * (sizes.experts / parts + sizes.router) + sizes.ends;
  // Router biases are f32; the rotary table is f32, 8 wide, of 16 rows.
  const rest = 2 * 8 * 4 + 16 * 8 * 4;
  for (const [mesh, parts] of [
    [undefined, 1],
    ["tp=2", 2],
    ["tp=4,ep=4", 4],
  ] as const)
    expect(memoryOf(planned(mesh), h200)(load).weights - rest, mesh).toBe(2 * elements(parts));
});

test("a step's products are halves, and its collectives are one for heads and one for experts of a layer", () => {
  const step = stepOf(planned("tp=2"), h200, "decode", { batch: 3, context: 16 });
  const q = step.sites.find((s) => s.site === "decode/moe_layer/q")!;
  expect([q.bytes, q.flops]).toEqual([2 * (3 * 48 + 48 * 48 + 3 * 48), 2 * 3 * 48 * 48]);
  // Of 3 rows of 64 bf16 each of two ranks sends half and gets half, and sends its half of the sum: as much as the rows.
  const each = 3 * 64 * 2;
  expect(step.wire!.sites.map((s) => [s.op, s.times, s.bytes])).toEqual([
    ["all_reduce", 1, each],
    ["all_reduce", 2, each],
    ["all_reduce", 2, each],
  ]);
  expect(step.wire).toMatchObject({ collectives: 5, bytes: 5 * each });
  expect(step.wire!.ms).toBeCloseTo((5 * (2.3 + 2 * 0.15 + (each / (450e9 * 0.715)) * 1e6)) / 1000, 9);
  expect(stepOf(planned(undefined), h200, "decode", { batch: 3, context: 16 }).wire).toBeUndefined();
});

test("experts of a group: a rank has its own, and takes one for every slot", () => {
  // Two groups of 4 of 8 experts; of a row's 3 slots none falls on expert e or e + 4 with (6/8)(5/7)(4/6) = 5 * 4 / (8 * 7).
  const z = sizesOf({ rows: 1, sequences: 1, cached: 1 }, { count: 8, perToken: 3, groups: 2 });
  expect(z.E).toBe(4);
  expect(z.chosen).toBeCloseTo(4 * (1 - (5 * 4) / (8 * 7)), 12);
  expect(sizesOf({ rows: 2, sequences: 2, cached: 1 }, { count: 8, perToken: 3 }).chosen).toBeCloseTo(8 * (1 - (5 / 8) ** 2), 12);
});

test("estimates of all-reduces lie near those that others measured on 2, 4 and 8 H200", () => {
  // Bytes and microseconds of the fastest of TensorRT-LLM 1.3, SGLang 0.5.14 and vLLM 0.24, from aiconfigurator.
  const measured: readonly (readonly [bytes: number, two: number, four: number, eight: number])[] = [
    [16 << 10, 2.6, 2.9, 3.5],
    [64 << 10, 2.9, 3.5, 4.6],
    [128 << 10, 3.1, 4.2, 6.4],
    [512 << 10, 4.3, 7.0, 11.1],
    [2 << 20, 9.1, 14.6, 18.1],
    [64 << 20, 246, 325, 318],
  ];
  for (const [given, ...us] of measured)
    for (const [i, n] of [2, 4, 8].entries()) {
      const wire = { bytes: (2 * (n - 1) * given) / n, oneShot: (n - 1) * given };
      const ratio = (exchangeSeconds(wire, n, h200.links) * 1e6) / us[i];
      expect(ratio, `${given} bytes, ${n} ranks`).toBeGreaterThan(0.7);
      expect(ratio, `${given} bytes, ${n} ranks`).toBeLessThan(1.3);
    }
  // Two hosts of 8: a card sends a sixteenth to the other host and gets one; nothing is exchanged by one rank.
  const wire = { bytes: (2 * 15 * 16e6) / 16, oneShot: 15 * 16e6 };
  const inHost = exchangeSeconds({ bytes: (2 * 7 * 16e6) / 8, oneShot: 7 * 16e6 }, 8, h200.links);
  expect(exchangeSeconds(wire, 16, h200.links)).toBeCloseTo(inHost + (2 * 16e6 * (1 / 2)) / 8 / 50e9, 9);
  expect(exchangeSeconds({ bytes: 0, oneShot: 0 }, 1, h200.links)).toBe(0);
});

test("layouts: every mesh of the cards, the largest batch that fits to a sequence, and none where weights do not", () => {
  const small = { ...h200, memory: 1_200_000 };
  const found = layoutsOf((mesh) => plannedOf(spec, { ...asked, passes: "none", mesh }, standard), small, {
    cards: [1, 2],
    batch: 1,
    contexts: [16, 64],
  });
  expect(found.layouts.map((l) => l.words)).toEqual(["tp=1", "tp=2", "tp=2,ep=2"]);
  for (const { mesh, at: fits } of found.layouts)
    for (const { context, batch } of fits) {
      const memory = memoryOf(planned(`tp=${mesh.tp},ep=${mesh.ep}`), small);
      expect(memory({ batch: Math.max(1, batch), context }).fits).toBe(batch > 0);
      expect(memory({ batch: batch + 1, context }).fits).toBe(false);
    }
  expect(found.layouts[1].weights).toBeLessThan(found.layouts[0].weights);
  expect(found.layouts[1].at[0].batch).toBeGreaterThan(found.layouts[0].at[0].batch);
});

test("the command: a mesh, an artifact's own mesh, a device with links, and what is refused", async () => {
  writeFileSync(
    at("linked.json"),
    JSON.stringify({ name: "linked", bandwidth_gbs: 1000, memory_gb: 80, link_gbs: 100, tflops: { bf16: 100 } }),
  );
  interface Said {
    mesh: object;
    decode: { wire: { bytes: number; ms: number } };
  }
  const p = await json<Said>("plan", fixture, "--mesh", "tp=2", "--device", at("linked.json"), "--context", "16");
  expect(p.mesh).toEqual({ tp: 2, ep: 1 });
  expect(p.decode.wire.bytes).toBe(5 * 128);
  expect(p.decode.wire.ms).toBeCloseTo((5 * (2.6 + (128 / (100e9 * 0.715)) * 1e6)) / 1000, 9);
  expect(await refusal("plan", fixture, "--mesh", "tp=2", "--cards", "4", "--device", "h200")).toContain("only one of --mesh");
  expect(await refusal("plan", fixture, "--cards", "4,x", "--device", "h200")).toContain("--cards");
});
