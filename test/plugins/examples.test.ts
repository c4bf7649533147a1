// The worked examples of examples/plugins, each in a project of its own that has installed the package as npm packs it: checked by
// `dsc plugin check`, compiled with, and run on the CPU. `npm run device -- --only plugins` does the same on a card.
import { copyFileSync, cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packedApp, root, type App } from "./packed-app.ts";

let app: App;
const cache = mkdtempSync(path.join(tmpdir(), "dsc-examples-cache-"));
const examples = readdirSync(path.join(root, "examples/plugins")).filter((f) => f.endsWith(".ts"));

beforeAll(() => {
  process.env.DSC_CACHE = cache;
  app = packedApp();
  for (const file of examples) copyFileSync(path.join(root, "examples/plugins", file), path.join(app.folder, file));
  for (const name of ["a02-v3-noq-nogroup", "a05-v3-halfsplit-tied-bias"])
    cpSync(path.join(root, "test/fixtures", name), path.join(app.folder, name), { recursive: true });
});
afterAll(() => {
  delete process.env.DSC_CACHE;
  rmSync(app.folder, { recursive: true });
  rmSync(cache, { recursive: true });
});

const text = (...at: string[]): string => readFileSync(path.join(app.folder, ...at), "utf8");
const ids = (model: string, ...words: string[]): string => {
  const { status, stdout, out } = app.dsc("run", model, "--ids", "1,2,3,4,5,6,7", "--max-new", "8", "--json", ...words);
  expect(out).not.toMatch(/error\[/);
  expect(status).toBe(0);
  return JSON.stringify((JSON.parse(stdout) as { ids: unknown }).ids);
};

test.each(examples)("%s is checked", (file) => {
  const { status, out } = app.dsc("plugin", "check", file);
  expect(out).toContain("types: hold");
  expect(out).not.toMatch(/error\[/);
  expect(status).toBe(0);
});

describe("fold-gain", () => {
  test("gains go into weights at load, and the model says the same", () => {
    const { status, out } = app.dsc("compile", "a02-v3-noq-nogroup", "-o", "folded", "--plugin", "fold-gain.ts");
    expect(out).toMatch(/fold a gain .* 9\n.*proved on the model made small, before and after/);
    expect(status).toBe(0);
    const graphs = readdirSync(path.join(app.folder, "folded/graph"));
    const last = text("folded/graph", graphs.at(-1)!);
    expect(last).toMatch(/%\w+ = rms_norm %\w+ {eps/);
    expect(last).toMatch(/einsum @\S+, @\S+_norm {spec = "ab,b->ab"}/);
    expect(ids("a02-v3-noq-nogroup", "--plugin", "fold-gain.ts")).toBe(ids("a02-v3-noq-nogroup"));
  });
});

describe("clipped-swiglu", () => {
  const model = "a02-v3-noq-nogroup";
  test("an op and its kernel run on the CPU; a limit that nothing reaches changes nothing, a low one does", () => {
    const plain = ids(model);
    expect(ids(model, "--plugin", "clipped-swiglu.ts", "--pass-option", "clip-gates.limit=1000")).toBe(plain);
    expect(ids(model, "--plugin", "clipped-swiglu.ts", "--pass-option", "clip-gates.limit=0.001")).not.toBe(plain);
  });
  test("its kernels are in the artifact of every target, the hand-written one where CUDA is the target", () => {
    for (const [target, kernel] of [
      ["cpu", "clipped_swiglu_f32.txt"],
      ["cuda", "clipped_swiglu_rows_bf16.cu"],
      ["triton", "clipped_swiglu_bf16.py"],
    ]) {
      const { status, out } = app.dsc(
        "compile",
        model,
        "--target",
        target,
        "-o",
        `clipped-${target}`,
        "--plugin",
        "clipped-swiglu.ts",
      );
      expect(out).toMatch(/kernel clipped_swiglu: held to its op at \d+ trials on the CPU/);
      expect(status).toBe(0);
      expect(text(`clipped-${target}/kernels`, kernel).length).toBeGreaterThan(0);
    }
    expect(text("clipped-cpu/manifest.json")).toMatch(/"plugins": "clipped-swiglu@1\.0\.0 \(clipped-swiglu\.ts sha256:/);
  });
});

test("count-products reports the graph and the plan", () => {
  const { status, out } = app.dsc("compile", "a02-v3-noq-nogroup", "-o", "counted", "--plugin", "count-products.ts");
  expect(status).toBe(0);
  expect(out).toMatch(/report count-products\n/);
  const said = text("counted/reports/count-products.txt");
  expect(said).toMatch(/weight +sites +functions/);
  expect(said).toMatch(/the plan\nfunction +steps +slots/);
});

test("bias-norm fuses by rule; its parts serve where its kernel does not, its kernel on CUDA", () => {
  const model = "a05-v3-halfsplit-tied-bias";
  const { status, out } = app.dsc("compile", model, "--target", "cuda", "-o", "biased", "--plugin", "bias-norm.ts");
  expect(out).toMatch(/add a bias and normalise +2 +2 +2/);
  expect(status).toBe(0);
  expect(text("biased/kernels/bias_norm_rows_48.cu")).toContain("native, family bias_norm_rows");
  expect(ids(model, "--plugin", "bias-norm.ts")).toBe(ids(model));
});
