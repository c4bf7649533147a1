// What the verifier says of broken graphs, one document each. A text parses to a sound module; BREAK names what a pass would do to it
// (below), since most of what is broken is refused while parsing. What stands below `// ==>` is the diagnostic, by `npm run bless`.
// Where the node at fault is one of the text, its line is named; where a pass made it, the line of the text the module prints as.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { parseModule, verify, type Func, type Module, type Node, type Type } from "../../ir/index.ts";
import { weightOp } from "../../ir/ops/module.ts";
import { tensor } from "../../ir/types.ts";
import { golden } from "./golden.ts";

const folder = path.join(import.meta.dirname, "verify");
const ARROW = "// ==>";

const withFunc = (m: Module, f: Func): Module => ({ ...m, funcs: new Map([...m.funcs, [f.name, f]]) });
const without = <V>(map: ReadonlyMap<string, V>, name: string): Map<string, V> => new Map([...map].filter(([k]) => k !== name));

/** A node like the one that makes the first result of @f, with other parts. */
function like(m: Module, change: (n: Node) => { operands?: Node["operands"]; types?: readonly Type[] }): Module {
  const f = m.funcs.get("f")!;
  const { node } = f.results[0].value;
  const { operands = node.operands, types = node.results.map((r) => r.type) } = change(node);
  const made = m.graph.node(node.op, operands, node.attrs, types, { fresh: true });
  return withFunc(m, { ...f, results: [{ ...f.results[0], value: made.results[0] }, ...f.results.slice(1)] });
}

const breaks: Readonly<Record<string, (m: Module) => Module>> = {
  nothing: (m) => m,
  "@w is no longer declared": (m) => ({ ...m, weights: without(m.weights, "w") }),
  "@w is declared with another type": (m) => ({ ...m, weights: new Map([...m.weights, ["w", { ...m.weights.get("w")!, type: tensor([3, 3], "f32") }]]) }),
  "@w is declared with an axis without a number": (m) => like({ ...m, weights: new Map([...m.weights, ["w", { ...m.weights.get("w")!, type: tensor(["T", 8], "f32") }]]) }, (n) => ({ operands: [n.operands[0], m.graph.node(weightOp, [], { name: "w" }, [tensor(["T", 8], "f32")], { fresh: true }).results[0]] })),
  "@g is no longer defined": (m) => ({ ...m, funcs: without(m.funcs, "g") }),
  "@g takes no values": (m) => withFunc(m, { ...m.funcs.get("g")!, params: [] }),
  "@g takes and gives what @h does": (m) => withFunc(m, { ...m.funcs.get("h")!, name: "g" }),
  "@f gives what @g does": (m) => withFunc(m, { ...m.funcs.get("f")!, results: m.funcs.get("g")!.results }),
  "decode enters @nothing": (m) => ({ ...m, entries: { ...m.entries, decode: "nothing" } }),
  "the result is made anew, with another type": (m) => like(m, () => ({ types: [tensor(["T", 9], "f32")] })),
  "the result is made anew, of its first operand alone": (m) => like(m, (n) => ({ operands: [n.operands[0]] })),
  "the result is made anew, of operands that do not fit": (m) => like(m, (n) => ({ operands: [n.operands[0], m.funcs.get("g")!.params[0].value] })),
};

for (const file of readdirSync(folder))
  test(file, () => {
    const head = readFileSync(path.join(folder, file), "utf8").split(`\n${ARROW}`)[0].trimEnd();
    const named = /^\/\/ BREAK: (.*)$/m.exec(head)![1];
    expect(Object.keys(breaks), "what BREAK may name").toContain(named);
    const broken = breaks[named](parseModule(`${head}\n`, file));
    let said = "";
    try {
      verify(broken, "graph/03-a-pass.dsc");
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      for (const d of e.diagnostics) expect(d.spans[0].line, d.title).toBeGreaterThan(0);
      said = e.message;
    }
    expect(said, "the verifier refuses it").not.toBe("");
    const now = `${head}\n${ARROW}\n${said.split("\n").map((l) => `// ${l}`.trimEnd()).join("\n")}\n`;
    golden(`verify/${file}`, now);
  });

test("everything that breaks a module has a document", () => {
  const used = readdirSync(folder).map((f) => /^\/\/ BREAK: (.*)$/m.exec(readFileSync(path.join(folder, f), "utf8"))![1]);
  expect(Object.keys(breaks).filter((b) => b !== "nothing" && !used.includes(b))).toEqual([]);
});
