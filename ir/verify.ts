// What a graph guarantees, checked after every pass:
//   every node's result types are what its op infers from its operands
//   every value read is a parameter, or made by a node of the same function (or of the region around it)
//   no attribute is a hole of a rule's pattern
//   every weight read is declared, with the type it is declared with; every call fits its function
import { cachesOf } from "./caches.ts";
import { isHole } from "./attr.ts";
import { DiagnosticError, type Diagnostic } from "./diagnostic.ts";
import { brokenGraph } from "./diagnostics.ts";
import type { Func, Module, Node } from "./graph.ts";
import { callOf } from "./ops/module.ts";
import { ModulePlaces } from "./places.ts";
import { everyNode } from "./print.ts";
import { MOST_AXES, openAxis, printType, sameType, type TensorType, type Type } from "./types.ts";

// Nodes do not change, so one whose types were inferred once need not be inferred after every pass. What depends on the module
// (weights, calls, parameters) is checked every time.
const sound = new WeakSet<Node>();

/**
 * Throws a DiagnosticError listing what is broken, up to ten findings, each with its line: of the text that the module was parsed
 * from, and for what a pass made, of the text that the module prints as, named `file`.
 */
export function verify(m: Module, file = "<graph>"): void {
  const places = new ModulePlaces(m, file);
  const found: Diagnostic[] = [];
  for (const f of m.funcs.values()) found.push(...verifyFunc(m, f, places));
  cachesOf(
    m,
    (f, param, problem) =>
      void found.push(brokenGraph({ func: f.name, problem }, places.node(f, param.value.node, `%${param.name}`))),
  );
  for (const [kind, name] of Object.entries(m.entries))
    if (name && !m.funcs.has(name))
      found.push(
        brokenGraph(
          { func: name, problem: "an entry names it, but the module has no such function" },
          places.entry(kind, `@${name}`),
        ),
      );
  if (found.length) throw new DiagnosticError(found.slice(0, 10));
}

/** What of a node's line, or of a line that reads it, a finding underlines. */
function wordOf(n: Node): string {
  if (n.leaf) return `${n.leaf.kind === "param" ? "%" : "@"}${n.leaf.name}`;
  const called = callOf(n);
  return called ? `@${called.func}` : n.op.name;
}

const printTypes = (types: readonly Type[]): string => types.map(printType).join(", ");

/** What is wrong of a node by itself, inference aside. */
function faultsOf({ op, attrs, results }: Node): string[] {
  const wide = results.find((r) => r.type.kind === "tensor" && r.type.dims.length > MOST_AXES);
  const hole = Object.entries(attrs).find(([, v]) => (Array.isArray(v) ? v.some(isHole) : isHole(v)));
  return [
    ...(wide ? [`${op.name} gives a tensor of ${(wide.type as TensorType).dims.length} axes; the most is ${MOST_AXES}`] : []),
    ...(hole ? [`${op.name} has ${hole[0]} = ${JSON.stringify(hole[1])}: only the pattern of a rule has holes`] : []),
  ];
}

function verifyFunc(m: Module, f: Func, places: ModulePlaces): Diagnostic[] {
  // One fault of a function shows at every call of it: it is said once, where it shows first, with how often.
  const said = new Map<string, { times: number; n: Node; word: string }>();
  const sayAt = (n: Node, word: string, problem: string): void =>
    void said.set(problem, { n, word, ...said.get(problem), times: (said.get(problem)?.times ?? 0) + 1 });
  const params = new Set(f.params.map((p) => p.value.node));
  const nodes = everyNode(f);
  for (const n of nodes) for (const p of n.region?.params ?? []) params.add(p.node);
  for (const n of nodes) {
    const word = wordOf(n);
    const say = (problem: string): void => sayAt(n, word, problem);
    const lone = sound.has(n) ? [] : faultsOf(n);
    lone.forEach(say);
    const called = callOf(n);
    if (n.leaf?.kind === "param") {
      if (!params.has(n)) say(`reads parameter ${n.leaf.name} of another function`);
    } else if (n.leaf) {
      const decl = m.weights.get(n.leaf.name);
      if (!decl) say(`reads @${n.leaf.name}, which is not declared`);
      else if (!sameType(decl.type, n.results[0].type))
        say(`reads @${decl.name} as ${printType(n.results[0].type)}, declared ${printType(decl.type)}`);
      else if (openAxis(decl.type) !== undefined)
        say(
          `reads @${decl.name}, a weight of ${printType(decl.type)}; the sizes of a weight are numbers, and ${openAxis(decl.type)} is none`,
        );
    } else if (called) {
      const callee = m.funcs.get(called.func);
      if (!callee) say(`calls @${called.func}, which is not defined`);
      else {
        if (callee.params.length !== n.operands.length)
          say(`gives @${callee.name} ${n.operands.length} values, it takes ${callee.params.length}`);
        for (const [i, p] of callee.params.entries())
          if (n.operands[i] && !sameType(p.value.type, n.operands[i].type))
            say(`gives @${callee.name} %${p.name} as ${printType(n.operands[i].type)}, it takes ${printType(p.value.type)}`);
        for (const [i, r] of callee.results.entries())
          if (n.results[i] && !sameType(r.value.type, n.results[i].type))
            say(`takes ${r.name} from @${callee.name} as ${printType(n.results[i].type)}, it gives ${printType(r.value.type)}`);
      }
    } else if (!sound.has(n)) {
      const types = n.op.infer(
        n.operands.map((o) => o.type),
        n.attrs,
        n.region,
      );
      if (typeof types === "string") say(`${n.op.name}: ${types}`);
      else if (types.length !== n.results.length || types.some((t, i) => !sameType(t, n.results[i].type)))
        say(`${n.op.name} has types ${printTypes(n.results.map((r) => r.type))}, inferred ${printTypes(types)}`);
      else if (lone.length === 0) sound.add(n);
    }
  }
  return [...said].map(([problem, { times, n, word }]) =>
    brokenGraph({ func: f.name, problem: times > 1 ? `${problem} (x ${times})` : problem }, places.node(f, n, word)),
  );
}
