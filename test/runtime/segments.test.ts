// Models in several segments: with segments so small that every path runs, bits equal those of one memory. Layers apart, a layer over
// several segments, expert loops, the extra prediction layer, load functions, growing caches and two sessions are among them.
import fc from "fast-check";
import { expect, test } from "vitest";
import { cacheArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { load, readArtifact } from "../../runtime/index.ts";
import { Coherence } from "../../runtime/devices/coherence.ts";
import { CpuDevice } from "../../runtime/devices/cpu.ts";
import { Router, type Copy, type Use } from "../../runtime/devices/router.ts";
import { MEMORY_BYTES, Segments, offsetOf, segmentOf } from "../../runtime/devices/segments.ts";
import { instanceBytes, residentBytes } from "../../runtime/weights.ts";
import { lacks } from "../conditions.ts";

const ids = [5, 9, 33, 7, 20, 12, 41];

/** Logits and ids of a ragged batch through every entry. */
async function answers(folder: string, weights: string, segmentBytes?: number): Promise<{ segments: number; bits: number[] }> {
  const model = await load(folder, { weights, threads: 2, ...(segmentBytes === undefined ? {} : { segmentBytes }) });
  try {
    const [session, other] = [model.session({ maxTokens: 200 }), model.session({ maxTokens: 80 })];
    const bits: number[] = [];
    let r = await session.prefill([ids, ids.slice(2)]);
    for (let step = 0; step < 3; step++) {
      const next = [r.next(0), r.next(1)];
      bits.push(...next, ...r.logits(0));
      r = await session.decode(next);
    }
    bits.push(...(await other.prefill([ids])).logits(0));
    // Past a page: the cache grows, and moves.
    const long = Array.from({ length: 70 }, (_, i) => (i * 7) % 40);
    bits.push(...(await session.extend([long, [7, 8]])).logits(0));
    const hidden = new Float32Array(ids.length * model.manifest.model.hidden).map((_, i) => Math.sin(i));
    if (session.drafts) bits.push(...(await session.draft([ids, []], hidden)).logits(0));
    return { segments: (model.device as CpuDevice).segments.count, bits };
  } finally {
    await model.close();
  }
}

test.each([
  ["examples/tiny-r1", "all", [2, 20]],
  ["examples/tiny-r1", "none", [2, 20]],
  ["test/fixtures/a02-v3-noq-nogroup", "all", [2]],
  ["test/fixtures/a02-v3-noq-nogroup", "none", [2]],
])("%s, passes %s", async (source, passes, wanted) => {
  const folder = cacheArtifact(compile(source, { ...defaults, passes }));
  const one = await answers(folder, source);
  expect(one.segments).toBe(1);
  const { manifest } = await readArtifact(folder);
  const largest = Math.max(...Object.values(manifest.weights).map((w) => (w.source.kind === "rope" ? 0 : instanceBytes(w))));
  for (const n of wanted) {
    // The first size cuts between layers; the second holds hardly more than one weight, so that launches of a layer run apart.
    const many = await answers(folder, source, n === 2 ? Math.ceil(residentBytes(manifest) * 0.6) : Math.ceil(largest * 1.1));
    expect(many.segments).toBeGreaterThanOrEqual(n);
    expect(many.bits).toEqual(one.bits);
  }
});

// On a machine that could not hold it anyway, that is what is said instead.
test.skipIf(lacks("6 GB"))("a weight that no memory holds is refused before anything is loaded", async () => {
  const { manifest } = await readArtifact(cacheArtifact(compile("examples/tiny-r1", defaults)));
  const [symbol, plan] = Object.entries(manifest.weights).find(([, w]) => w.source.kind === "checkpoint")!;
  const large = {
    ...manifest,
    weights: { ...manifest.weights, [symbol]: { ...plan, dtype: "bf16" as const, shape: [2 ** 16, 2 ** 15 + 64] } },
  };
  await expect(CpuDevice.open(large, [])).rejects.toThrow(/DSC5030.*weight/s);
});

test("what a launch writes in part is brought to where it runs: the other part was made elsewhere", () => {
  const s = new Segments({ fill: 1 << 20, scratch: 1024, added: () => {} });
  s.together(900_000);
  const a = s.allocate(900_000, "a");
  s.together(900_000);
  const b = s.allocate(900_000, "b");
  expect([a, b].map(segmentOf)).toEqual([0, 1]);
  const v = s.allocate(256, "value");
  const copies: Copy[] = [];
  const router = new Router(s, (c) => copies.push(c));
  const weight = (at: number): Use => ({ operand: { kind: "weight", from: at, to: at }, written: false });
  const halves: Use = { operand: { kind: "value", from: v, to: v + 256 }, written: true };
  expect(router.enter([weight(a), halves])).toBe(0);
  expect(copies).toEqual([]);
  expect(router.enter([weight(b), halves])).toBe(1);
  expect(copies).toEqual([[0, offsetOf(v), 1, offsetOf(s.mirror(v, 1)), 256]]);
  router.home(v, v + 256);
  expect(copies.slice(1)).toEqual([[1, offsetOf(s.mirror(v, 1)), 0, offsetOf(v), 256]]);
});

test("blocks used together lie together, others where there is room", () => {
  const seen: number[] = [];
  const s = new Segments({ fill: 1 << 20, scratch: 1024, added: (i) => seen.push(i) });
  s.together(900_000);
  const [a, b] = [s.allocate(500_000, "a"), s.allocate(400_000, "b")];
  s.together(600_000);
  const [c, d] = [s.allocate(300_000, "c"), s.allocate(300_000, "d")];
  expect([a, b, c, d].map(segmentOf)).toEqual([0, 0, 1, 1]);
  expect(seen).toEqual([1]);
  expect(segmentOf(s.allocate(2_000_000, "values"))).toBe(0);
  expect(segmentOf(s.allocate(2_000_000, "a cache", c))).toBe(1);
  expect(() => s.allocate(MEMORY_BYTES, "too much")).toThrow(/DSC5030/);
  // A replica is a copy until the block is written, and goes with it.
  s.bytes(a, 4).set([1, 2, 3, 4]);
  expect([...s.bytes(s.replica(a + 1, 1), 2)]).toEqual([2, 3]);
  s.write(a, Uint8Array.of(9, 8));
  expect([...s.bytes(s.replica(a, 1), 3)]).toEqual([9, 8, 3]);
  const room = s.replica(a, 1);
  s.release(a);
  expect(s.allocate(400_000, "again", c)).toBe(room);
});

test("copies bring every byte that was written elsewhere, and none twice", () => {
  const step = fc.record({ write: fc.boolean(), from: fc.nat(30), bytes: fc.integer({ min: 1, max: 12 }), segment: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const coherence = new Coherence();
      // What each segment holds of 42 bytes, and what the program means.
      const held = Array.from({ length: 4 }, () => Array.from({ length: 42 }, () => -1));
      const truth = Array.from({ length: 42 }, () => -1);
      for (const [i, { write, from, bytes, segment }] of steps.entries()) {
        for (const m of coherence.need(from, from + bytes, segment))
          for (let b = m.from; b < m.to; b++) {
            expect(held[segment][b]).not.toBe(truth[b]);
            held[segment][b] = held[m.source][b];
          }
        for (let b = from; b < from + bytes; b++) if (truth[b] !== -1) expect(held[segment][b]).toBe(truth[b]);
        if (write) {
          coherence.wrote(from, from + bytes, segment);
          for (let b = from; b < from + bytes; b++) held[segment][b] = truth[b] = i;
        }
      }
    }),
  );
});
