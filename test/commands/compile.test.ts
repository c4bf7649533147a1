// dsc compile: the same bytes twice, a size that does not grow with the model, and nothing left behind by a refusal.
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import type { Manifest } from "../../ir/artifact.ts";
import type { Entry } from "../../passes/index.ts";
import { at, dsc, filesOf, json, r1, refusal, tiny } from "./dsc.ts";

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(path.join(folder, "manifest.json"), "utf8")) as Manifest;

test("R1 compiles to the same bytes twice, and says what each pass did", async () => {
  const first = await dsc("compile", r1, "-o", at("r1"));
  const again = await dsc("compile", r1, "-o", at("again"));
  expect([first.code, again.code]).toEqual([0, 0]);
  expect(again.stdout).toBe(first.stdout.replaceAll(at("r1"), at("again")));
  const [a, b] = [filesOf(at("r1")), filesOf(at("again"))];
  expect([...a.keys()]).toEqual([...b.keys()]);
  for (const [name, data] of a) expect(data.equals(b.get(name)!), name).toBe(true);
  expect([...a.keys()]).toEqual([...Object.keys(manifestOf(at("r1")).files), "manifest.json"].toSorted());

  for (const pass of ["absorb-mla", "fp8-block-gemm", "moe-dispatch"]) expect(first.stdout).toMatch(new RegExp(`^${pass}$`, "m"));
  expect(first.stdout).toMatch(/absorb W_uk into the query +- +2 +2 +1/);
  expect(first.stdout).toMatch(
    /declined: [^\n]+\n +in prefill\/\{dense_layer, moe_layer\}: absorbing would cost [\d.]+ GFLOP more/,
  );
  expect(first.stdout).toContain("DeepseekV3ForCausalLM for cpu: 61 layers, 13 functions, ");
  expect(first.stdout).toContain("688.57 GB of weights");
  // Wall time is for people: it would make two answers differ.
  expect(first.stdout).not.toMatch(/\d s$/m);
  expect(first.stderr).toMatch(/^in \d+\.\d\d s\n$/);
});

test("the number of kernels depends on neither layers nor experts", async () => {
  const [full, few] = await Promise.all([
    json<{ kernels: string[]; layers: number }>("compile", r1, "-o", at("full")),
    json<{ kernels: string[]; layers: number }>(
      "compile",
      r1,
      "-o",
      at("few"),
      "--set",
      "num_hidden_layers=20",
      "n_routed_experts=64",
    ),
  ]);
  expect([full.layers, few.layers]).toEqual([61, 20]);
  expect(few.kernels.length).toBe(full.kernels.length);
});

test("--json is one object with every site of the ledger, which is also in the artifact", async () => {
  const answer = await json<{ out: string; kernels: string[]; ledger: Entry[] }>("compile", tiny, "-o", at("json"));
  expect(answer.out).toBe(at("json"));
  expect(answer.kernels).toEqual(Object.keys(manifestOf(at("json")).kernels));
  expect(JSON.parse(readFileSync(path.join(at("json"), "ledger.json"), "utf8"))).toEqual(answer.ledger);
  for (const e of answer.ledger)
    expect(e.outcome === "fired" ? e.count > 0 : (e.reason ?? "").length > 0, JSON.stringify(e)).toBe(true);
});

test("manifest.json is written last, and old files go", async () => {
  await dsc("compile", tiny, "-o", at("last"));
  const names = [...filesOf(at("last")).keys()].filter((n) => n !== "manifest.json");
  const moved = (name: string): bigint => statSync(path.join(at("last"), name), { bigint: true }).ctimeNs;
  for (const n of names) expect(moved(n) <= moved("manifest.json"), n).toBe(true);
  const before = manifestOf(at("last"));
  await dsc("compile", tiny, "-o", at("last"), "--passes", "none");
  const after = manifestOf(at("last"));
  expect(Object.keys(after.files)).not.toEqual(Object.keys(before.files));
  expect([...filesOf(at("last")).keys()]).toEqual([...Object.keys(after.files), "manifest.json"].toSorted());
});

test("--passes: none, some in any order, and names that are none", async () => {
  const none = await dsc("compile", tiny, "-o", at("none"), "--passes", "none");
  expect(none.stdout).toMatch(/^no passes\n/);
  expect(readdirSync(path.join(at("none"), "graph"))).toEqual(["00-frontend.dsc"]);
  const some = await dsc("compile", tiny, "-o", at("some"), "--passes", "load,absorb-mla");
  expect(some.code).toBe(0);
  expect(readdirSync(path.join(at("some"), "graph"))).toEqual(["00-frontend.dsc", "01-absorb-mla.dsc", "02-load.dsc"]);
  const wrong = await refusal("compile", tiny, "-o", at("wrong"), "--passes", "absorb-mia,moe-dispatch,lod");
  expect(wrong).toContain("did you mean absorb-mla?");
  expect(wrong).toContain("did you mean load?");
  expect(await refusal("compile", tiny, "-o", at("wrong"), "--passes", "")).toContain("has an empty name");
  expect(existsSync(at("wrong"))).toBe(false);
});

test.each([
  ["an activation format the CPU has not", ["--activations", "bf16"], "DSC4002"],
  ["a config that does not hold together", ["--set", "num_attention_heads=0"], "num_attention_heads"],
  ["a word that sets nothing", ["--set", "vocab"], "DSC1004"],
])("%s leaves no folder behind", async (_, flags, wanted) => {
  expect(await refusal("compile", tiny, "-o", at("refused"), ...flags)).toContain(wanted);
  expect(existsSync(at("refused"))).toBe(false);
});

// Whole models for GPUs come later; until they do, the answer is a diagnostic, and no half of an artifact.
test.each(["cuda", "triton"])("--target %s compiles whole or not at all", async (target) => {
  const { code, stderr } = await dsc("compile", tiny, "-o", at(target), "--target", target);
  if (code === 0) expect(manifestOf(at(target)).target).toBe(target);
  else {
    expect(stderr).toMatch(/^error\[DSC4\d{3}\]: --target /);
    expect(existsSync(at(target))).toBe(false);
  }
});

test("places that cannot hold an artifact are refused untouched", async () => {
  writeFileSync(at("file"), "x");
  mkdirSync(at("mine"));
  writeFileSync(path.join(at("mine"), "thesis.txt"), "years of work");
  expect(await refusal("compile", tiny, "-o", at("file"))).toContain("it is a file");
  expect(await refusal("compile", tiny, "-o", path.join(at("file"), "below"))).toContain("cannot write");
  expect(await refusal("compile", tiny, "-o", at("mine"))).toContain("it is a folder that is no artifact");
  expect(await refusal("compile", tiny, "-o", "")).toContain("-o");
  expect(await refusal("compile", tiny, "-o", "/proc/nothing/here")).toContain("cannot write");
  expect(readdirSync(at("mine"))).toEqual(["thesis.txt"]);
});

test("--natives takes all, none or families, and says which there are", async () => {
  const { code, stderr } = await dsc("compile", tiny, "--target", "cuda", "--natives", "route_rows,nothing", "-o", at("natives"));
  expect(code).toBe(2);
  expect(stderr).toMatch(/DSC6001.*"nothing"[\s\S]*route_rows/);
});
