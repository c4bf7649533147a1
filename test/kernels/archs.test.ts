// Architectures beside sm_90: what has no kernels of its own runs printed tile programs, compiled for it and named in the artifact.
import { expect, test } from "vitest";
import { archs } from "../../codegen/cuda/archs.ts";
import { sm100 } from "../../codegen/cuda/sm100/natives.ts";
import { compileSpec, defaults } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { printServed, servedBy } from "../../compiler/report/served.ts";
import { floorOf, floorText } from "../../ir/machine.ts";
import { compileCuda } from "../../runtime/devices/cuda/compiler.ts";
import { checkManifest } from "../../runtime/manifest.ts";
import { lacks } from "../conditions.ts";
import { fixtures } from "../frontend/configs.ts";

const fp8 = fixtures.find((f) => f.endsWith("fp8"))!;
const compiled = (arch?: string, source = fp8): ReturnType<typeof compileSpec> =>
  compileSpec(loadSpec(source, []).spec, { ...defaults, target: "cuda", activations: "bf16", ...(arch ? { arch } : {}) });

const heads = ({ manifest, files }: ReturnType<typeof compileSpec>): string[] =>
  Object.values(manifest.kernels).map((k) => String(files.get(k.text)).split("\n")[0]);

test("an architecture without natives prints every kernel of R1 and of the printed model, and says why at every place", () => {
  for (const source of ["examples/deepseek-r1", "examples/printed-model"]) {
    const c = compiled("sm_100", source);
    expect(c.manifest.gpu).toEqual({ arch: "sm_100a", sharedPerBlock: 227 * 1024 });
    checkManifest(c.manifest);
    expect(heads(c).length).toBeGreaterThan(20);
    for (const head of heads(c)) expect(head).toMatch(/: printed tile program, family /);
    expect(c.files.has("instead.json")).toBe(false);
    const served = servedBy(c.manifest, JSON.parse(String(c.files.get("problems.json"))), {});
    expect(served.length).toBeGreaterThan(50);
    for (const s of served) {
      expect(s).toMatchObject({ form: "tile program" });
      expect(printServed(s)).toContain("\n    sm_100 has no hand-written kernels: every kernel is printed");
    }
  }
});

test("the same model for sm_90 has natives, and a printed kernel says which of them refused or that none serves it", () => {
  const c = compiled();
  expect(c.manifest.gpu!.arch).toBe("sm_90a");
  expect(heads(c).filter((head) => head.includes(": native, family ")).length).toBeGreaterThan(5);
  const [problems, instead] = ["problems.json", "instead.json"].map((f) => JSON.parse(String(c.files.get(f))));
  const printed = servedBy(c.manifest, problems, instead).filter((s) => s.form === "tile program");
  expect(printed.some((s) => s.printed?.startsWith("no hand-written kernel of sm_90 serves "))).toBe(true);
  expect(printed.some((s) => s.instead?.length)).toBe(true);
  for (const s of printed) expect(s.printed ?? s.instead, printServed(s)).toBeTruthy();
  const [kernel, problem] = Object.entries<object>(problems).find(([name]) => /^block_gemm_\d+x\d+_[wn]/.test(name))!;
  expect(() => servedBy(c.manifest, { ...problems, [kernel]: { ...problem, schedule: { form: "small-m" } } }, instead)).toThrow(
    RangeError,
  );
});

test.skipIf(lacks("nvcc for sm_100"))("nvcc compiles them all for it", () => {
  const { manifest, files } = compiled("sm_100");
  const texts = Object.values(manifest.kernels).map(
    (k, i) => `namespace k${i} {\n${String(files.get(k.text)).replace('extern "C" ', "")}}\n`,
  );
  const cubin = compileCuda("all", texts.join(""), sm100.machine.arch, "nvcc");
  expect(Buffer.from(cubin).toString("latin1")).toContain("sm_100a");
});

test("a manifest says which GPU its kernels are for, and no kernel asks for more shared memory than its blocks have", () => {
  const { manifest } = compiled();
  expect(() => checkManifest({ ...manifest, gpu: undefined })).toThrow(/DSC5005/);
  const { gpu: _, ...without } = manifest;
  expect(() => checkManifest(without)).toThrow(/say which GPU they are for/);
  expect(() => checkManifest({ ...manifest, gpu: { arch: "hopper", sharedPerBlock: 1 } })).toThrow(
    /an architecture such as sm_90a/,
  );
  expect(() => checkManifest({ ...manifest, gpu: { ...manifest.gpu!, sharedPerBlock: 1024 } })).toThrow(
    /a block of sm_90a may have 1024 bytes/,
  );
});

test("floors are those of the machine: the larger of bytes over bandwidth and operations over the peak of their format", () => {
  for (const { machine } of archs) {
    expect(floorOf(machine, machine.bandwidth, 0, "fp8")).toEqual({ us: 1e6, bound: "bytes" });
    expect(floorOf(machine, 0, machine.peaks.bf16 * 2, "bf16")).toEqual({ us: 2e6, bound: "FLOPs" });
  }
  expect(floorText(sm100.machine, { reads: "8 m bytes", computes: ["m operations", "fp8"] })).toBe(
    "floor on B200: max(8 m bytes / 8000 GB/s, m operations / 4500 TFLOP/s)",
  );
  expect(floorText(sm100.machine, { reads: "8000000 bytes", bytes: 8e6 })).toBe(
    "floor on B200: 8000000 bytes / 8000 GB/s = 1.0 us",
  );
});
