// dsc export tvm of kernels in C: each called by the ABI alone, by dsc/tvm and by Python, has the bits of dsc's own launch, over memory that
// ends where the process may not read.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { argumentsOf, signatureOf, type Argument } from "../../codegen/tvm/arguments.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { exportTvm } from "../../compiler/export/tvm.ts";
import type { BufferView } from "../../ir/artifact.ts";
import { evaluate, type Dims } from "../../ir/size.ts";
import { NativeLibrary } from "../../runtime/devices/native/library.ts";
import * as tvm from "../../runtime/tvm/index.ts";
import { root } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";
import { guarded, type Guarded } from "./guarded.ts";
import { Plain, type Given } from "./plain.ts";

type Tensor = Extract<Argument, { kind: "tensor" }>;
const BYTES = { f32: 4, bf16: 2, e4m3: 1, i32: 4 } as const;
const CODES = { f32: [2, 32], bf16: [4, 16], e4m3: [10, 8], i32: [0, 32] } as const;

/** Elements from the first to the last. */
const reach = ({ shape, strides }: BufferView, dims: Dims): number =>
  1 + shape.reduce<number>((n, size, axis) => n + (evaluate(size, dims) - 1) * evaluate(strides[axis], dims), 0);

/** Finite values of every dtype. */
function fill({ bytes }: Guarded, dtype: Tensor["dtype"]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < bytes.length / BYTES[dtype]; i++) {
    const x = Math.sin(i * 1.7 + 1) * (1 + (i % 5));
    if (dtype === "f32") view.setFloat32(4 * i, x, true);
    else if (dtype === "bf16") view.setUint16(2 * i, new Uint32Array(Float32Array.of(x).buffer)[0] >>> 16, true);
    else if (dtype === "e4m3") view.setUint8(i, ((i * 37) % 0x7f) | (i % 2 ? 0x80 : 0));
  }
}

describe.skipIf(lacks("C compiler", "Linux"))("a library of a fixture's kernels in C", () => {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-host-library-"));
  afterAll(() => rmSync(work, { recursive: true }));
  // Little time for the compiler: both libraries are made alike.
  process.env.CFLAGS = "-O1";
  const file = path.join(work, "kernels.so");
  const made = compile(path.join(root, "test/fixtures/a07-v3-fp8"), { ...defaults, target: "c" });
  const { kernels } = made.manifest;
  // Indices have to be right, and are no random numbers.
  const able = Object.keys(kernels).filter((n) =>
    argumentsOf(kernels[n]).every(
      (a) => a.kind === "size" || (a.kind === "tensor" && a.view && (a.dtype !== "i32" || a.access === "out")),
    ),
  );
  let own: NativeLibrary;
  let plain: Plain;

  beforeAll(async () => {
    const { bytes, kernels: names, arch } = await exportTvm("OUT", made, [], () => {});
    expect([names, arch]).toEqual([Object.keys(kernels), made.manifest.cpu!.processor]);
    writeFileSync(file, bytes);
    const theirs = path.join(work, "library.so");
    writeFileSync(theirs, made.files.get("kernels/library.so")!);
    own = new NativeLibrary(theirs);
    plain = new Plain(file);
  });

  /** Runs a kernel by dsc's own launcher and by the export; gives the arguments as a file of cases has them. */
  function both(name: string, rows: number): object[] {
    const record = kernels[name];
    const dims = Object.fromEntries(record.dims.map((d) => [d, rows]));
    const cells = evaluate(record.cells!, dims);
    const scratch = guarded(record.scratchBytes! + 64);
    const cases: object[] = [];
    const given: Given[] = [];
    const outs: [Guarded, Guarded, string][] = [];
    const at: number[] = [];
    for (const a of argumentsOf(record)) {
      if (a.kind !== "tensor") {
        given.push(rows);
        cases.push({ size: rows });
        continue;
      }
      const [mine, theirs] = [0, 1].map(() => guarded(reach(a.view!, dims) * BYTES[a.dtype]));
      for (const g of [mine, theirs]) fill(g, a.dtype);
      at.push(mine.at);
      const [shape, strides] = [a.view!.shape, a.view!.strides].map((l) => l.map((s) => evaluate(s, dims)));
      given.push({ at: theirs.at, dtype: CODES[a.dtype], shape, strides, device: 1 });
      const to = path.join(work, `${name}.${a.name}`);
      writeFileSync(`${to}.in`, theirs.bytes);
      cases.push({ file: to, dtype: a.dtype, shape, strides, written: a.access !== "in" });
      if (a.access !== "in") outs.push([mine, theirs, to]);
    }
    const args = Float64Array.from([...at, ...record.dims.map(() => rows)]);
    const half = Math.floor(cells / 2);
    const aligned = Math.ceil(scratch.at / 64) * 64;
    for (const [from, to] of [
      [half, cells],
      [0, half],
    ])
      own.launcher(name)(args, 0, from, to, aligned);
    expect(plain.call(name, given)).toBeUndefined();
    for (const [mine, theirs, to] of outs) {
      expect(Buffer.compare(mine.bytes, theirs.bytes), `${name} of ${rows} rows`).toBe(0);
      writeFileSync(`${to}.out`, mine.bytes);
    }
    return cases;
  }

  test("every kernel over random operands has the bits of dsc's own launch", () => {
    expect(able.length).toBeGreaterThan(15);
    for (const name of able) for (const rows of [1, 5, 70]) both(name, rows);
  });

  test("wrong arguments are refused with the reason", () => {
    const norm = able.find((n) => kernels[n].family === "rms_norm" || n.startsWith("rms_norm"))!;
    const d = Number(kernels[norm].views!.x.shape[1]);
    const f32 = (...shape: number[]): Given => ({ at: guarded(4 * d).at, dtype: CODES.f32, shape, device: 1 });
    const gain: Given = { at: guarded(2 * d).at, dtype: [1, 16], shape: [d], device: 1 };
    expect(plain.call(norm, [f32(1, d), gain, f32(1, d), 1])).toBeUndefined();
    expect(plain.call(norm, [f32(1, d), gain, f32(1, d)])).toMatch(/^3 arguments were given, and it takes 4: rms_norm/);
    expect(plain.call(norm, [f32(1, d), f32(d), f32(1, d), 1])).toMatch(/^gain has to be bfloat16, and is float32/);
    expect(plain.call(norm, [f32(2, d), gain, f32(1, d), 1])).toContain(`x has to be [1, ${d}], and is [2, ${d}]`);
    const far: Given = { ...(f32(1, d) as object), device: 2 } as Given;
    expect(plain.call(norm, [far, gain, f32(1, d), 1])).toMatch(/^x has to lie in host memory/);
  });

  test.skipIf(lacks("tvm-ffi"))("dsc/tvm calls it and raises what it raises", () => {
    const module = tvm.loadModule(file);
    const tensor = (values: number[]): tvm.Tensor => new tvm.Tensor(Float32Array.from(values), [values.length], "float32");
    const y = new Float32Array(3);
    module.get("add").call(tensor([1, 2, 3]), tensor([0.5, 0.25, 4]), new tvm.Tensor(y, [3], "float32"), 3);
    expect([...y]).toEqual([1.5, 2.25, 7]);
    expect(() => module.get("add").call(1)).toThrow(expect.objectContaining({ name: "TypeError" }));
    expect(module.get("_doc_add").call()).toContain(`${signatureOf("add", kernels.add)}\n\nSum`);
    expect(JSON.parse(String(module.get("dsc_kernels").call()))).toEqual(Object.keys(kernels));
  });

  test.skipIf(lacks("tvm-ffi of Python"))("Python calls it over numpy's arrays", () => {
    const cases = able.map((name) => ({ name, args: both(name, 5) }));
    writeFileSync(path.join(work, "cases.json"), JSON.stringify({ library: file, cases }));
    const script = path.join(import.meta.dirname, "host_library.py");
    const ran = spawnSync(process.env.DSC_PYTHON ?? "python3", [script, path.join(work, "cases.json")], { encoding: "utf8" });
    expect(ran.status, ran.stderr.slice(-2000)).toBe(0);
    const lines = ran.stdout
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l) as { kernel: string; equal: boolean; wrong: string[]; doc: string });
    expect(lines.map((l) => [l.kernel, l.equal])).toEqual(able.map((n) => [n, true]));
    for (const { kernel, wrong, doc } of lines) {
      expect(doc).toContain(signatureOf(kernel, kernels[kernel]));
      expect(wrong[0]).toMatch(/^TypeError: \d arguments were given/);
      expect(wrong[1]).toMatch(/^TypeError: \w+ has to be \w+, and is float64/);
      expect(wrong[2]).toMatch(/^TypeError: \w+ has to be a tensor/);
    }
  });
});
