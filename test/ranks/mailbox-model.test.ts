// Ranks that are devices of their own in one process, and meet by mailboxes: the whole way from weights to tokens over a stand-in for the
// driver whose streams go on by themselves, steps as graphs.
import path from "node:path";
import { expect, test } from "vitest";
import { largest } from "../../compiler/analysis/verify.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { CONTROL, STUCK } from "../../ir/system.ts";
import { parseMesh } from "../../ir/index.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { CudaMailbox, tagOf, tradeHere, tradeOver } from "../../runtime/devices/cuda/peer-mailbox.ts";
import { combine } from "../../runtime/ranks/combine.ts";
import type { Transport } from "../../runtime/ranks/transport.ts";
import { Model } from "../../runtime/model.ts";
import { lacks } from "../conditions.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { work } from "../run/cuda-device.ts";
import { answers, answersOf } from "./answers.ts";

const name = "a01-v3-yarn";
const fixture = path.resolve(import.meta.dirname, "../fixtures", name);

test.skipIf(lacks("g++"))(
  "two ranks by mailboxes say what one says, and what a kernel leaves of a wait in vain is told",
  async () => {
    const one = await answers(name);
    const { manifest, files } = compile(fixture, {
      ...defaults,
      target: "cuda",
      natives: "none",
      activations: "f32",
      mesh: parseMesh("tp=2"),
      stored: await storedIn(fixture),
    });
    const [driver, built] = await Promise.all([
      buildDriver(work, "libcuda-streams.so", { STREAMS: 1 }),
      buildKernels(manifest, files),
    ]);
    const trade = tradeHere(2);
    const transports: CudaMailbox[] = [];
    const rank = async (rank: number): Promise<Model<CudaDevice>> => {
      const device = await CudaDevice.open(manifest, built.files, {
        compile: built.compile,
        libraries: [driver],
        peers: async (cuda, system) =>
          (transports[rank] = await CudaMailbox.open(cuda, system, {
            rank,
            ranks: 2,
            trade: trade(rank),
            limitMs: 100_000,
            others: () => undefined,
          })),
      });
      return Model.open(manifest, device, { weights: fixture, rank });
    };
    const models = await Promise.all([rank(0), rank(1)]);
    const both = await Promise.all(models.map(answersOf));
    expect(both[1]).toEqual(both[0]);
    expect(both[0].ids).toEqual(one.ids);
    for (const [i, row] of both[0].logits.entries())
      expect(largest(Float64Array.from(row), Float64Array.from(one.logits[i])), `step ${i}`).toBeLessThan(2e-4);
    const some = { op: "all_reduce", dtype: "f32", outer: 1, inner: 4, words: "a sum" } as const;
    expect(() => transports[0].enqueue(some, [{ from: 0, to: 0 }], 12345)).toThrow(/one stream/);
    expect(() =>
      transports[0].enqueue({ ...some, op: "reduce_scatter" }, [{ from: 0, to: 0 }], models[0].device.cuda.stream),
    ).toThrow(/DSC5005/);
    expect(transports.map((t) => t.fault())).toEqual([undefined, undefined]);
    const { words } = transports[0] as unknown as { words: Int32Array };
    for (const [why, title] of [
      [STUCK.late, /DSC5612[^]*rank 0 waited 100 s for rank 1, which did not come[^]*exchange 5/],
      [STUCK.apart, /ranks 0 and 1 came to different exchanges/],
      [STUCK.stopped, /rank 0 stopped waiting for rank 1, which is gone/],
    ] as const) {
      for (const [at, value] of [
        [CONTROL.why, why],
        [CONTROL.peer, 1],
        [CONTROL.epoch, 5],
      ] as const)
        words[at] = value;
      expect(() => {
        throw transports[0].fault();
      }).toThrow(title);
    }
    transports[1].abort();
    expect((transports[1] as unknown as { words: Int32Array }).words[CONTROL.stop]).toBe(1);
    await Promise.all(models.map((m) => m.close()));
  },
);

test("ranks of several processes trade by the transport that they have: every one gets all, in rank order", async () => {
  const given: Uint8Array[][] = [];
  const waiting: (() => void)[] = [];
  const meet =
    (rank: number): Transport["meet"] =>
    async (meeting, _, operands, results) => {
      given[rank] = [...operands];
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (waiting.length === 3) for (const go of waiting) go();
      });
      combine(meeting, rank, given, results);
    };
  const bytes = [0, 1, 2].map((r) => Uint8Array.from({ length: 80 }, (_, i) => r * 80 + i));
  const all = await Promise.all(bytes.map((mine, r) => tradeOver({ ranks: 3, meet: meet(r) })(mine)));
  for (const got of all) expect(got.map((b) => [...b])).toEqual(bytes.map((b) => [...b]));
});

test("what is exchanged has a number from 1 to 255, another one for most other words", () => {
  const tags = Array.from({ length: 1000 }, (_, i) => tagOf(`all_reduce of 1 x ${i} f32`));
  expect(Math.min(...tags)).toBeGreaterThanOrEqual(1);
  expect(Math.max(...tags)).toBeLessThanOrEqual(255);
  expect(new Set(tags).size).toBeGreaterThan(200);
});
