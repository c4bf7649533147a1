// dsc tune: what it would measure of a model, what it keeps, what compiles and dsc why make of it; and that a machine without a card is
// told so. Measuring is run over a driver whose kernels do nothing; on a card: npm run device -- --only tune.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { sm90 } from "../../codegen/cuda/sm90/natives.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { withTuned, type TunedRow } from "../../codegen/cuda/tuned.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { readTuning, tuningFile, writeTuning } from "../../compiler/tuning/store.ts";
import { tunablesOf, trialsOf, type Tunable } from "../../compiler/tuning/trials.ts";
import { boundBuffers, type Problem } from "../../ir/kernel/catalogue.ts";
import { Cuda } from "../../runtime/devices/cuda/index.ts";
import { measure } from "../../compiler/tuning/measure.ts";
import { lacks } from "../conditions.ts";
import { buildDriver } from "../kernels/host-driver.ts";
import { at, dscIn, r1 } from "./dsc.ts";

const native = sm90.natives.find((n) => n.family === "block_gemm")!;
const problem = { n: 12288, k: 1536 };
const candidates = native.schedules.candidates(problem, sm90.machine) as object[];
const row = (schedule: object, rows: number, us: number): TunedRow => ({ family: "block_gemm", problem, schedule, rows, us });

/** What the architecture chooses with some rows. */
const chosen = (rows: readonly TunedRow[], m: number, p: object = problem): unknown =>
  scheduleFor(withTuned(sm90, rows).natives.find((n) => n.family === "block_gemm")!.schedules, p, m, sm90.machine);

let compiledR1: Tunable[] | undefined;
/** What there is to measure of R1. */
const ofR1 = (): Tunable[] => {
  if (!compiledR1) {
    const { manifest, files } = compile(r1, { ...defaults, target: "cuda", activations: "bf16", layers: 4 });
    compiledR1 = tunablesOf(manifest, JSON.parse(String(files.get("problems.json"))) as Record<string, Problem>, sm90);
  }
  return compiledR1;
};

beforeEach(() => {
  process.env.DSC_CACHE = at(`tuning-${Math.random()}`);
});

test("the fastest measured here is chosen up to its rows, before any estimate; other sizes and problems stay", () => {
  const [slow, fast] = [candidates[3], candidates[8]];
  const rows = [row(slow, 64, 20), row(fast, 64, 19)];
  expect(chosen(rows, 64)).toEqual(fast);
  expect(chosen(rows, 33)).toEqual(fast);
  expect(chosen(rows, 65)).toEqual(chosen([], 65));
  expect(chosen(rows, 64, { n: 2112, k: 7168 })).toEqual(chosen([], 64, { n: 2112, k: 7168 }));
  // The count of rows next above decides, though one further up knows more.
  expect(chosen([...rows, row(slow, 128, 1)], 64)).toEqual(fast);
});

test("times are kept for a card and a version of dsc: of the same problem and rows the last stay, of another card none", () => {
  expect(readTuning("sm_90")).toBeNull();
  const file = writeTuning("sm_90", { device: "NVIDIA H200", rows: [row(candidates[0], 8, 9), row(candidates[0], 64, 19)] });
  expect(file).toBe(tuningFile("sm_90"));
  writeTuning("sm_90", { device: "NVIDIA H200", rows: [row(candidates[1], 8, 8)] });
  expect(readTuning("sm_90")!.rows.map((r) => r.us)).toEqual([19, 8]);
  expect(readTuning("sm_100")).toBeNull();
  writeTuning("sm_90", { device: "NVIDIA H100", rows: [row(candidates[1], 8, 7)] });
  expect(readTuning("sm_90")).toEqual({ device: "NVIDIA H100", rows: [row(candidates[1], 8, 7)] });
});

test("a file that is none of ours is as good as none", () => {
  mkdirSync(path.dirname(tuningFile("sm_90")), { recursive: true });
  for (const text of ["", "{}", "[1]", '{"device": "x", "rows": [{"family": 3}]}', '{"device": "x", "rows": [null]}']) {
    writeFileSync(tuningFile("sm_90"), text);
    expect(readTuning("sm_90")).toBeNull();
  }
});

test("R1's products can be measured: every buffer of every trial has a size, and what was chosen is among them", () => {
  const found = ofR1();
  expect(new Set(found.map((t) => t.native.family))).toEqual(new Set(["block_gemm", "block_gemv", "ring_linear", "bf16_gemm"]));
  for (const t of found)
    for (const rows of [1, 64, 1024]) {
      const trials = trialsOf(t, rows, sm90);
      expect(trials.length).toBeLessThanOrEqual(8);
      if (!trials.length) continue;
      const { elements, weights } = t.native.trial!(t.problem, rows);
      expect(weights.every((w) => elements[w] > 0)).toBe(true);
      for (const { text } of trials)
        for (const name of boundBuffers(text.params)) expect(elements[name], `${text.name} ${name}`).toBeGreaterThan(0);
      const own = scheduleFor(t.native.schedules, t.problem, rows, sm90.machine);
      expect(trials.map((x) => x.schedule)).toContainEqual(own);
    }
});

test("a compile chooses by what was measured, and dsc why says so", async () => {
  const cache = at("tuned-cache");
  const out = at("tuned");
  process.env.DSC_CACHE = cache;
  const q = { n: 2112, k: 7168 };
  const [, second] = candidates;
  writeTuning("sm_90", {
    device: "NVIDIA H200",
    rows: [{ family: "block_gemm", problem: q, schedule: second, rows: 8, us: 5.9 }],
  });
  const words = ["compile", r1, "--target", "cuda", "--layers", "4", "-o", out];
  expect((await dscIn({ env: { DSC_CACHE: cache } }, ...words)).code).toBe(0);
  const why = await dscIn({ env: { DSC_CACHE: cache } }, "why", out, "kernels");
  expect(why.stdout).toContain(`chosen ${native.schedules.name(second)}: measured here at 5.9 us`);
  expect(why.stdout).toMatch(/measured by us at \d+\.\d us/);
  expect(why.stdout).toMatch(/estimated at \d+\.\d us/);
  expect(readFileSync(path.join(out, "instead.json"), "utf8")).toContain(
    "measured here at 5.9 us, and the kernel after it waits 3.0 us at 1 row, block_gemv measured by us at 6.7 us",
  );
});

test.skipIf(lacks("g++"))(
  "every schedule that is tried of a product is timed over a driver whose kernels do nothing, and kept; no rows are begun too late",
  async () => {
    const driver = await buildDriver(path.dirname(at("driver")), "libcuda-nothing.so", { NOTHING: 1 });
    const cuda = new Cuda(0, { arch: sm90.machine.arch, libraries: [driver] });
    const found = ofR1();
    const compiled = new Set<string>();
    const nothing = (name: string): Uint8Array => (compiled.add(name), new Uint8Array(8));
    // The smallest matrix: buffers are this machine's memory.
    const sizeOf = (t: (typeof found)[number]): number => {
      const { elements, weights } = t.native.trial!(t.problem, 1);
      return weights.reduce((n, w) => n + elements[w], 0);
    };
    const tunable = found.toSorted((a, b) => sizeOf(a) - sizeOf(b))[0];
    const rows = await measure(cuda, tunable, [1, 64], sm90, { compile: nothing });
    const tried = [1, 64].flatMap((count) => trialsOf(tunable, count, sm90));
    expect(rows.map((r) => ({ schedule: r.schedule, rows: r.rows }))).toEqual(
      tried.map((t) => ({ schedule: t.schedule, rows: t.rows })),
    );
    expect(compiled).toEqual(new Set(tried.map((t) => t.text.name)));
    expect(await measure(cuda, tunable, [1, 64], sm90, { compile: nothing, until: 0 })).toEqual([]);
    expect(readTuning("sm_90")).toBeNull();
    writeTuning("sm_90", { device: cuda.name, rows });
    expect(readTuning("sm_90")).toEqual({ device: cuda.name, rows });
    cuda.close();
  },
);

test("a machine without a card is told so, and nothing is written", async () => {
  const cache = at("no-card");
  const { code, stderr } = await dscIn(
    { env: { CUDA_VISIBLE_DEVICES: "", DSC_CACHE: cache } },
    "tune",
    r1,
    "--rows",
    "1,64",
    "--seconds",
    "45",
  );
  expect(code).toBe(1);
  expect(stderr).toMatch(/DSC56\d\d/);
  expect((await dscIn({}, "tune", r1, "--rows", "1,x")).stderr).toMatch(/--rows is not a number/);
  expect((await dscIn({}, "tune", r1, "--seconds", "0")).stderr).toMatch(/--seconds 0[^]*a number above 0/);
  expect((await dscIn({}, "tune", r1, "--target", "cpu")).stderr).toMatch(/only CUDA kernels have schedules/);
});
