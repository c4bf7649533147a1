// dsc export relax: fixtures built by TVM's own pipeline and run in its virtual machine, by Python and, as a library, from Node; and what
// is said of what Relax cannot say.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { exportRelax } from "../../compiler/export/relax.ts";
import { graphOfConfig } from "../../compiler/export/graph.ts";
import * as tvm from "../../runtime/tvm/index.ts";
import { dsc, refusal } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";
import { fixtures, readTensors } from "../interpreted.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-relax-"));
afterAll(() => rmSync(work, { recursive: true }));
const fixture = (name: string): string => fixtures.find((f) => f.includes(name))!;

function written(src: string, set: readonly string[] = []): string {
  const options = { after: "frontend", activations: "f32", actQuant: "none", set, stored: undefined, passOptions: {} } as const;
  return exportRelax(graphOfConfig(src, options, [])).text;
}

test("what Relax cannot say is named, and so is what no pass can have done", async () => {
  const out = path.join(work, "model.py");
  const { stdout } = await dsc("export", "relax", fixture("a06"), "-o", out);
  expect(stdout).toMatch(/^\S+model\.py: \S+ kB, \d+ bindings, \d+ weights, computed in float32\n/);
  expect(readFileSync(out, "utf8")).toMatch(
    /^"""Written by dsc export relax[^]*@I\.ir_module[^]*R\.nn\.rms_norm[^]*WEIGHTS = \[/,
  );
  for (const [words, says] of [
    [["--after", "absorb-mla"], "export relax writes the model as it is before any pass"],
    [["--portable"], "--portable means nothing to export relax"],
    [["--act-quant", "dynamic"], "Relax has no product of quantised rows"],
  ] as const)
    expect(await refusal("export", "relax", fixture("a06"), "-o", out, ...words)).toContain(says);
  writeFileSync(path.join(work, "mine.py"), "mine");
  expect(await refusal("export", "relax", fixture("a06"), "-o", path.join(work, "mine.py"))).toContain("DSC6");
  expect(readFileSync(path.join(work, "mine.py"), "utf8")).toBe("mine");
});

/** Logits of a prompt at once and in two parts, and greedy ids one by one, as rows of numbers; the first is kept as a library. */
const SCRIPT = `
import importlib.util, json, sys
import numpy as np
out = []
for file, folder, ids, new, library in json.load(open(sys.argv[1])):
    spec = importlib.util.spec_from_file_location("model", file)
    model = importlib.util.module_from_spec(spec)
    sys.modules["model"] = model
    spec.loader.exec_module(model)
    executable = model.build()
    if library:
        executable.export_library(library)
    m = model.Model(executable, folder)
    whole = m.rows(ids)
    m.forget()
    m.rows(ids[:10])
    rows = m.rows(ids[10:])
    greedy = []
    for _ in range(new):
        greedy.append(int(rows[-1].argmax()))
        last = m.rows(greedy[-1:])
        rows = last
    out.append({"whole": whole.ravel().tolist(), "greedy": greedy})
json.dump(out, open(sys.argv[2], "w"))
`;

describe.skipIf(lacks("tvm-ffi", "TVM"))("in TVM", () => {
  // Dense, with latents of queries and experts in groups, without them, softmax routing.
  const names = ["a01", "a02", "a06", ...(process.env.DSC_ALL ? ["a03", "a04", "a05", "a07", "a08", "a09"] : [])];
  const expected = new Map(names.map((n) => [n, readTensors(path.join(fixture(n), "expected.safetensors"))]));
  const library = path.join(work, "model.so");

  test("prefill and decode give the expected logits and greedy ids", () => {
    const jobs = names.map((n) => {
      const file = path.join(work, `${n}.py`);
      writeFileSync(file, written(fixture(n)));
      const e = expected.get(n)!;
      return [file, fixture(n), [...e.get("input_ids")!.data], e.get("greedy_ids")!.data.length, n === "a06" ? library : null];
    });
    writeFileSync(path.join(work, "jobs.json"), JSON.stringify(jobs));
    const results = path.join(work, "results.json");
    const { status, stderr } = spawnSync(
      process.env.DSC_PYTHON ?? "python3",
      ["-c", SCRIPT, path.join(work, "jobs.json"), results],
      {
        encoding: "utf8",
      },
    );
    expect(status, stderr.slice(-3000)).toBe(0);
    const got = JSON.parse(readFileSync(results, "utf8")) as { whole: number[]; greedy: number[] }[];
    for (const [i, n] of names.entries()) {
      const want = expected.get(n)!;
      const apart = want.get("logits")!.data.reduce((most, v, at) => Math.max(most, Math.abs(v - got[i].whole[at])), 0);
      expect(apart, n).toBeLessThan(5e-4);
      expect(got[i].greedy, n).toEqual([...want.get("greedy_ids")!.data]);
    }
  });

  test("the library that TVM wrote is called from Node, its errors by kind", () => {
    tvm.loadTvm();
    const vm = tvm.loadModule(library).get("vm_load_executable").call() as tvm.TvmModule;
    vm.get("vm_initialization").call(1, 0, 2, 1, 0, 2);
    const main = vm.get("main");
    const e = expected.get("a06")!;
    const ids = BigInt64Array.from(e.get("input_ids")!.data, BigInt);
    const text = readFileSync(path.join(work, "a06.py"), "utf8");
    const width = Number(/^WIDTH = (\d+)$/m.exec(text)![1]);
    const layers = (JSON.parse(/^LAYERS = (.*)$/m.exec(text)![1]) as number[]).length;
    const weights = JSON.parse(
      spawnSync(
        process.env.DSC_PYTHON ?? "python3",
        [
          "-c",
          "import sys, json, runpy; m = runpy.run_path(sys.argv[1]); print(json.dumps([[w.numpy().ravel().tolist(), list(w.shape)] for w in m['weights'](sys.argv[2])]))",
          path.join(work, "a06.py"),
          fixture("a06"),
        ],
        { encoding: "utf8", maxBuffer: 2 ** 30 },
      ).stdout,
    ) as [number[], number[]][];
    // TVM takes memory that begins at a multiple of 64 bytes.
    const f32 = (values: number[], shape: number[]): tvm.Tensor => {
      const room = tvm.aligned(4 * values.length);
      new Float32Array(room.buffer, room.byteOffset, values.length).set(values);
      return new tvm.Tensor(room, shape, "float32");
    };
    const whole = (values: ArrayLike<bigint>): tvm.Tensor => {
      const room = tvm.aligned(8 * values.length);
      new BigInt64Array(room.buffer, room.byteOffset, values.length).set(values);
      return new tvm.Tensor(room, [1, values.length], "int64");
    };
    const given = [
      ...Array.from({ length: layers }, () => f32([], [1, 0, width])),
      ...weights.map(([v, shape]) => f32(v, shape)),
    ];
    const out = main.call(whole(ids), ...given) as tvm.TvmArray;
    const logits = out.at(0) as tvm.TvmTensor;
    const { data, shape } = e.get("logits")!;
    expect([logits.shape, out.length]).toEqual([[1, ...shape], 1 + layers]);
    const seen = logits.view() as Float32Array;
    expect(data.reduce((most, v, i) => Math.max(most, Math.abs(v - seen[i])), 0)).toBeLessThan(5e-4);
    for (const wrong of [new tvm.Tensor(tvm.aligned(8), [1, 2], "int32"), new tvm.Tensor(tvm.aligned(16), [2], "int64"), null])
      expect(() => main.call(wrong, ...given)).toThrow(tvm.TvmError);
  });
});
