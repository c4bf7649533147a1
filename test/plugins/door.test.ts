// The plug-in door, in process: how a pass from outside comes in, and what happens to one that is wrong, throws, never ends or
// breaks the graph. Every failure names plug-in, rule and place, and the text it leaves shows it again.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { guardOf } from "../../compiler/driver/plugin-gate.ts";
import { loadPlugins as load } from "../../compiler/driver/plugins.ts";
import { DiagnosticError, parseModule, type Diagnostic } from "../../ir/index.ts";
import { choosePasses, runPipeline, standard, type Pass } from "../../passes/index.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-door-"));
afterAll(() => rmSync(work, { recursive: true }));
const model = path.resolve(import.meta.dirname, "../fixtures/a01-v3-yarn");
const example = path.resolve(import.meta.dirname, "../../examples/plugin-pass/last-row-norm.ts");

const loadPlugins = async (...given: Parameters<typeof load>): Promise<readonly Pass[]> => (await load(...given)).pipeline;

let files = 0;
function plugin(text: string, name = `plugin-${files++}.ts`): string {
  const file = path.join(work, name);
  writeFileSync(file, text);
  return file;
}
/** A plug-in with the usual imports around a pass. */
const declared = (fields: string, rules = ""): string => `
  import { add, mul, rmsNorm, scale, gated } from "dsc/ir";
  import { pass, rebuild, rule } from "dsc/passes";
  const vars = { x: "[..b, d] a", gain: "[d] w" } as const;
  ${rules}
  export default pass({ name: "mine", summary: "A pass.", after: "add-norm", ${fields} });`;

const failure = async (f: () => unknown): Promise<Diagnostic[]> => {
  try {
    await f();
  } catch (e) {
    if (e instanceof DiagnosticError) return e.diagnostics;
    throw e;
  }
  throw new Error("nothing failed");
};
const compiled = (pipeline: readonly Pass[]): ReturnType<typeof compile> =>
  compile(model, { ...defaults, reproduceIn: work }, pipeline);
const names = (pipeline: readonly Pass[]): string[] => pipeline.map((p) => p.name);

describe("ways in", () => {
  test("a pass that says after which one it goes; the artifact says which file it was", async () => {
    const pipeline = await loadPlugins(undefined, [example]);
    expect(names(pipeline)).toEqual(names(standard).flatMap((n) => (n === "last-rows" ? ["last-row-norm", n] : [n])));
    const { manifest, outcome } = compiled(pipeline);
    expect(manifest.options.plugins).toMatch(/^last-row-norm \(last-row-norm\.ts sha256:[0-9a-f]{64}\)$/);
    expect(
      outcome.ledger.entries.filter((e) => e.pass === "last-row-norm" && e.outcome === "fired").map((e) => `${e.site}/${e.at}`),
    ).toEqual(["prefill/last_rows", "extend/last_rows"]);
    expect(compile(model, defaults).manifest.options.plugins).toBeUndefined();
  });

  test("a function of the pipeline, and a pipeline", async () => {
    const f = plugin(
      `import { standard } from "dsc/passes"; export default (given) => given.filter((p) => p.name !== "combine-add");`,
    );
    expect(names(await loadPlugins(undefined, [f]))).toEqual(names(standard).filter((n) => n !== "combine-add"));
    const p = plugin(`import { standard, insertBefore, pass } from "dsc/passes";
      export default { pipeline: insertBefore(standard, "load", pass({ name: "nothing", summary: "Does nothing.", run: (f) => f })) };`);
    expect(names(await loadPlugins(undefined, [p])).slice(-3)).toEqual(["nothing", "load", "join-query"]);
  });

  test("typed options", async () => {
    const file = plugin(`import { attr } from "dsc/ir"; import { pass } from "dsc/passes";
      export default pass({ name: "counts", summary: "Counts.", after: "load", options: { by: attr.int(2), word: attr.word(["a", "b"], "a") },
        run: (f, cx) => { cx.refused("counted", JSON.stringify(cx.options)); return f; } });`);
    const pipeline = await loadPlugins(undefined, [file]);
    const said = (given: Record<string, string>): string | undefined =>
      compile(model, { ...defaults, passOptions: given }, pipeline).outcome.ledger.entries.find((e) => e.rule === "counted")
        ?.reason;
    expect(said({})).toBe('{"by":2,"word":"a"}');
    expect(said({ "counts.by": "7", "counts.word": "b" })).toBe('{"by":7,"word":"b"}');
  });
});

describe("what is no plug-in", () => {
  test.each([
    ["no such file", () => path.join(work, "nowhere.ts"), "DSC3101", /no such file/],
    ["a syntax error", () => plugin("export default {"), "DSC3101", /./],
    ["an import of nothing", () => plugin(`import "./not-there.ts"; export default 1;`), "DSC3101", /not-there/],
    ["no default export", () => plugin("export const x = 1;"), "DSC3102", /no default export/],
    [
      "no place",
      () => plugin(`import { pass } from "dsc/passes"; export default pass({ name: "p", summary: "s", run: (f) => f });`),
      "DSC3102",
      /does not say where it goes/,
    ],
    [
      "a misspelt place",
      () =>
        plugin(
          `import { pass } from "dsc/passes"; export default pass({ name: "p", summary: "s", run: (f) => f, after: "add-nrom" });`,
        ),
      "DSC3102",
      /after add-nrom/,
    ],
    ["a misspelt field", () => plugin(declared("rule: []")), "DSC3102", /has a field rule; did you mean rules\?/],
    ["nothing to do", () => plugin(declared("rules: []")), "DSC3102", /neither rules nor run/],
    [
      "a name that is taken",
      () =>
        plugin(
          `import { pass } from "dsc/passes"; export default pass({ name: "load", summary: "s", run: (f) => f, after: "load" });`,
        ),
      "DSC3102",
      /two passes are named load/,
    ],
    [
      "a builder called wrongly",
      () => plugin(declared("rules: [r]", 'const r = rule("r", { vars, from: ({ x }) => gated({ y: x }), to: ({ x }) => x });')),
      "DSC3103",
      /gated/,
    ],
    [
      "a rule that is no equation",
      () =>
        plugin(
          declared(
            "rules: [r]",
            'const r = rule("a gate is nothing", { vars, from: ({ x }) => gated({ gate: x, up: x }), to: ({ x }) => scale({ x, by: 1 }) });',
          ),
        ),
      "DSC3103",
      /counterexample, seed 1: x \[3, 4\] f32/,
    ],
    ["a file that never ends", () => plugin("for (;;);"), "DSC3101", /did not end/],
  ])("%s", async (what, file, code, says) => {
    const [d] = await failure(async () => loadPlugins(undefined, [file()], /never ends/.test(what) ? { seconds: 0.5 } : {}));
    expect(d.code).toBe(code);
    expect(`${d.title}\n${d.notes.join("\n")}`).toMatch(says);
    expect(d.help).toBeTruthy();
    expect(JSON.stringify(d)).not.toMatch(/\\n\s+at /);
  });
});

describe("what goes wrong while it runs", () => {
  /** The failure, and whether its text shows it again. */
  async function both(text: string, seconds?: number): Promise<{ d: Diagnostic; again: Diagnostic; file: string }> {
    const file = plugin(text);
    // One that is there would be kept, and this one written under another name.
    rmSync(path.join(work, "mine-before.dsc"), { force: true });
    const pipeline = await loadPlugins(undefined, [file]);
    const run = (m: ReturnType<typeof parseModule>, only: readonly Pass[]): unknown =>
      runPipeline(m, only, {}, { contracts: false, guard: guardOf(work, seconds) });
    const [d] = await failure(() =>
      seconds
        ? run(parseModule(compile(model, { ...defaults, passes: "none" }).files.get("graph/00-frontend.dsc") as string), pipeline)
        : compiled(pipeline),
    );
    const repro = path.join(work, "mine-before.dsc");
    expect(existsSync(repro)).toBe(true);
    expect(d.notes.join("\n")).toContain("mine-before.dsc");
    expect(d.help).toMatch(/^dsc opt \S*mine-before\.dsc -p mine --plugin \S+ shows it again$/);
    const [again] = await failure(() => run(parseModule(readFileSync(repro, "utf8")), choosePasses("mine", pipeline)));
    return { d, again, file };
  }
  const same = ({ d, again }: { d: Diagnostic; again: Diagnostic }): void => {
    expect(again.code).toBe(d.code);
    expect(again.spans[0].label).toBe(d.spans[0].label);
  };

  test("a rule that throws", async () => {
    const out = await both(
      declared(
        "rules: [r]",
        'const r = rule("throws", { vars, from: ({ x, gain }) => rmsNorm({ x, gain }), to: ({ x, gain }) => { if (x.type.dims[1] > 9) throw new Error("too wide"); return rmsNorm({ x, gain }); } });',
      ),
    );
    expect(out.d).toMatchObject({
      code: "DSC3104",
      spans: [{ file: out.file, label: expect.stringMatching(/^rule "throws" in \w+\/\w+\/\w+$/) }],
    });
    expect(out.d.notes[0]).toBe("Error: too wide");
    same(out);
  });

  test("a rule whose sides have other types where it fires", async () => {
    const out = await both(
      declared(
        "rules: [r]",
        'const r = rule("widens", { vars: { x: "[..b, d] a", y: "[..b, d] a" }, from: ({ x, y }) => add({ a: x, b: y }), to: ({ x, y }) => x.node.op.name === "param" && y.node.op.name === "param" ? add({ a: x, b: y }) : scale({ x: y.node.operands[0] ?? x, by: 2 }) });',
      ).replace("add-norm", "moe-dispatch"),
    );
    expect(["DSC3104", "DSC3105"]).toContain(out.d.code);
    same(out);
  });

  test("a rule that contains its own pattern", async () => {
    const out = await both(
      declared(
        "rules: [r]",
        'const r = rule("grows", { vars, from: ({ x, gain }) => rmsNorm({ x, gain, eps: 1e-6 }), to: ({ x, gain }) => scale({ x: scale({ x: rmsNorm({ x, gain, eps: 1e-6 }), by: 2 }), by: 0.5 }) });',
      ),
    );
    expect(out.d.code).toBe("DSC3104");
    same(out);
  });

  test("a loop without end", async () => {
    const out = await both(declared("run: (f) => { for (;;); }"), 0.4);
    expect(out.d).toMatchObject({
      code: "DSC3105",
      title: expect.stringContaining("did not end in 0.4 s"),
      spans: [{ label: expect.stringMatching(/^in \w+\/\w+$/) }],
    });
    same(out);
  });

  test("a broken graph: a value of another function", async () => {
    const out = await both(
      declared(
        "run: (f) => { last ??= f; return { ...f, results: f.results.map((r) => (r.name === 'next' ? { ...r, value: last.params[0].value } : r)) }; }",
        "let last;",
      ),
    );
    expect(out.d.code).toBe("DSC9002");
    expect(out.d.title).toContain("broke the graph");
  });
});

test("a plug-in that hides a pattern is named beside the contract it broke", async () => {
  const file = plugin(
    declared(
      "run: (f, cx) => rebuild(f, cx.module.graph, (v, n) => (n.op.name === 'gated' ? [gated({ gate: scale({ x: v[0].node.operands[0], by: 1 }), up: v[0].node.operands[1] })] : undefined)), before: 'pack-gate-up'",
    ).replace('after: "add-norm", ', ""),
  );
  const [d] = await failure(async () => compiled(await loadPlugins(undefined, [file])));
  expect(d.code).toBe("DSC3003");
  expect(d.notes.join("\n")).toContain(`a plug-in ran before it: mine (${file})`);
});
