// Contracts: a pass before it hides the pattern (a value is multiplied by 1), and the compile ends with DSC3003 naming pass,
// rule, place, what had to happen and what stood there instead. Passes left out on purpose break no contract.
import path from "node:path";
import { describe, expect, test } from "vitest";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { modelModule } from "../../compiler/frontend/model.ts";
import { DiagnosticError, scale, type Func, type Module } from "../../ir/index.ts";
import { choosePasses, insertBefore, pass, rebuild, runPipeline, standard, type Cx, type Pass } from "../../passes/index.ts";

const moduleOf = (name: string, set: string[] = [], activations: "f32" | "bf16" = "f32"): Module =>
  modelModule(loadSpec(path.resolve(import.meta.dirname, "../fixtures", name), set).spec, {
    activations,
    actQuant: "dynamic",
    taps: false,
  });
const fp8 = moduleOf("a07-v3-fp8", ["q_lora_rank=128"]);
const plain = moduleOf("a01-v3-yarn");
const dense = moduleOf("../../examples/printed-model", [], "bf16");
/** A bias stands between the product and the residual sum. */
const biased = moduleOf("../../examples/printed-model", ["attention_bias=true"], "bf16");

/** Multiplies every result of one op by 1. */
const hide = (op: string): Pass =>
  pass({
    name: "hide",
    summary: `hides ${op}`,
    run: (f: Func, cx: Cx) =>
      rebuild(f, cx.module.graph, (values, n) =>
        n.op.name === op
          ? values.map((v) => (v.type.kind === "tensor" && ["f32", "bf16"].includes(v.type.dtype) ? scale({ x: v, by: 1 }) : v))
          : undefined,
      ),
  });

const broken = (m: Module, passes: readonly Pass[]): { code: string; title: string; notes: string[] } => {
  try {
    runPipeline(m, passes, { attention: "absorbed" });
  } catch (e) {
    if (e instanceof DiagnosticError) return e.diagnostics[0];
    throw e;
  }
  throw new Error("the contract held");
};

describe("a hidden pattern ends the compile", () => {
  test.each([
    ["absorb-mla", "split", fp8, "absorb W_uk into the query"],
    ["fuse-attention", "softmax_causal", plain, "attention over latents in one pass"],
    ["fuse-rope-append", "rope", plain, "norm, rope and append in one pass"],
    ["fp8-block-gemm", "dequantize", fp8, "block GEMM of quantised rows"],
    ["moe-dispatch", "dequantize", fp8, "sort, group, combine"],
    ["quantise-once", "gather_rows", fp8, "quantise before gathering"],
    ["pack-gate-up", "linear", plain, "pack gate and up"],
    ["join-latents", "linear", plain, "join q_a and kv_a"],
    ["join-latents", "block_linear", fp8, "join q_a and kv_a in blocks"],
    ["combine-add", "combine", plain, "combine onto the residual"],
    ["fuse-linear", "linear", dense, "add the residual inside the product"],
    ["fuse-linear", "gated_pair", dense, "gate inside the product"],
    ["fuse-linear", "rms_norm", dense, "normalise inside the product"],
    ["add-norm", "add", plain, "add and normalise"],
    ["fuse-quant", "rms_norm", fp8, "quantise while normalising"],
    ["fuse-quant", "gated_pair", fp8, "quantise while gating"],
    ["fuse-quant", "einsum", fp8, "quantise the heads' outputs as they are made"],
    ["load", "dequantize", fp8, "compute when loading"],
  ])("%s, behind %s", (name, op, module, rule) => {
    // What the hidden op is hidden from is this pass: those before it are not asked.
    const upTo = standard.slice(0, standard.findIndex((p) => p.name === name) + 1);
    const passes = name === "moe-dispatch" ? upTo.filter((p) => p.name !== "fp8-block-gemm") : upTo;
    expect(() => runPipeline(module, passes, { attention: "absorbed" })).not.toThrow();
    const d = broken(module, insertBefore(passes, name, hide(op)));
    expect(d.code).toBe("DSC3003");
    expect(d.title).toContain(name);
    expect(d.title).toContain(rule);
    expect(d.title).toMatch(/fired (never|once|\d+ times) in (\w+\/\w+|module), and has to fire (once|\d+ times)/);
    expect(d.notes.length).toBeGreaterThan(1);
  });

  test("the diagnostic says what stood where the pattern was expected", () => {
    expect(broken(plain, insertBefore(standard, "fuse-rope-append", hide("rope"))).notes).toEqual([
      expect.stringContaining("a pass that silently stops firing gives a slower model"),
      "at %cache.1: there is scale where rope is looked for",
    ]);
  });
});

test("a model that no plug-in has touched compiles all the same where asked to, and the outcome says what did not fire", () => {
  const passes = insertBefore(standard, "fuse-rope-append", hide("rope"));
  const { slower } = runPipeline(plain, passes, { attention: "absorbed" }, { contracts: "say" });
  expect(slower.map((d) => [d.severity, d.code])).toContainEqual(["warning", "DSC3003"]);
  expect(runPipeline(plain, standard, {}, { contracts: "say" }).slower).toEqual([]);
});

test("every pass has a contract", () => expect(standard.filter((p) => !p.promises).map((p) => p.name)).toEqual([]));

describe("passes left out break no contract of another", () => {
  const names = standard.map((p) => p.name);
  test.each([
    ["fp8", fp8],
    ["plain", plain],
    ["biased, bf16", biased],
  ] as const)("%s", (_, m) => {
    runPipeline(m, standard);
    for (const leave of names) runPipeline(m, choosePasses(names.filter((n) => n !== leave).join(","), standard));
    for (const only of names) runPipeline(m, choosePasses(only, standard));
  });
});
