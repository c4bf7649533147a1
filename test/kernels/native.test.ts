// What nvcc makes of our kernels for sm_90a: native ones must neither spill nor have their warpgroup products made serial, and
// their machine code must hold the instructions they were written for; printed ones of DeepSeek-R1 must compile without a word.
import path from "node:path";
import { expect, test } from "vitest";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { mlaDecode } from "../../codegen/cuda/sm90/attention/mla-decode.ts";
import { printCuda } from "../../codegen/cuda/printed/print.ts";
import { candidates } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { compileCuda } from "../../runtime/devices/cuda/compiler.ts";
import { kernelsOfModel } from "./compiled.ts";
import { build, disassemble, findCuobjdump, hasNvcc, inTwo, readPtxas } from "./nvcc.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { products, decodes, prefill, emitters } from "./native-cases.ts";

const cuobjdump = hasNvcc ? findCuobjdump() : undefined;
/** Registers of one multiprocessor, all that a block can have. */
const REGISTERS = 65536;

test.skipIf(lacks("nvcc")).each(emitters)("%s: no spills, no serial products", async (_, emit, instructions) => {
  const kernels = emit();
  const built = await build(inTwo(kernels.map((k) => k.source)));
  expect(built.complaints).toEqual([]);
  expect([...built.reports.keys()].toSorted()).toEqual(kernels.map((k) => k.name).toSorted());
  for (const k of kernels) {
    const report = built.reports.get(k.name)!;
    expect(report, k.name).toMatchObject({ stackBytes: 0, spillBytes: 0 });
    expect(report.registers * k.launch.block, `registers of a block of ${k.name}`).toBeLessThanOrEqual(REGISTERS);
  }
  if (!cuobjdump) return;
  const code = new Map([...built.cubins.values()].flatMap((c) => [...disassemble(cuobjdump, c)]));
  for (const k of kernels) for (const i of instructions) expect(code.get(k.name)?.includes(i), `${i} in ${k.name}`).toBe(true);
});

test.skipIf(lacks("nvcc", "cuobjdump"))(
  "einsums fetch their weights before they wait for the kernel before: the assembler leaves the order alone",
  async () => {
    const families = emitters.filter(([family]) => family === "bmm_rows" || family === "mla_query").map(([, emit]) => emit());
    const kernels = families.flat();
    const code = new Map<string, string>();
    for (const of of families)
      for (const c of (await build(inTwo(of.map((k) => k.source)))).cubins.values())
        for (const [name, text] of disassemble(cuobjdump!, c)) code.set(name, text);
    for (const k of kernels) {
      const lines = code.get(k.name)!.split("\n");
      const wait = lines.findIndex((l) => l.includes("ACQBULK"));
      const weights = lines.flatMap((l, i) => (l.includes(".LTC256B.") ? [i] : []));
      expect(weights.length, k.name).toBeGreaterThan(0);
      expect(
        weights.filter((i) => i > wait),
        `loads of weights behind the wait in ${k.name}`,
      ).toEqual([]);
    }
  },
);

test.skipIf(lacks("nvcc"))("NVRTC, which knows no headers, takes the same text where it is installed", () => {
  for (const k of [mlaDecode(decodes[0], h200), prefill(128), blockGemm(products[0], candidates[0], h200)])
    expect(compileCuda(k.name, k.source, h200.arch, "nvrtc").length).toBeGreaterThan(0);
});

test.skipIf(lacks("nvcc"))("the check sees products that are waited for too often", async () => {
  // Sums read before the wait: ptxas has to add waits of its own.
  const { source } = blockGemm(
    products[0],
    candidates.find((s) => s.form === "persistent")!,
    h200,
  );
  const hasty = source.replaceAll("else wgmma_wait_group<0>(part[i & 1]);", "");
  expect(hasty).not.toBe(source);
  expect((await build(new Map([["hasty", hasty]]))).complaints.join("\n")).toMatch(/\(C75\d\d\)/);
});

test("the check sees a spill", () => {
  const words = [
    "ptxas info    : Compiling entry function 'k' for 'sm_90a'",
    "ptxas info    : Function properties for k",
    "    40 bytes stack frame, 32 bytes spill stores, 28 bytes spill loads",
    "ptxas info    : Used 168 registers, used 1 barriers, 40 bytes cumulative stack size",
  ];
  expect(readPtxas(words.join("\n")).reports.get("k")).toEqual({ registers: 168, stackBytes: 40, spillBytes: 60 });
});

const r1 = path.resolve(import.meta.dirname, "../../examples/deepseek-r1");

/** Bytes a thread of a printed kernel may spill: they are the correct path, not the fast one, but should not live on the stack. */
const SPILLED = 64;

test.skipIf(lacks("nvcc"))("every kernel of DeepSeek-R1 compiles as printed CUDA", async () => {
  const kernels = kernelsOfModel(r1, "cuda").map((k) => printCuda(k, h200));
  const built = await build(inTwo(kernels.map((k) => k.source)));
  expect(built.complaints).toEqual([]);
  expect([...built.reports.keys()].toSorted()).toEqual(kernels.map((k) => k.name).toSorted());
  for (const k of kernels) {
    const report = built.reports.get(k.name)!;
    expect(report.spillBytes, `bytes that ${k.name} spills`).toBeLessThanOrEqual(SPILLED);
    expect(report.registers * k.launch.block, `registers of a block of ${k.name}`).toBeLessThanOrEqual(REGISTERS);
  }
  if (!cuobjdump) return;
  // Compilers may move a load of read-only memory up, past a wait they do not understand; the kernel before may still write it.
  for (const c of built.cubins.values())
    for (const [name, text] of disassemble(cuobjdump, c)) {
      expect(text, name).toContain("ACQBULK");
      expect(/\bLDG?\b/.test(text.slice(0, text.indexOf("ACQBULK"))), `${name} reads before it waits`).toBe(false);
    }
});
