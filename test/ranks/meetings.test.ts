// What ranks in lockstep on one GPU do where they meet, over the stand-in for the driver, against combine.ts: every op and dtype, sizes
// that fill no block, rows whose largest value is there twice, rows with a value that is no number.
import { expect, test } from "vitest";
import { systemTexts } from "../../codegen/cuda/system/index.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import type { CollectiveStep, KernelRecord } from "../../ir/artifact.ts";
import { rankKernels, type SystemKernel } from "../../ir/system.ts";
import { Cuda, type CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { CudaLockstep } from "../../runtime/devices/cuda/lockstep.ts";
import { Meetings } from "../../runtime/devices/cuda/meetings.ts";
import { Memory } from "../../runtime/devices/cuda/memory.ts";
import { RankMemory } from "../../runtime/devices/cuda/rank-memory.ts";
import { value } from "../../runtime/plan/pointer.ts";
import type { Meeting } from "../../runtime/plan/walk.ts";
import { combine } from "../../runtime/ranks/combine.ts";
import { operandsOf } from "../../runtime/ranks/operands.ts";
import { lacks } from "../conditions.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { Random } from "../fuzz/random.ts";
import { work } from "../run/cuda-device.ts";

const texts = systemTexts(512, h200, true).filter((t) => t.name in rankKernels);

async function opened(): Promise<{ cuda: Cuda; kernel: (name: SystemKernel) => CudaKernel }> {
  const system = Object.fromEntries(
    texts.map(({ name, params, dims, launch }): [string, KernelRecord] => [
      name,
      { text: name, entry: name, family: "system", params, dims, launch },
    ]),
  );
  const files = new Map(texts.map((t) => [t.name, t.source]));
  const [driver, { compile }] = await Promise.all([buildDriver(work), buildKernels({ kernels: {}, system }, files)]);
  const cuda = new Cuda(0, { libraries: [driver] });
  const kernel = (name: SystemKernel): CudaKernel =>
    cuda.loadCubin(
      compile(name),
      texts.find((t) => t.name === name)!,
    );
  return { cuda, kernel };
}

const sizes = { f32: 4, bf16: 2, i32: 4 } as const;
const cases: Pick<CollectiveStep, "op" | "dtype" | "experts" | "width">[] = [
  { op: "all_reduce", dtype: "f32" },
  { op: "all_reduce", dtype: "bf16" },
  { op: "all_gather", dtype: "f32" },
  { op: "all_gather", dtype: "bf16" },
  { op: "reduce_scatter", dtype: "f32" },
  { op: "reduce_scatter", dtype: "bf16" },
  { op: "once", dtype: "bf16" },
  { op: "pick_max", dtype: "f32" },
  { op: "own_experts", dtype: "i32", experts: 8, width: 2 },
];

test.skipIf(lacks("g++"))("every meeting gives each rank the bits that the host would", async () => {
  const { cuda, kernel } = await opened();
  const random = new Random(7);
  for (const n of [2, 4, 8]) {
    const memory = new RankMemory(new Memory(cuda.driver), n);
    const lockstep = new CudaLockstep(n, {
      all_reduce: kernel("dsc_all_reduce"),
      all_gather: kernel("dsc_all_gather"),
      reduce_scatter: kernel("dsc_reduce_scatter"),
    });
    const kernels = { own: kernel("dsc_own_experts"), rankMax: kernel("dsc_rank_max"), pickMax: kernel("dsc_pick_max") };
    const on = { driver: cuda.driver, stream: cuda.stream, memory };
    const meetings = new Meetings(lockstep, { tp: n, ep: 1 }, on, kernels);
    for (const some of cases)
      for (const [outer, inner] of [
        [1, 1],
        [3, 37],
        [5, 300],
      ] as const) {
        const step: CollectiveStep = { kind: "collective", args: [], outer, inner, site: "test", ...some };
        const operands = operandsOf(step, outer, inner, n);
        const at = operands.map((o) => memory.allocate(o.elements * sizes[o.dtype], "an operand"));
        const buffers = Array.from({ length: n }, () => operands.map((o) => filled(o, step, random)));
        for (const [i, o] of operands.entries())
          for (let r = 0; r < n; r++) if (!o.written) cuda.upload(memory.of(at[i], r), buffers[r][i]);
        const met = buffers.map((_, r): Meeting => ({
          kind: "meeting",
          step,
          outer,
          inner,
          pointers: at.map((a, i) => value(memory.of(a, r), operands[i].elements * sizes[operands[i].dtype])),
          function: "f",
          layer: undefined,
        }));
        meetings.enqueue(met);
        const given = buffers.map((b) => b.filter((_, i) => !operands[i].written));
        for (let r = 0; r < n; r++) {
          const results = operands.filter((o) => o.written).map((o) => new Uint8Array(o.elements * sizes[o.dtype]));
          combine({ step, outer, inner }, r, given, results);
          const found = operands.flatMap((o, i) =>
            o.written ? [cuda.download(memory.of(at[i], r), o.elements * sizes[o.dtype])] : [],
          );
          expect(found, `${step.op} ${step.dtype} ${outer} x ${inner}, rank ${r} of ${n}`).toEqual(results);
        }
        at.forEach((a) => memory.release(a));
      }
    expect(() => meetings.enqueue([undefined, ...Array<undefined>(n - 2).fill(undefined), oneMeeting])).toThrow(/DSC5081/);
    memory.close();
  }
  cuda.close();
});

const oneMeeting: Meeting = {
  kind: "meeting",
  step: { kind: "collective", op: "all_reduce", dtype: "f32", args: [], outer: 1, inner: 1, site: "test" },
  pointers: [],
  outer: 1,
  inner: 1,
  function: "f",
  layer: undefined,
};

/** Values of an operand: few different ones for the largest of a row, now and then none that is a number. */
function filled(
  { elements, dtype }: { elements: number; dtype: "f32" | "bf16" | "i32" },
  { op }: Pick<CollectiveStep, "op">,
  random: Random,
): Uint8Array {
  if (dtype === "i32") return new Uint8Array(Int32Array.from({ length: elements }, () => Math.floor(random.next() * 16)).buffer);
  const plain = (): number => (op === "pick_max" ? Math.floor(random.next() * 6) - 3 : random.next() * 4 - 2);
  const values = Float32Array.from({ length: elements }, () => (op === "pick_max" && random.chance(0.002) ? NaN : plain()));
  if (dtype === "f32") return new Uint8Array(values.buffer);
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);
}

test("the distance of ranks is that of their blocks", () => {
  let next = 1 << 20;
  const memory = new RankMemory(
    { allocate: (bytes: number) => (next += bytes) - bytes, release: () => {}, available: () => 800, close: () => {} } as never,
    4,
  );
  const [small, large] = [memory.allocate(10, "a"), memory.allocate(1000, "b")];
  expect(memory.all(small + 9)).toEqual([0, 1, 2, 3].map((r) => small + 9 + 256 * r));
  expect(memory.all(large + 999)).toEqual([0, 1, 2, 3].map((r) => large + 999 + 1024 * r));
  expect(memory.available()).toBe(200);
  memory.release(small);
  expect(() => memory.of(small, 1)).toThrow(/lies in no block/);
});
