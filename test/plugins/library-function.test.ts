// Functions of other libraries in the place of kernels: the worked example on the CPU and on the stand-in for a GPU's driver, what TVM
// compiled, and every way in which a binding can be wrong.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { targetOf } from "../../codegen/target.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { noBrings } from "../../compiler/plugin/brings.ts";
import { loadPlugins, type Loaded } from "../../compiler/driver/plugins.ts";
import { DiagnosticError, render } from "../../ir/index.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { lengthFree } from "../../runtime/devices/cuda/length-free.ts";
import { generate, load } from "../../runtime/index.ts";
import { Model } from "../../runtime/model.ts";
import { findTvm } from "../../runtime/tvm/find.ts";
import { lacks } from "../conditions.ts";
import { distances } from "../device/distances.ts";
import { readTensors } from "../interpreted.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { compiled, ffiFlags, python } from "../tvm/build.ts";

const root = path.resolve(import.meta.dirname, "../..");
const work = mkdtempSync(path.join(tmpdir(), "dsc-library-function-"));
afterAll(() => rmSync(work, { recursive: true }));
const fixture = path.join(root, "test/fixtures/a02-v3-noq-nogroup");
const example = readFileSync(path.join(root, "examples/plugins/library/rms-norm.ts"), "utf8");

let files = 0;
/** The example, spoiled. */
function plugin(...changes: readonly (readonly [from: string, to: string])[]): string {
  let text = example;
  for (const [from, to] of changes) {
    expect(text).toContain(from);
    text = text.replace(from, () => to);
  }
  const file = path.join(work, `plugin-${files++}.ts`);
  writeFileSync(file, text);
  return file;
}
const loaded = (file: string): Promise<Loaded> => loadPlugins(undefined, [file], { config: false });

/** What is said of a plug-in that is refused. */
async function refusal(...changes: readonly (readonly [from: string, to: string])[]): Promise<string> {
  try {
    await loaded(plugin(...changes));
  } catch (e) {
    if (e instanceof DiagnosticError) return e.diagnostics.map(render).join("\n");
    throw e;
  }
  return "accepted";
}

const LINE = /--> \S*plugin-\d+\.ts:6:1\n[^]*const rmsNorm = libraryFunction\(\{/;

test("a library that is not there is refused at the line that declares it", async () => {
  const said = await refusal(["./rms-norm.so", "./nothing.so"]);
  expect(said).toMatch(/^error\[DSC3114\]: .*function rms_norm_library cannot be called in \.\/nothing\.so/);
  expect(said).toMatch(/there is no file \S+nothing\.so/);
  expect(said).toMatch(LINE);
});

describe.skipIf(lacks("tvm-ffi", "g++"))("a function of a library", () => {
  const options = async (brings: Loaded["brings"], more: Partial<CompileOptions>): Promise<CompileOptions> => ({
    ...defaults,
    brings,
    stored: await storedIn(fixture),
    ...more,
  });

  beforeAll(() => {
    const source = "../../examples/plugins/library/rms-norm.cpp";
    copyFileSync(compiled(work, "g++", source, "-O1", ...ffiFlags()), path.join(work, "rms-norm.so"));
    copyFileSync(compiled(work, "g++", "on-stream.cpp", "-O1", ...ffiFlags()), path.join(work, "on-stream.so"));
  });

  test("runs in the place of a kernel, on memory as it lies, and the model says the same", async () => {
    const file = plugin();
    const { pipeline, brings } = await loaded(file);
    expect(brings.held).toMatchObject([{ what: "function rms_norm_library", says: "held to its op at 9 trials on the CPU" }]);
    const { manifest, files: texts } = compile(fixture, await options(brings, {}), pipeline);
    const called = Object.values(manifest.kernels).filter((k) => k.call);
    expect(called.length).toBeGreaterThan(0);
    expect(String(texts.get(called[0].text))).toMatch(
      /calls __tvm_ffi_rms_norm of \S+rms-norm\.so\nsha256 [0-9a-f]{64}\nrms_norm\(/,
    );
    const out = path.join(work, "out");
    writeArtifact({ manifest, files: texts }, out);
    const ids = async (folder: string): Promise<number[]> => {
      const model = await load(folder, { weights: fixture, threads: 2 });
      const given: number[] = [];
      for await (const step of generate(model, [[1, 2, 3, 4, 5]], { maxNew: 6 })) given.push(...step.ids[0]);
      await model.close();
      return given;
    };
    const plain = path.join(work, "plain");
    writeArtifact(compile(fixture, await options(noBrings, {})), plain);
    expect(await ids(out)).toEqual(await ids(plain));
    expect(() => targetOf("c", { activations: "f32", kernels: brings.kernels })).toThrow(/DSC4142.*rms_norm_library/s);
    // The artifact names the library by its digest, and holds none.
    writeFileSync(
      path.join(work, "rms-norm.so"),
      Buffer.concat([readFileSync(path.join(work, "rms-norm.so")), Buffer.from("\n")]),
    );
    await expect(load(out, { weights: fixture })).rejects.toThrow(/DSC5045.*rms-norm\.so.*its sha256 is/s);
  });

  test("is refused for a wrong name, signature or answer, for writing beside and for ending the process", async () => {
    const library: [string, string] = ["./rms-norm.so", "./on-stream.so"];
    const named = (name: string): [string, string] => ['function: "rms_norm"', `function: "${name}"`];
    for (const [changes, says] of [
      [[named("rms")], /DSC3114[^]*has no function rms\b/],
      [[["{ float: num(attrs.eps) }", '{ text: "small" }']], /DSC3111[^]*raised TypeError[^]*float/],
      [[["{ out: 0 }, ", ""]], /DSC3111[^]*raised TypeError/],
      [[["{ float: num(attrs.eps) }", "{ float: 100 }"]], /DSC3111[^]*element \d+ of out is .* and its op says/],
      [[library, named("beside")], /DSC3111[^]*it writes past the end of out/],
      [[library, named("crash")], /DSC3111[^]*it ended the process by SIG/],
      [[library, named("on_stream")], /DSC3111[^]*raised ValueError: it is not on a CUDA device/],
    ] as const) {
      const said = await refusal(...changes);
      expect(said).toMatch(says);
      expect(said).toMatch(LINE);
    }
    expect(await refusal(["{ sizes: { d: 1 }, rest: [1], optional", "{ sizes: { d: 1 }, rest: [1, 1], optional"])).toMatch(
      /DSC3111[^]*it does not take its own case: x has more axes than two/,
    );
  });

  test("of a CUDA library gets device pointers and the current stream, and no graph unless it can be recorded", async () => {
    const changes: [string, string][] = [
      ['on: "cpu"', 'on: "cuda"'],
      ["./rms-norm.so", "./on-stream.so"],
      ['function: "rms_norm"', 'function: "on_stream"'],
    ];
    const { pipeline, brings } = await loaded(plugin(...changes));
    expect(brings.held).toMatchObject([{ proved: false, only: "cuda" }]);
    const cuda = { target: "cuda", activations: "f32", natives: "none", taps: true } as const;
    const { manifest, files: texts } = compile(fixture, await options(brings, cuda), pipeline);
    expect(Object.values(manifest.kernels).some((k) => k.call)).toBe(true);
    const recordable = structuredClone(manifest);
    for (const k of Object.values(recordable.kernels)) if (k.call) k.call.capture = true;
    const graphs = Object.keys(manifest.functions).filter((f) => lengthFree(recordable, f) && !lengthFree(manifest, f));
    expect(graphs.length).toBeGreaterThan(0);
    const [driver, { files: kernels, compile: image }] = await Promise.all([buildDriver(work), buildKernels(manifest, texts)]);
    const device = await CudaDevice.open(manifest, kernels, { compile: image, libraries: [driver] });
    const model = await Model.open(manifest, device, { weights: fixture });
    const expected = readTensors(path.join(fixture, "expected.safetensors"));
    const { prefill, decode, ids } = await distances(model, expected);
    await model.close();
    expect(Math.max(prefill, decode)).toBeLessThan(2e-4);
    expect(ids).toEqual([...expected.get("greedy_ids")!.data]);
  });
});

test.skipIf(lacks("tvm-ffi", "TVM"))("what TVM compiled serves an op, with its runtime opened before", async () => {
  python(
    `
import sys, tvm
from tvm import te
n, d = te.var("n"), te.var("d")
x = te.placeholder((n, d), name="x")
y = te.compute((n, d), lambda i, j: x[i, j] * tvm.tirx.const(2.0, "float32") + tvm.tirx.const(1.0, "float32"), name="y")
f = te.create_prim_func([x, y]).with_attr("global_symbol", "affine")
tvm.compile(tvm.IRModule({"affine": f}), target="llvm").export_library(sys.argv[1])
`,
    path.join(work, "affine.so"),
  );
  const text = (by: number, packed: boolean): string => `
import { isPacked, libraryFunction, refuse } from "dsc/codegen";
import { op } from "dsc/ir";
import { plugin } from "dsc/plugin";
const affine = op("affine", { summary: "2 x + 1", ins: { x: "[..b, d] f32" }, out: "[..b, d] f32", reference: ({ x }) => ({ ...x, data: x.data.map((v) => ${by} * v + 1) }) });
const theirs = libraryFunction({
  name: "affine_tvm", serves: ["affine"], on: "cpu", library: "./affine.so", function: "affine", align: 64,
  before: ${JSON.stringify(findTvm()!.libraries)},
  pass: ({ ins }) => (isPacked(ins[0]) || ${packed} ? [{ in: 0 }, { out: 0 }] : refuse("its rows lie apart")),
  cases: [{ sizes: { d: 7 }, rest: [3] }, { sizes: { d: 64 }, rest: [1] }],
});
export default plugin({ name: "affine", ops: [affine], functions: [theirs] });`;
  const plugin = (by: number, packed = false): string => {
    const file = path.join(work, `affine-${files++}.ts`);
    writeFileSync(file, text(by, packed));
    return file;
  };
  expect((await loaded(plugin(2))).brings.held.map((h) => h.says).join()).toMatch(/held to its op at \d trials on the CPU/);
  await expect(loaded(plugin(3))).rejects.toThrow(/DSC3111.*element \d+ of out is .* and its op says/s);
  // Its own check of strides says what it does not take.
  await expect(loaded(plugin(2, true))).rejects.toThrow(/DSC3111.*it raised \w+Error: .*strides/s);
});
