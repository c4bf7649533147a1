// Every CUDA kernel that DeepSeek-R1, the printed model and the oddest fixtures put into an artifact, compiled by nvcc for sm_90a as
// the artifact holds it: headers, natives and printed tile programs alike. Natives must not spill.
import path from "node:path";
import { expect, test } from "vitest";
import { natives } from "../../codegen/cuda/sm90/natives.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import type { Step } from "../../ir/artifact.ts";
import { inside } from "../../ir/artifact.ts";
import { compileCuda } from "../../runtime/devices/cuda/compiler.ts";
import { families } from "../../codegen/kernels/index.ts";
import { systemTexts } from "../../codegen/cuda/system/index.ts";
import { build, inTwo } from "./nvcc.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const root = path.resolve(import.meta.dirname, "../..");
const sources = ["examples/deepseek-r1", "examples/printed-model", "test/fixtures/a07-v3-fp8", "test/fixtures/a09-v3-odd"];
let made: ReturnType<typeof compile>[] | undefined;
/** Compiled when a test first asks, for who lists tests asks for none. */
const compiled = (): ReturnType<typeof compile>[] =>
  (made ??= sources.flatMap((s, i) =>
    // The two models with --deterministic too, which takes other schedules.
    (i < 2 ? [false, true] : [false]).map((deterministic) =>
      compile(path.join(root, s), { ...defaults, target: "cuda", activations: "bf16", deterministic }),
    ),
  ));

test("a launch binds every buffer of its kernel and gives every dim", () => {
  for (const { manifest } of compiled()) {
    const visit = (steps: readonly Step[]): void => {
      for (const s of steps) {
        visit(inside(s));
        if (s.kind !== "kernel") continue;
        const record = manifest.kernels[s.kernel];
        expect(s.args.length, s.kernel).toBe(boundBuffers(record.params).length);
        expect(s.dims.length, s.kernel).toBe(record.dims.length);
      }
    };
    for (const f of Object.values(manifest.functions)) visit(f.steps);
  }
});

test("every kernel is launched by some step, and says where it came from", () => {
  for (const { manifest, files } of compiled()) {
    const used = new Set<string>();
    const visit = (steps: readonly Step[]): void =>
      steps.forEach((s) => (s.kind === "kernel" ? void used.add(s.kernel) : visit(inside(s))));
    for (const f of Object.values(manifest.functions)) visit(f.steps);
    expect([...used].toSorted()).toEqual(Object.keys(manifest.kernels).toSorted());
    for (const k of Object.values(manifest.kernels))
      expect(String(files.get(k.text)).split("\n", 3).join("\n")).toMatch(
        new RegExp(
          `^// \\S+: ${k.family in families ? "printed tile program" : "native"}, family \\S+\n// op \\S+, first used by `,
        ),
      );
  }
});

test("a kernel takes as many parameters as a launch passes: buffers, dims, a workspace where it says so", () => {
  for (const { manifest, files } of compiled())
    for (const [name, k] of Object.entries(manifest.kernels)) {
      const taken = new RegExp(`\\b${k.entry}\\(([^)]*)\\)\\s*\\{`).exec(String(files.get(k.text)))![1];
      expect(taken.split(",").length, name).toBe(k.params.length + k.dims.length + (k.workspaceBytes === undefined ? 0 : 1));
    }
});

test("a kernel that may start before the one before has ended waits for it somewhere", () => {
  const early = compiled().flatMap(({ manifest, files }) =>
    Object.entries(manifest.kernels).flatMap(([name, k]) => (k.launch?.pdl ? [[name, String(files.get(k.text))] as const] : [])),
  );
  expect(new Set(early.map(([name]) => name)).size).toBeGreaterThan(100);
  for (const [name, text] of [
    ...early,
    ...systemTexts(1292, h200)
      .filter((k) => k.launch.pdl)
      .map((k) => [k.name, k.source] as const),
  ]) {
    expect(text, name).toContain("griddepcontrol.wait");
    expect(text, name).toMatch(/\bawait_previous\(\);/);
  }
});

test.skipIf(lacks("nvcc"))("nvcc compiles them all for sm_90a, and natives do not spill", async () => {
  const own = new Set(natives.map((n) => n.family));
  const texts = new Map<string, { source: string; native: boolean }>();
  for (const { manifest, files } of compiled())
    for (const k of Object.values(manifest.kernels)) {
      const source = String(files.get(k.text))
        .split("\n")
        .filter((l) => !l.startsWith("// op ") && !l.startsWith("// floor at ") && !l.startsWith("// from "))
        .join("\n");
      texts.set(source, { source, native: own.has(k.family) });
    }
  // What the runtime launches for itself, with rows of one block and rows of a cluster.
  for (const { source } of [1292, 129280].flatMap((vocab) => systemTexts(vocab, h200, true)))
    texts.set(source, { source, native: true });
  // Models share kernels by name; entry names must differ within a file.
  const list = [...texts.values()].map(({ source, native }, i) => {
    const entry = /(\w+)\((?:const )?(?:__grid_constant__|u8|u16|u32|float|int|void|TensorMap)/.exec(
      source.slice(source.indexOf('extern "C" __global__')),
    )![1];
    return { entry: `${entry}_${i}`, native, source: source.replaceAll(new RegExp(`\\b${entry}\\b`, "g"), `${entry}_${i}`) };
  });
  const built = await build(inTwo(list.map((k) => k.source)));
  for (const k of list) {
    const report = built.reports.get(k.entry);
    expect(report, k.entry).toBeDefined();
    if (k.native) expect(report, k.entry).toMatchObject({ spillBytes: 0 });
  }
});

test.skipIf(lacks("nvcc"))("a kernel that does not compile is named with the op it came from", () => {
  const { manifest, files } = compiled()[1];
  const text = String(files.get(Object.values(manifest.kernels)[0].text));
  const op = /^\/\/ (op .*)$/m.exec(text)![1];
  expect(() => compileCuda("broken", text.replace("__global__", "__globe__"), h200.arch, "nvcc")).toThrow(
    new RegExp(`DSC5607.*kernel broken does not compile[^]*${op.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}[^]*__globe__`),
  );
});
