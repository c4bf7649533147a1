// Faulty things that plug-ins bring beside passes, a row each: refused by name with what is wrong, or let through with a label.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { loadPlugins, type Loaded } from "../../compiler/driver/plugins.ts";
import { activationNames, knownActivations } from "../../ir/activation.ts";
import { DiagnosticError, opByName, opNamed, parseModule, render } from "../../ir/index.ts";

const root = path.resolve(import.meta.dirname, "../..");
const work = mkdtempSync(path.join(tmpdir(), "dsc-brings-"));
afterAll(() => rmSync(work, { recursive: true }));
const model = path.join(root, "test/fixtures/a01-v3-yarn");

let files = 0;
const write = (text: string): string => {
  const file = path.join(work, `plugin-${files++}.ts`);
  writeFileSync(file, text);
  return file;
};
/** A plug-in over an op `twice` and its kernel, each of which a row may spoil. */
const whole = (
  o: { op?: string; match?: string; kernel?: string; cases?: string; brings?: string; before?: string } = {},
): string => `
import { elements, f, family, isPacked, kernel, native, one, onlySchedule, refuse, schedule, cudaKernel, input, output } from "dsc/codegen";
import { attr, op, gated } from "dsc/ir";
import { pass, rebuild } from "dsc/passes";
import { activation, plugin } from "dsc/plugin";
${o.before ?? ""}
const twice = op("twice", { summary: "2 x", ins: { x: "[..b] a" }, out: "[..b] a", traits: { rowwise: true }, ${o.op ?? "reference: ({ x }) => ({ ...x, data: x.data.map((v) => 2 * v) })"} });
const tiles = family({
  name: "twice",
  serves: ["twice"],
  match: ${o.match ?? '({ ins, outs }) => (isPacked(ins[0]) ? one({}, [{ in: 0 }, { out: 0 }], [elements(outs[0])]) : refuse("strided"))'},
  kernel: () => kernel({
    name: "twice", summary: "2 x", params: { x: { dtype: "f32", shape: ["n"] }, y: { dtype: "f32", shape: ["n"], access: "out" } }, dims: ["n"],
    body(k, { x, y }) {
      k.grid({ p: ["n", 512] });
      const at = { at: ["p"], cols: 0, colLimit: "n" };
      ${o.kernel ?? 'k.store(k.map("t", f.mul(k.load("v", 1, 512, x, at), 2)), y, at);'}
    },
  }),
  ${o.cases ?? "cases: [{ sizes: {}, rest: [3, 130] }],"}
});
export default plugin({ name: "mine", ${o.brings ?? "ops: [twice], kernels: [tiles]"} });`;

const loaded = (...texts: string[]): Promise<Loaded> => loadPlugins(undefined, texts.map(write), { config: false, seconds: 2 });

async function refusal(...texts: string[]): Promise<string> {
  try {
    const { pipeline, brings } = await loaded(...texts);
    compile(model, { ...defaults, brings, reproduceIn: work }, pipeline);
  } catch (e) {
    if (e instanceof DiagnosticError) return e.diagnostics.map(render).join("\n");
    throw e;
  }
  return "accepted";
}
const only = (brings: string, before = ""): string => whole({ brings, before });

test("the plug-in that the rows spoil is right", async () => {
  const { brings } = await loaded(whole());
  expect(brings.held.map((h) => `${h.what}: ${h.says}`)).toEqual([
    "op twice: held to its signature at 16 sizes",
    "kernel twice: held to its op at 2 trials on the CPU",
  ]);
});

describe("refused, by name", () => {
  test.each<[string, string | string[], RegExp]>([
    // The shape of the plug-in.
    [
      "made for another version",
      whole().replace("export default plugin(", "const p = plugin(") + "\nexport default { ...p, api: 7 };",
      /DSC3102.*made for another dsc[^]*API 7, and this dsc has 1/,
    ],
    ["without a name", whole().replace('name: "mine", ', ""), /DSC3102[^]*a name of its own, in kebab-case/],
    ["a part that there is not", only("kernel: [tiles]"), /DSC3102.*brings kernel[^]*did you mean kernels\?/],
    ["ops that are no list", only("ops: twice"), /DSC3102.*ops that are no list/],
    ["an op that was not made with op", only('ops: [{ name: "x" }]'), /DSC3102[^]*number 1 of its ops is not made with op/],
    [
      "a kernel that was not made with family",
      only('kernels: [{ name: "x" }]'),
      /DSC3102[^]*number 1 of its kernels is not made with family/,
    ],
    ["natives of no architecture", only("natives: { sm_1: [] }"), /DSC3102.*natives of sm_1[^]*sm_90, sm_100/],
    ["a report that says nothing", only('reports: [{ name: "r", summary: "s" }]'), /DSC3102[^]*number 1 of its reports/],
    // Names.
    [
      "an op's name that is taken",
      whole().replaceAll('"twice"', '"add"'),
      /DSC3102.*takes a name that is taken: add[^]*there is an op add already/,
    ],
    [
      "a kernel's name that is taken",
      whole().replace('name: "twice",\n  serves', 'name: "flat",\n  serves'),
      /DSC3102.*taken: flat/,
    ],
    [
      "an activation's name that is taken",
      only('activations: [activation({ name: "silu", module: "S", flops: 1, value: (x) => x, tile: (x) => x })]'),
      /DSC3102.*taken: silu/,
    ],
    [
      "a report named like a pass",
      only('reports: [{ name: "tidy", summary: "s", graph: () => "x" }]'),
      /DSC3102.*taken: tidy[^]*the other is dsc's/,
    ],
    ["two plug-ins of one name", [whole(), only("ops: []")], /DSC3102.*taken: mine/],
    ["two plug-ins with one op", [whole(), whole().replace('name: "mine"', 'name: "other"')], /DSC3102.*taken: twice/],
    [
      "two passes of one name in two plug-ins",
      [
        only('passes: [pass({ name: "p", summary: "s", after: "load", run: (x) => x })]'),
        only('passes: [pass({ name: "p", summary: "s", after: "load", run: (x) => x })]').replace(
          'name: "mine"',
          'name: "other"',
        ),
      ],
      /DSC3102.*taken: p[^]*the other is of /,
    ],
    // What it computes.
    [
      "a kernel that computes something else",
      whole({ kernel: 'k.store(k.map("t", f.mul(k.load("v", 1, 512, x, at), 3)), y, at);' }),
      /DSC3111.*kernel twice[^]*tried: twice of x \[3, 130\] f32[^]*element 0 of out is .*, and its op says/,
    ],
    [
      "a kernel that is wrong beyond the first tile",
      whole({ kernel: 'k.store(k.map("t", f.mul(k.load("v", 1, 512, x, at), 2)), y, { at: ["p"], cols: 0, colLimit: 300 });' }),
      /DSC3111[^]*element 300 of out is NaN/,
    ],
    [
      "a kernel that writes past its result",
      whole({ kernel: 'k.store(k.map("t", f.mul(k.load("v", 1, 512, x, at), 2)), y, { at: ["p"], cols: 0, colLimit: 512 });' }),
      /DSC3111[^]*writes past the end of out/,
    ],
    [
      "a kernel that writes into its operand",
      whole({
        kernel:
          'k.store(k.map("t", f.mul(k.load("v", 1, 512, x, at), 2)), y, at); k.store(k.map("z", f.mul(k.load("w", 1, 512, x, at), 2)), x, at);',
      }),
      /DSC3111/,
    ],
    ["a kernel without cases", whole({ cases: "" }), /DSC3111[^]*no cases/],
    [
      "a kernel that refuses its own case",
      whole({ match: '() => refuse("never")' }),
      /DSC3111[^]*does not take its own case: never/,
    ],
    [
      "a kernel with other arguments than match gives",
      whole({ match: "({ outs }) => one({}, [{ in: 0 }], [elements(outs[0])])" }),
      /DSC3111[^]*2 buffers and 1 dims, and match gives 1 and 1/,
    ],
    [
      "a kernel that throws",
      whole({ kernel: 'throw new Error("kaboom");' }),
      /DSC3111[^]*kaboom[^]*thrown at .*plugin-\d+\.ts:\d+/,
    ],
    ["a kernel that never ends", whole({ kernel: "for (;;);" }), /DSC3111[^]*it did not end in 2 s/],
    [
      "an op that says another shape than it gives",
      whole({ op: "reference: ({ x }) => ({ ...x, shape: [1], data: x.data.slice(0, 1) })" }),
      /DSC3111.*op twice[^]*its reference gives out as \[1\]/,
    ],
    [
      "an op that says it treats rows alike, and does not",
      whole({ op: "reference: ({ x }) => ({ ...x, data: x.data.map((v) => v - x.data[0]) })" }),
      /DSC3111.*op twice[^]*treats rows alike, and row \d+/,
    ],
    [
      "an op whose reference throws",
      whole({ op: 'reference: () => { throw new Error("kaboom"); }' }),
      /DSC3111.*op twice[^]*kaboom/,
    ],
    [
      "a case of sizes that the op has not",
      whole({ cases: 'cases: [{ op: "rms_norm", sizes: { e: 3 } }],' }),
      /DSC3111[^]*sizes has no d/,
    ],
    [
      "an activation whose tile is another",
      only(
        'activations: [activation({ name: "relu", module: "ReLU", flops: 1, value: (x) => Math.max(x, 0), tile: (x) => f.max(x, 1) })]',
      ),
      /DSC3111.*activation relu[^]*its value and its tile program differ/,
    ],
    [
      "a schedule that its native cannot run",
      only(
        'schedules: [schedule({ native: "block_gemm", problem: { n: 7168, k: 16384 }, rows: [1, 8], us: 1, schedule: { form: "split-k", rows: 128, kGroups: 4, tokens: 128, split: 9, stages: 40, xStages: 40, blocksPerSm: 3 } })]',
      ),
      /DSC3111.*schedule of block_gemm[^]*cannot run/,
    ],
    [
      "a schedule of no native",
      only('schedules: [schedule({ native: "gemm", problem: {}, rows: [1, 8], us: 1, schedule: {} })]'),
      /DSC3111[^]*there is no native gemm/,
    ],
    [
      "a native without cases",
      only(
        'natives: { sm_90: [native({ family: "t", serves: ["add"], schedules: onlySchedule(() => ({ form: "x" })), match: () => refuse("no"), emit: () => ({}) })] }',
      ),
      /DSC3111.*native t of sm_90[^]*no cases/,
    ],
    [
      "a report that throws",
      only('reports: [{ name: "r", summary: "s", graph: () => { throw new Error("kaboom"); } }]'),
      /DSC3104[^]*kaboom/,
    ],
    [
      "a table with a ragged row",
      only('reports: [{ name: "r", summary: "s", graph: () => ({ columns: ["a", "b"], rows: [[1]] }) }]'),
      /DSC3104[^]*row 0 of a table of 2 columns has 1 cells/,
    ],
    [
      "a plan hook that throws",
      only('reports: [{ name: "r", summary: "s", plan: () => { throw new Error("kaboom"); } }]'),
      /DSC3104[^]*kaboom/,
    ],
    [
      "a plan hook that writes into the plan",
      only('passes: [pass({ name: "p", summary: "s", after: "load", planned: (plan) => { plan.module.funcs.clear(); } })]'),
      /DSC3104/,
    ],
  ])("%s", async (_, texts, says) => {
    const said = await refusal(...(typeof texts === "string" ? [texts] : texts));
    expect(said).toMatch(says);
    expect(said).not.toMatch(/\n\s+at \S+ \(/);
  });
});

describe("let through, with a label", () => {
  test("an op without a reference", async () => {
    const { brings } = await loaded(whole({ op: "flops: () => 1", brings: "ops: [twice]" }));
    expect(brings.held).toMatchObject([
      { what: "op twice", proved: false, says: expect.stringMatching(/^not tried, because it has no reference/) },
    ]);
  });
  test("a hand-written kernel where there is no card", async () => {
    const { pipeline, brings } = await loaded(
      only(`natives: { sm_90: [native({ family: "t", serves: ["add"], schedules: { ...onlySchedule(() => ({ form: "x" })), estimate: () => 1e9 },
        match: (s) => (s.ins[0].dtype === "f32" ? { problem: {}, args: () => [{ in: 0 }, { in: 1 }, { out: 0 }], dims: [elements(s.outs[0])], rows: elements(s.outs[0]) } : refuse("f32 only")),
        emit: () => cudaKernel({ name: "t", header: [], params: [input("a", "f32"), input("b", "f32"), output("y", "f32")], dims: ["n"], launch: { grid: [1, 1, 1], block: 32, sharedBytes: 0 }, definitions: "", body: "" }),
        cases: [{ sizes: {}, rest: [3] }] })] }`),
    );
    expect(brings.held).toMatchObject([{ what: "native t of sm_90", proved: false, only: "cuda" }]);
    const warnings = (target: "cpu" | "cuda"): string =>
      compile(model, { ...defaults, target, activations: "f32", brings }, pipeline)
        .warnings.map(render)
        .join("\n");
    expect(warnings("cpu")).toBe("");
    expect(warnings("cuda")).toMatch(/warning\[DSC3113\].*native t of sm_90 is not tried, because there is no card/);
  });
});

test("nothing of it outlives its compile: words of one plug-in are not words of the next", async () => {
  await loaded(whole());
  expect(opNamed("twice")).toBeUndefined();
  expect(opByName.has("twice")).toBe(false);
  expect(knownActivations()).toEqual([...activationNames]);
  expect(() =>
    parseModule("module t\n\nfunc @f(%a: [T, 4] f32) assume {T = 1} {\n  %y = twice %a : [T, 4] f32\n  return y = %y\n}\n"),
  ).toThrow(/twice/);
});

test("an activation of a plug-in is what a config may ask for", async () => {
  const { pipeline, brings } = await loaded(
    only(
      'activations: [activation({ name: "relu", module: "ReLU", flops: 1, value: (x) => Math.max(x, 0), tile: (x) => f.max(x, 0) })]',
    ),
  );
  expect(brings.held.map((h) => h.says)).toEqual(["its value and its tile program agree"]);
  const { files } = compile(model, { ...defaults, set: ["hidden_act=relu"], brings }, pipeline);
  expect([...files.keys()].some((n) => /relu_mul/.test(n))).toBe(true);
  expect(() => compile(model, { ...defaults, set: ["hidden_act=relu"] })).toThrow(/hidden_act/);
});

test("a package of npm is a plug-in by its name", () => {
  const folder = path.join(work, "node_modules/dsc-plugin-twice");
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    path.join(folder, "package.json"),
    JSON.stringify({ name: "dsc-plugin-twice", version: "2.1.0", main: "index.ts" }),
  );
  writeFileSync(path.join(folder, "index.ts"), whole().replace('name: "mine"', 'name: "twice", version: "2.1.0"'));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(root, "dist/compiler/cli.js"), "compile", model, "-o", "out", "--plugin", "dsc-plugin-twice"],
    { cwd: work, encoding: "utf8" },
  );
  expect(stderr).not.toMatch(/error\[/);
  expect(stdout).toMatch(/kernel twice: held to its op/);
  expect(status).toBe(0);
});
