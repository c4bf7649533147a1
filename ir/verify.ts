// What a graph guarantees, checked after every pass:
//   every node's result types are what its op infers from its operands
//   every value read is a parameter, or made by a node of the same function (or of the region around it)
//   every weight read is declared, with the type it is declared with; every call fits its function
import { DiagnosticError, type Diagnostic } from "./diagnostic.ts";
import { brokenGraph } from "./diagnostics.ts";
import type { Func, Module, Node } from "./graph.ts";
import { callOf } from "./ops/module.ts";
import { everyNode } from "./print.ts";
import { MOST_AXES, printType, sameType, type TensorType } from "./types.ts";

// Nodes do not change, so one whose types were inferred once need not be inferred after every pass. What depends on the module
// (weights, calls, parameters) is checked every time.
const sound = new WeakSet<Node>();

/** Throws a DiagnosticError listing what is broken, up to ten findings. */
export function verify(m: Module): void {
  const found: Diagnostic[] = [];
  for (const f of m.funcs.values()) found.push(...verifyFunc(m, f));
  for (const name of Object.values(m.entries)) if (name && !m.funcs.has(name)) found.push(brokenGraph(name, "an entry names it, but the module has no such function"));
  if (found.length) throw new DiagnosticError(found.slice(0, 10));
}

function verifyFunc(m: Module, f: Func): Diagnostic[] {
  const found: Diagnostic[] = [];
  // One fault of a function shows at every call of it: it is said once, with how often.
  const times = new Map<string, number>();
  const say = (problem: string): void => void times.set(problem, (times.get(problem) ?? 0) + 1);
  const params = new Set(f.params.map((p) => p.value.node));
  const nodes = everyNode(f);
  for (const n of nodes) for (const p of n.region?.params ?? []) params.add(p.node);
  for (const n of nodes) {
    const wide = n.results.find((r) => r.type.kind === "tensor" && r.type.dims.length > MOST_AXES);
    if (wide) say(`${n.op.name} gives a tensor of ${(wide.type as TensorType).dims.length} axes; the most is ${MOST_AXES}`);
    const called = callOf(n);
    if (n.leaf?.kind === "param") {
      if (!params.has(n)) say(`reads parameter ${n.leaf.name} of another function`);
    } else if (n.leaf) {
      const decl = m.weights.get(n.leaf.name);
      if (!decl) say(`reads @${n.leaf.name}, which is not declared`);
      else if (!sameType(decl.type, n.results[0].type)) say(`reads @${decl.name} as ${printType(n.results[0].type)}, declared ${printType(decl.type)}`);
    } else if (called) {
      const callee = m.funcs.get(called.func);
      if (!callee) say(`calls @${called.func}, which is not defined`);
      else {
        if (callee.params.length !== n.operands.length) say(`gives @${callee.name} ${n.operands.length} values, it takes ${callee.params.length}`);
        for (const [i, p] of callee.params.entries())
          if (n.operands[i] && !sameType(p.value.type, n.operands[i].type)) say(`gives @${callee.name} %${p.name} as ${printType(n.operands[i].type)}, it takes ${printType(p.value.type)}`);
        for (const [i, r] of callee.results.entries())
          if (n.results[i] && !sameType(r.value.type, n.results[i].type)) say(`takes ${r.name} from @${callee.name} as ${printType(n.results[i].type)}, it gives ${printType(r.value.type)}`);
      }
    } else if (!sound.has(n)) {
      const types = n.op.infer(n.operands.map((o) => o.type), n.attrs, n.region);
      if (typeof types === "string") say(`${n.op.name}: ${types}`);
      else if (types.length !== n.results.length || types.some((t, i) => !sameType(t, n.results[i].type))) say(`${n.op.name} has types ${n.results.map((r) => printType(r.type)).join(", ")}, inferred ${types.map(printType).join(", ")}`);
      else sound.add(n);
    }
  }
  for (const [problem, n] of times) found.push(brokenGraph(f.name, n > 1 ? `${problem} (x ${n})` : problem));
  return found;
}
