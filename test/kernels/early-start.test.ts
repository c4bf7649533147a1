// What begins before the launch before it has ended (programmatic dependent launch) reads nothing that a launch of the same call makes
// until it has waited. Two halves: the host machines poison every buffer that a kernel does not declare early, so what is declared is
// all there is (test/kernels/*-on-host); and here every launch of many plans is followed by address, over all cases and entries.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import koffi from "koffi";
import { afterAll, expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { mayStartEarly, type Manifest } from "../../ir/artifact.ts";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { walkPlan, type Site } from "../../runtime/plan/walk.ts";
import { Model } from "../../runtime/model.ts";
import { lacks } from "../conditions.ts";
import { modelOf } from "../device/family.ts";
import { specFrom } from "../fuzz/family.ts";
import { fixtures } from "../interpreted.ts";
import { buildDriver, buildKernels } from "./host-driver.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-early-start-"));
afterAll(() => rmSync(work, { recursive: true }));
const example = (name: string): ModelSpec => loadSpec(path.resolve(import.meta.dirname, "../../examples", name), []).spec;

/** One step of two sequences, a prompt, and rows enough for the forms of many. */
const batches = [
  { starts: [0, 1, 2], lengths: [70, 5], pages: 2 },
  { starts: [0, 3, 5], lengths: [70, 5], pages: 2 },
  { starts: [0, 40, 300], lengths: [40, 300], pages: 5 },
];
/** Buffers of a call are below, what was there before it above. */
const BEFORE = 2 ** 50;

interface Seen {
  kernel: string;
  site: Site;
  addresses: readonly number[];
}

/** Launches of an entry in order, at addresses that tell what was there before the call. */
function launches(manifest: Manifest, entry: keyof Manifest["entries"], batch: (typeof batches)[number]): Seen[] {
  const name = manifest.entries[entry]!;
  const plan = manifest.functions[name];
  const out: Seen[] = [];
  const args = new Map([...plan.inputs, ...plan.results].map((a, i) => [a.name, 2 ** 40 + i * 2 ** 34]));
  const places = { weight: () => BEFORE, batch: () => BEFORE, cache: () => BEFORE };
  const call = { function: name, ...(entry === "draft" ? { layer: manifest.model.layers } : {}), batch, args, arena: 0, places };
  for (const item of walkPlan(manifest, call, (_, count) => Int32Array.from({ length: count }, (_, i) => i)))
    if (item.kind === "launch") out.push({ kernel: item.kernel, site: item.at, addresses: item.pointers.map((p) => p.at) });
  return out;
}

/** Launches that begin early, and those that would but for what they read before they wait. Throws where one reads too early. */
function count({ manifest, files }: ReturnType<typeof compileSpec>): { early: number; held: string[] } {
  let early = 0;
  const held: string[] = [];
  for (const entry of Object.keys(manifest.entries) as (keyof Manifest["entries"])[])
    for (const batch of entry === "decode" ? batches.slice(0, 1) : batches) {
      let before: Seen | undefined;
      for (const seen of launches(manifest, entry, batch)) {
        const record = manifest.kernels[seen.kernel];
        const names = boundBuffers(record.params);
        const at = (name: string): number => seen.addresses[names.indexOf(name)];
        if (!mayStartEarly(seen.site.step.args, record)) {
          if (record.launch!.pdl) held.push(seen.site.step.site);
        } else {
          early++;
          for (const name of record.launch!.early ?? [])
            expect(at(name), `${seen.site.step.site} reads ${name} of ${seen.kernel} before it waits`).toBeGreaterThanOrEqual(
              BEFORE,
            );
        }
        for (const name of record.launch!.chained ?? []) {
          // Made before the launch before, and that one lets nobody begin before it has waited.
          const other = manifest.kernels[before!.kernel];
          const made = boundBuffers(other.params).flatMap((n, i) =>
            other.params.some((p) => p.kind === "buffer" && p.name === n && p.access !== "in") ? [before!.addresses[i]] : [],
          );
          expect(made, `${before!.kernel} before ${seen.kernel}`).not.toContain(at(name));
          const body = String(files.get(other.text)).split('extern "C" __global__')[1];
          expect(body.indexOf("await_previous();")).toBeGreaterThan(0);
          expect(body.indexOf("await_previous();")).toBeLessThan(body.indexOf("release_next();"));
        }
        before = seen;
      }
    }
  return { early, held };
}

const cuda = (o: Partial<CompileOptions>): CompileOptions => ({ ...defaults, target: "cuda", activations: "bf16", ...o });

test.each([
  ["fixtures", fixtures.map((f) => loadSpec(f, []).spec)],
  ["random models", Array.from({ length: 12 }, (_, i) => specFrom(modelOf(i)))],
])("%s: no launch reads early what its call makes", (_, specs) => {
  let held = 0;
  for (const spec of specs)
    for (const o of [{ passes: "none" }, { passes: "all" }, { passes: "none", activations: "f32" }] as const)
      held += count(compileSpec(spec, cuda(o))).held.length;
  // Without passes, products take matrices that a kernel of the same call has just dequantised, cut or joined.
  expect(held).toBeGreaterThan(20);
});

test.each(["deepseek-r1", "printed-model"])("%s: every launch of a step begins early", (name) => {
  for (const deterministic of [false, true]) {
    const { early, held } = count(compileSpec(example(name), cuda({ deterministic })));
    expect(early).toBeGreaterThan(100);
    expect(held).toEqual([]);
  }
});

test.skipIf(lacks("g++"))("a launch that reads early what its call makes is launched without the attribute", async () => {
  const spec = loadSpec(fixtures[0], []).spec;
  const driver = await buildDriver(work);
  const count = koffi.load(driver).func("int host_dependents()");
  /** Launches of a prompt with the attribute, where a norm says that it reads a buffer early. */
  const dependents = async (early: string[]): Promise<number> => {
    const { manifest, files: texts } = compileSpec(spec, cuda({ natives: "none", activations: "f32", passes: "none" }));
    const norms = Object.values(manifest.kernels).filter((k) => k.family === "rms_norm");
    expect(norms.length).toBeGreaterThan(0);
    for (const k of norms) k.launch!.early = early;
    const { files, compile } = await buildKernels(manifest, texts);
    const model = await Model.open(manifest, await CudaDevice.open(manifest, files, { compile, libraries: [driver] }), {
      weights: "synthetic:1",
    });
    const session = model.session({ maxTokens: 8 });
    const before = count() as number;
    await session.prefill([[1, 2, 3]]);
    const made = (count() as number) - before;
    session.close();
    await model.close();
    return made;
  };
  const [none, gain, x] = [await dependents([]), await dependents(["gain"]), await dependents(["x"])];
  expect(gain).toBe(none);
  expect(x).toBeLessThan(none);
});
