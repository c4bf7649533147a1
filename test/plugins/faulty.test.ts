// Faulty plug-ins, a row each: every one is refused with the file, and the line where there is one, or let through with a label that
// says what is not known of it. None gets a stack trace, hangs, ends the process silently or changes a model silently.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { loadPlugins } from "../../compiler/driver/plugins.ts";
import { DiagnosticError, ops, render } from "../../ir/index.ts";
import { standard } from "../../passes/index.ts";

const root = path.resolve(import.meta.dirname, "../..");
const work = mkdtempSync(path.join(tmpdir(), "dsc-faulty-"));
afterAll(() => rmSync(work, { recursive: true }));
const model = path.join(root, "test/fixtures/a01-v3-yarn");

let files = 0;
const write = (text: string): string => {
  const file = path.join(work, `plugin-${files++}.ts`);
  writeFileSync(file, text);
  return file;
};
const imports = `import { add, everyNode, lastRows, linear, mul, op, attr, ops, quantize, rmsNorm, scale, gated, Graph, Value } from "dsc/ir";
import { families } from "dsc/codegen";
import { pass, rebuild, rule, standard, runPipeline } from "dsc/passes";
const vars = { x: "[..b, d] a", gain: "[d] w" };
`;
/** A pass with these fields; its fourth line and on are `before`. */
const declared = (fields: string, before = ""): string => `${imports}${before}
export default pass({ name: "mine", summary: "A pass.", after: "load", ${fields} });`;
const runs = (body: string): string => declared(`run: (f, cx) => {\n${body}\n}`);
const ruled = (text: string): string => declared("rules: [r]", `const r = rule("r", ${text});`);

async function refusal(text: string): Promise<string> {
  const file = write(text);
  try {
    const { pipeline, brings } = await loadPlugins(undefined, [file], { seconds: 2 });
    compile(model, { ...defaults, brings, reproduceIn: work }, pipeline);
  } catch (e) {
    if (e instanceof DiagnosticError) return e.diagnostics.map(render).join("\n").replaceAll(file, "FILE");
    throw e;
  }
  return "accepted";
}

describe("refused, by name", () => {
  test.each<[string, string, RegExp]>([
    // How it is declared.
    ["a name that is taken", declared("run: (f) => f").replace('"mine"', '"tidy"'), /DSC3102.*takes a name that is taken: tidy/],
    [
      "a name not in kebab-case",
      declared("run: (f) => f").replace('"mine"', '"myPass"'),
      /DSC3102.*names a pass "myPass"[^]*write my-pass/,
    ],
    ["no name", declared("run: (f) => f").replace('name: "mine", ', ""), /DSC3102.*exports no pass[^]*no name/],
    ["no place", declared("run: (f) => f").replace('after: "load", ', ""), /DSC3102.*gives pass mine no place/],
    [
      "a place that is not there",
      declared("run: (f) => f").replace('"load"', '"laod"'),
      /DSC3102.*a place that is not there[^]*did you mean load/,
    ],
    ["two places", declared('run: (f) => f, before: "load"'), /DSC3102.*says two places/],
    [
      "a field nobody reads",
      declared("rule: [], run: (f) => f"),
      /DSC3102.*declares pass mine wrongly[^]*has a field rule; did you mean rules/,
    ],
    ["no summary", declared("run: (f) => f").replace('summary: "A pass.", ', ""), /DSC3102[^]*has no summary/],
    ["a rule that is none", declared('rules: [{ name: "r", from: () => 1, to: () => 1 }]'), /DSC3102[^]*not made with rule/],
    ["an async run", declared("run: async (f) => f"), /DSC3102[^]*async run/],
    [
      "hides a pass that is not there",
      declared('run: (f) => f, hides: ["pack-gate-dwon"]'),
      /DSC3102.*hides a pass that is not there[^]*did you mean pack-gate-up/,
    ],
    ["an empty pipeline", "export default { pipeline: [] };", /DSC3102[^]*is empty/],
    ["a pipeline in a Promise", "export default async (p) => p;", /DSC3102[^]*Promise/],
    ["a pipeline with a hole", "export default (p) => [...p, undefined];", /DSC3102[^]*is no pass/],
    // How it is read.
    [
      "a wrong import",
      'import { pas } from "dsc/passes";\nexport default pas({});',
      /FILE:2:1[^]*dsc\/passes has no export pas; did you mean pass\?/,
    ],
    [
      "a wrong builder",
      `${imports}import { rmsnorm } from "dsc/ir";\nconst r = rule("r", { vars, from: ({ x, gain }) => rmsnorm({ x, gain }), to: ({ x }) => x });\nexport default pass({ name: "m", summary: "s", rules: [r], after: "load" });`,
      /no export rmsnorm; did you mean rmsNorm\?/,
    ],
    ["throws while it is read", '\nthrow new Error("kaboom");', /DSC3101[^]*FILE:2:1[^]*kaboom/],
    [
      "rejects while it is read",
      '\nPromise.reject(new Error("kaboom"));\nexport default (p) => p;',
      /DSC3101[^]*FILE:2:1[^]*promise of its own was rejected[^]*kaboom/,
    ],
    ["ends the process while it is read", "\nprocess.exit(0);", /DSC3101[^]*FILE:2:1[^]*process\.exit/],
    // What its rules say.
    [
      "a dropped attribute",
      declared(
        "rules: [r]",
        'const r = rule("r", { vars: { x: "[T, d] a", gain: "[d] w", batch: "batch" }, attrs: { eps: 1e-6 }, from: ({ x, gain, batch, eps }) => lastRows({ x: rmsNorm({ x, gain, eps }), batch }), to: ({ x, gain, batch }) => rmsNorm({ x: lastRows({ x, batch }), gain }) });',
      ),
      /DSC3103[^]*eps = 0\.7/,
    ],
    [
      "a factor within e4m3",
      ruled(
        '{ vars, within: "e4m3", from: ({ x, gain }) => rmsNorm({ x, gain }), to: ({ x, gain }) => scale({ x: rmsNorm({ x, gain }), by: 1.1 }) }',
      ),
      /DSC3103[^]*element 0 is/,
    ],
    [
      "a change without a bound",
      ruled('{ vars, changes: "why not", from: ({ x }) => gated({ gate: x, up: x }), to: ({ x }) => x }'),
      /DSC3103[^]*changes has no bound/,
    ],
    [
      "a wrong operand",
      ruled(
        '{ vars: { x: "[..b, d] a", y: "[..b, d] a" }, from: ({ x, y }) => gated({ gate: x, up: y }), to: ({ x, y }) => gated({ gate: y, up: x }) }',
      ),
      /DSC3103/,
    ],
    [
      "a throwing side",
      ruled("{ vars, from: ({ x, gain }) => rmsNorm({ x, gain }), to: ({ x }) => x.nothing.there }"),
      /DSC3103[^]*evaluating it failed/,
    ],
    // What it does.
    ["throws", runs('throw new Error("kaboom");'), /DSC3104[^]*FILE:7:1[^]*kaboom[^]*thrown at FILE:7/],
    ["throws what is no error", runs('throw "kaboom";'), /DSC3104[^]*kaboom/],
    ["reads what is not there", runs("return f.nodes.map((n) => n);"), /DSC3104[^]*FILE:7:1[^]*Cannot read properties/],
    ["gives nothing", runs("rebuild(f, cx.module.graph, () => undefined);"), /DSC3104[^]*run gave nothing/],
    ["gives a Promise", runs("return Promise.resolve(f);"), /DSC3104[^]*run gave a Promise/],
    ["gives half a function", runs("return { name: f.name };"), /DSC3104[^]*without params/],
    ["gives another function", runs('return { ...f, name: "other" };'), /DSC3104[^]*named "other"/],
    ["whole gives nothing", declared("whole: () => undefined"), /DSC3104[^]*whole gave nothing/],
    ["whole drops the weights", declared("whole: (m) => ({ ...m, weights: undefined })"), /DSC3104[^]*without a map of weights/],
    ["ends the process", runs("process.exit(0);"), /DSC3104[^]*FILE:7:1[^]*process\.exit/],
    [
      "fires for ever",
      ruled(
        '{ vars: { x: "[..b, d] a", y: "[..b, d] a" }, from: ({ x, y }) => add({ a: x, b: y }), to: ({ x, y }) => add({ a: y, b: x }) }',
      ),
      /DSC310[45][^]*rule "r"/,
    ],
    [
      "another type at its site",
      ruled(
        '{ vars: { x: "[..b, k] a", w: "[n, k] w" }, from: ({ x, w }) => linear({ x, w }), to: ({ x, w }) => (w.node.op.name === "weight" ? x : linear({ x, w })) }',
      ),
      /DSC310[34]/,
    ],
    // What it changes.
    [
      "multiplies a layer",
      runs('return rebuild(f, cx.module.graph, (v, n) => (n.op.name === "add" ? [scale({ x: v[0], by: 1.5 })] : undefined));'),
      /DSC3107.*changes what is computed[^]*logit \d+ of row \d+ is[^]*mine-before(-\d+)?\.dsc/,
    ],
    [
      "another eps, by whole",
      declared(
        'whole: (m, cx) => ({ ...m, funcs: new Map([...m.funcs].map(([k, f]) => [k, rebuild(f, m.graph, (v, n) => (n.op.name === "rms_norm" ? [rmsNorm({ x: v[0].node.operands[0], gain: v[0].node.operands[1], eps: 0.1 })] : undefined))])) })',
      ).replace('after: "load"', 'before: "last-rows"'),
      /DSC3107/,
    ],
    [
      "a rule that looks at the graph around it",
      declared(
        "rules: [r]",
        'const r = rule("r", { vars: { x: "[..b, d] a", y: "[..b, d] a" }, from: ({ x, y }) => gated({ gate: x, up: y }), to: ({ x, y }) => (x.node.op.name === "param" ? gated({ gate: x, up: y }) : y) });',
      ).replace('after: "load"', 'before: "absorb-mla", hides: ["pack-gate-up", "fuse-quant", "combine-add"]'),
      /DSC3107/,
    ],
    [
      "an op without a kernel",
      declared(
        'run: (f, cx) => rebuild(f, cx.module.graph, (v, n) => (n.op.name === "gated" ? [twice({ x: v[0] })] : undefined))',
        'const twice = op("twice", { summary: "x", ins: { x: "[..b] a" }, out: "[..b] a", reference: ({ x }) => x });',
      ).replace('after: "load"', 'before: "pack-gate-up", hides: ["pack-gate-up", "fuse-quant", "combine-add"]'),
      /DSC3010[^]*--> \w+\/\w+\/[^]*pass mine made it: the plug-in FILE/,
    ],
    // What it writes into.
    [
      "writes into operands",
      runs("for (const n of everyNode(f)) n.operands[0] = n.operands[1];"),
      /DSC3104[^]*FILE:7:1[^]*values/,
    ],
    ["writes into attributes", runs("for (const n of everyNode(f)) n.attrs.eps = 1;"), /DSC3104[^]*FILE:7:1/],
    ["writes into a node", runs("for (const n of everyNode(f)) n.op = add.op;"), /DSC3104[^]*FILE:7:1/],
    ["writes into results", runs("f.results[0] = f.results.at(-1); return f;"), /DSC3104[^]*FILE:7:1/],
    ["renames a result", runs('f.results[0].name = "x"; return f;'), /DSC3104[^]*FILE:7:1/],
    ["writes into a type", runs("f.params[0].value.type.dims[0] = 7; return f;"), /DSC3104[^]*FILE:7:1/],
    ["pushes onto the nodes", runs("everyNode(f).push(1); return f;"), /DSC3104[^]*FILE:7:1/],
    ["sets a function of the module", runs("cx.module.funcs.set(f.name, f); return f;"), /DSC3104[^]*FILE:7:1/],
    ["deletes a weight", runs("cx.module.weights.delete([...cx.module.weights.keys()][0]); return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into a weight", runs('[...cx.module.weights.values()][0].type.dtype = "bf16"; return f;'), /DSC3104[^]*FILE:7:1/],
    [
      "writes into a weight's source",
      runs(
        '[...cx.module.weights.values()].find((w) => w.source.kind === "checkpoint").source.pieces[0].tensor = "x"; return f;',
      ),
      /DSC3104[^]*FILE:7:1/,
    ],
    ["writes into the entries", runs("cx.module.entries.decode = cx.module.entries.prefill; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into the sizes", runs("f.assume.T = 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into an op", runs("add.op.reference = () => 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into an op's attributes", runs("rmsNorm.op.attrs.eps.initial = 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into the list of ops", runs("ops.length = 0; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into another pass", runs("standard[0].run = undefined; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into the pipeline", runs("standard.length = 0; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into a rule", runs("standard.find((p) => p.rules).rules[0].apply = () => null; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into its options", runs("cx.options.x = 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into the families", runs("families.flat.kernel = () => 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["teaches all graphs something else", runs("Graph.prototype.node = () => 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["teaches all values something else", runs("Value.prototype.type = 1; return f;"), /DSC3104[^]*FILE:7:1/],
    ["writes into what is loaded, at once", `${imports}add.op.name = "mul";\nexport default (p) => p;`, /DSC3101[^]*FILE:5:1/],
  ])("%s", async (_, text, says) => {
    const said = await refusal(text);
    expect(said).toMatch(says);
    expect(said).not.toMatch(/\n\s+at \S+ \(/);
  });
});

test("what was tried changed nothing: a compile afterwards is what it was before", () => {
  const plain = (): Map<string, string | Uint8Array> => compile(model, { ...defaults, reproduceIn: work }).files;
  expect(plain()).toEqual(plain());
  expect(Object.isFrozen(standard)).toBe(true);
  expect(ops.every((o) => Object.isFrozen(o))).toBe(true);
});

describe("let through, with a label", () => {
  const accepted = async (text: string): Promise<{ says: string; warnings: string }> => {
    const { pipeline, brings } = await loadPlugins(undefined, [write(text)]);
    const c = compile(model, { ...defaults, brings, reproduceIn: work }, pipeline);
    return { says: [...c.held, ...c.proofs].map((p) => p.says).join(), warnings: c.warnings.map(render).join("\n") };
  };
  test("a pass that does nothing", async () =>
    expect(await accepted(runs("return f;"))).toEqual({ says: "proved: it changes nothing", warnings: "" }));
  test("a pass that keeps the function", async () => {
    const { says } = await accepted(
      runs('return rebuild(f, cx.module.graph, (v, n) => (n.op.name === "add" ? [scale({ x: v[0], by: 1 })] : undefined));'),
    );
    expect(says).toBe("proved on the model made small, before and after");
  });
  test("a pass that acts on widths that the small model does not have", async () => {
    const { says, warnings } = await accepted(
      runs(
        'return rebuild(f, cx.module.graph, (v, n) => (n.op.name === "add" && v[0].type.dims.at(-1) > 1e6 ? [scale({ x: v[0], by: 2 })] : undefined));',
      ),
    );
    expect(says).toBe("proved: it changes nothing");
    expect(warnings).toBe("");
  });
  test("a pattern hidden on purpose", async () => {
    const { warnings } = await accepted(
      runs(
        'return rebuild(f, cx.module.graph, (v, n) => (n.op.name === "gated" ? [gated({ gate: scale({ x: v[0].node.operands[0], by: 1 }), up: v[0].node.operands[1] })] : undefined));',
      ).replace('after: "load"', 'before: "pack-gate-up", hides: ["pack-gate-up"]'),
    );
    expect(warnings).toMatch(/warning\[DSC3003\]: pack-gate-up[^]*mine declares that it hides the pattern/);
  });
});

describe("through the command line", () => {
  const dsc = (text: string): { status: number | null; out: string } => {
    const out = path.join(work, "out");
    rmSync(out, { recursive: true, force: true });
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [path.join(root, "dist/compiler/cli.js"), "compile", model, "-o", out, "--plugin", write(text)],
      { encoding: "utf8" },
    );
    return { status, out: stdout + stderr };
  };
  test("a timer does not keep dsc alive", () => {
    const { status } = dsc("setInterval(() => {}, 1000);\nexport default (p) => p;");
    expect(status).toBe(0);
    expect(existsSync(path.join(work, "out/manifest.json"))).toBe(true);
  });
  test("the process is not ended silently from a timer", () => {
    const { status, out } = dsc("const { exit } = process; setImmediate(() => exit(0));\nexport default (p) => p;");
    expect(out).toMatch(/DSC3110[^]*process\.exit|DSC3109/);
    expect(status).toBe(1);
  });
  test("a promise rejected later is the plug-in's", () => {
    const { status, out } = dsc('export default (p) => {\n  Promise.reject(new Error("kaboom"));\n  return p;\n};');
    expect(out).toMatch(/DSC3110[^]*kaboom[^]*:2:3/);
    expect(status).toBe(1);
  });
});
