// dsc export tvm: a library of an artifact's kernels, called by the ABI alone, with no libtvm_ffi; launches go to the stand-in for a
// GPU's driver, which has the driver's own name. On a GPU: npm run device -- --only tvm-library.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { argumentsOf, signatureOf } from "../../codegen/tvm/arguments.ts";
import { cSize } from "../../codegen/tvm/size.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { findCompiler } from "../../compiler/export/c-compiler.ts";
import { exportTvm } from "../../compiler/export/tvm.ts";
import { ceildiv } from "../../ir/size.ts";
import { Cuda } from "../../runtime/devices/cuda/index.ts";
import * as tvm from "../../runtime/tvm/index.ts";
import { dsc, refusal, root } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { Plain, type Given } from "./plain.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-library-"));
afterAll(() => rmSync(work, { recursive: true }));

test("sizes in C round as they do here", () => {
  expect(cSize({ op: "mul", of: [3, { op: "add", of: ["m", 1] }] })).toBe("3 * (m + 1)");
  expect(cSize(ceildiv({ op: "mul", of: [2, "m"] }, 128))).toBe("(2 * m + 128 - 1) / 128");
  expect(cSize({ op: "max", of: ["m", 2, "T"] })).toBe("dsc_max(dsc_max(m, 2), T)");
});

test("every kernel of R1 says of every operand how it lies in memory", () => {
  const { kernels } = compile(path.join(root, "examples/deepseek-r1"), { ...defaults, target: "cuda" }).manifest;
  const unknown = Object.values(kernels).flatMap((k) =>
    argumentsOf(k)
      .filter((a) => a.kind === "tensor" && !a.view)
      .map((a) => a.name),
  );
  // Tables of a step and the pages of a cache are nobody's operand.
  expect([...new Set(unknown)].toSorted()).toEqual(["cache", "pages", "positions", "sequence", "starts"]);
  expect(signatureOf("argmax", kernels.argmax_129280)).toBe("argmax(x: float32 [m, 129280], y: int32 [m] out, m: int)");
});

describe.skipIf(lacks("g++"))("a library of a fixture's printed kernels", () => {
  const [F32, BF16] = [[2, 32] as const, [4, 16] as const];
  let library = "";
  let driver = "";
  const made = compile(path.join(root, "test/fixtures/a02-v3-noq-nogroup"), { ...defaults, target: "cuda", natives: "none" });
  const { kernels } = made.manifest;
  const norm = Object.keys(kernels).find((n) => n.startsWith("rms_norm"))!;
  const { eps } = (JSON.parse(String(made.files.get("problems.json"))) as Record<string, { eps: number }>)[norm];
  const d = Number(kernels[norm].views!.x.shape[1]);

  beforeAll(async () => {
    driver = await buildDriver(work);
    const built = await buildKernels(made.manifest, made.files);
    const files = new Map([...made.files, ...Object.keys(kernels).map((n) => [`${n}.cubin`, built.compile(n)] as const)]);
    const manifest = {
      ...made.manifest,
      kernels: Object.fromEntries(Object.entries(kernels).map(([n, k]) => [n, { ...k, binary: `${n}.cubin` }])),
    };
    library = path.join(work, "kernels.so");
    const { bytes, kernels: names } = await exportTvm("OUT", { manifest, files }, [], () => {});
    expect(names).toEqual(Object.keys(kernels));
    expect(Buffer.from((await exportTvm("OUT", { manifest, files }, [], () => {})).bytes).equals(bytes)).toBe(true);
    writeFileSync(library, bytes);
  });

  test("launches give what dsc's own launcher gives, and wrong arguments are named", () => {
    const cuda = new Cuda(0, { libraries: [driver] });
    const rows = 3;
    const x = Float32Array.from({ length: rows * d }, (_, i) => Math.sin(i + 1));
    const gain = Float32Array.from({ length: d }, (_, i) => 1 + (i % 7) / 8);
    // Eighths are bf16 numbers.
    const bf16 = Uint16Array.from(new Uint32Array(gain.buffer), (bits) => bits >>> 16);
    const [atX, atGain, atY] = [x, bf16, x].map((data) => {
      const at = cuda.alloc(data.byteLength);
      cuda.upload(at, new Uint8Array(data.buffer));
      return at;
    });
    const plain = new Plain(library);
    const right: Given[] = [
      { at: atX, dtype: F32, shape: [rows, d] },
      { at: atGain, dtype: BF16, shape: [d] },
      { at: atY, dtype: F32, shape: [rows, d] },
      rows,
    ];
    expect(plain.call(norm, right)).toBeUndefined();
    const y = new Float32Array(cuda.download(atY, 4 * rows * d).buffer);
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * d, (r + 1) * d);
      const scale = 1 / Math.sqrt(row.reduce((n, v) => n + v * v, 0) / d + eps);
      for (let i = 0; i < d; i++) expect(y[r * d + i]).toBeCloseTo(row[i] * scale * gain[i], 4);
    }
    const first = (change: object): Given[] => [{ ...(right[0] as object), ...change } as Given, ...right.slice(1)];
    expect(plain.call(norm, right.slice(1))).toMatch(/^3 arguments were given, and it takes 4: rms_norm/);
    expect(plain.call(norm, [null, ...right.slice(1)])).toMatch(/^x has to be a tensor/);
    expect(plain.call(norm, first({ dtype: [2, 16] }))).toMatch(/^x has to be float32, and is float16/);
    expect(plain.call(norm, first({ dtype: [10, 8] }))).toMatch(
      /^x has to be float32, and is the type of 8 bits that DLPack numbers 10/,
    );
    expect(plain.call(norm, first({ device: 1 }))).toMatch(/^x has to lie on a CUDA device/);
    expect(plain.call(norm, first({ shape: [rows + 1, d] }))).toContain(
      `x has to be [${rows}, ${d}], and is [${rows + 1}, ${d}]`,
    );
    expect(plain.call(norm, [...right.slice(0, 3), -1])).toMatch(/^m is -1, and has to be from 0/);
    expect(plain.call(norm, [...right.slice(0, 3), null])).toMatch(/^m has to be an int/);
    expect(
      plain.call(norm, [{ at: atX, dtype: F32, shape: [0, d] }, right[1], { at: atY, dtype: F32, shape: [0, d] }, 0]),
    ).toBeUndefined();
  });

  test.skipIf(lacks("tvm-ffi"))("with libtvm_ffi errors have their kind, and functions their text", () => {
    const module = tvm.loadModule(library);
    let error: unknown;
    try {
      module.get(norm).call(1);
    } catch (e) {
      error = e;
    }
    expect(error).toMatchObject({ name: "TypeError" });
    expect(module.get(`_doc_${norm}`).call()).toContain(`${signatureOf(norm, kernels[norm])}\n\n${norm}: printed tile program`);
    expect(JSON.parse(String(module.get("dsc_kernels").call()))).toEqual(Object.keys(kernels));
  });

  test("without a C compiler, or with one that fails, it says so; kernels of the CPU and unknown ones are refused", async () => {
    expect(() => findCompiler({ CC: "/nonexistent/cc" })).toThrow(/DSC6032/);
    const out = path.join(work, "artifact");
    await dsc("compile", "test/fixtures/a02-v3-noq-nogroup", "-o", out);
    const so = path.join(work, "mine.so");
    expect(await refusal("export", "tvm", out, "-o", so)).toContain("WebAssembly");
    expect(await refusal("export", "tvm", "test/fixtures/a02-v3-noq-nogroup", "-o", so)).toContain("dsc compile");
    const gpu = path.join(work, "gpu");
    await dsc("compile", "test/fixtures/a02-v3-noq-nogroup", "--target", "cuda", "-o", gpu);
    expect(await refusal("export", "tvm", gpu, "-o", so, "--kernel", "rms_nrm")).toContain("DSC6004");
    expect(await refusal("export", "tvm", gpu, "-o", so, "--portable")).toContain("--portable");
    writeFileSync(so, "mine");
    expect(await refusal("export", "tvm", gpu, "-o", so)).toContain("no export of dsc");
    expect(readFileSync(so, "utf8")).toBe("mine");
  });
});
