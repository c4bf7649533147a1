// The one text format: what it prints, ir/parse.ts reads back to the same module. It is also the test format and the
// bug-report format. `%` values, `@` weights and functions; types last, in one column.
import { printAttrs } from "./attr.ts";
import type { Share, Source } from "./artifact.ts";
import { bodyOf, topological, type Func, type Module, type NamedValue, type Node, type Value, type WeightDecl } from "./graph.ts";
import { printMesh } from "./mesh.ts";
import { printOrigins } from "./origin.ts";
import { callOf } from "./ops/module.ts";
import { printType } from "./types.ts";

/**
 * The whole module. With `origins`, each line ends in a comment saying where its node came from; `printed` keeps texts of
 * functions between snapshots of one compile.
 */
export function printModule(m: Module, options: { origins?: boolean; printed?: Map<Func, string> } = {}): string {
  const out = [`module ${m.name}`, ...(m.mesh ? [`mesh ${printMesh(m.mesh)}`] : []), ""];
  const read = new Set<string>();
  for (const f of m.funcs.values()) for (const n of everyNode(f)) if (n.leaf?.kind === "weight") read.add(n.leaf.name);
  for (const l of m.load) for (const symbol of Object.values(l.writes)) read.add(symbol);
  for (const w of [...m.weights.values()].filter((w) => read.has(w.name))) out.push(printWeight(w));
  for (const f of m.funcs.values()) {
    const text = options.printed?.get(f) ?? printFunc(f, options);
    options.printed?.set(f, text);
    out.push("", text);
  }
  out.push("");
  for (const [k, v] of Object.entries(m.entries)) if (v) out.push(`entry ${k} = @${v}`);
  for (const l of m.load)
    out.push(
      `load @${l.func} {layers = [${l.layers.join(", ")}]} -> ${Object.entries(l.writes)
        .map(([r, w]) => `${r} = @${w}`)
        .join(", ")}`,
    );
  return out.join("\n") + "\n";
}

function printWeight(w: WeightDecl): string {
  const layers = w.layers ? ` layers ${printLayers(w.layers)}` : "";
  return `@${w.name} : ${printType(w.type)}${layers} from ${printSource(w.source)}`;
}

/** "3..60", or a list. */
export function printLayers(layers: readonly number[]): string {
  const run = layers.length > 1 && layers.every((l, i) => l === layers[0] + i);
  return run ? `${layers[0]}..${layers.at(-1)}` : `[${layers.join(", ")}]`;
}

function printSource(s: Source): string {
  if (s.kind === "rope") return `rope ${JSON.stringify({ factor: s.factor, invFreq: s.invFreq })}`;
  if (s.kind === "computed") return `computed ${JSON.stringify({ by: s.by, result: s.result })}`;
  return s.pieces
    .map((p) =>
      [
        ...(p.at.length ? [`[${p.at.join(", ")}]`] : []),
        ...(p.rows ? [`rows ${p.rows.join("..")}`] : []),
        ...(p.columns ? [`columns ${p.columns.join("..")}`] : []),
        ...(p.share ? [`share ${printShare(p.share)}`] : []),
        ...(p.part ? [`part ${p.part.index} of ${p.part.count} ${p.part.of}`] : []),
        JSON.stringify(p.tensor),
        ...(p.scales ? [`scaled ${JSON.stringify(p.scales)}`] : []),
      ].join(" "),
    )
    .join(" + ");
}

/** "columns/tp", "experts/ep columns/etp". */
const printShare = (share: Share): string =>
  Object.entries(share)
    .map(([of, axis]) => `${of}/${axis}`)
    .join(" ");

const everyNodes = new WeakMap<object, readonly Node[]>();

/** Every node of a function, regions included, operands first. Functions do not change, so the list is made once. */
export function everyNode(f: Pick<Func, "results">): readonly Node[] {
  const before = everyNodes.get(f.results);
  if (before) return before;
  const out: Node[] = [];
  const visit = (nodes: Node[]): void => {
    for (const n of nodes) {
      if (n.region) visit(bodyOf(n.region));
      out.push(n);
    }
  };
  visit(topological(f.results.map((r) => r.value)));
  Object.freeze(out);
  everyNodes.set(f.results, out);
  return out;
}

/** A statement, its types, a comment, and the node it is of. */
type Line = [text: string, types: string, comment: string, node?: Node];

function linesOf(f: Func, origins: boolean): { lines: Line[]; names: Names } {
  const names = new Names();
  for (const p of f.params) names.fix(p.value, p.name);
  const lines: Line[] = [];
  emit(
    topological(f.results.map((r) => r.value)).filter((n) => n.leaf?.kind !== "param"),
    names,
    lines,
    "  ",
    origins,
  );
  return { lines, names };
}

/** The line of every node but weights and parameters, as `printFunc` has it, without indentation and padding. */
export const nodeLines = (f: Func): Map<Node, string> =>
  new Map(linesOf(f, false).lines.flatMap(([l, t, , n]) => (n ? [[n, t ? `${l.trim()} : ${t}` : l.trim()] as const] : [])));

/** The line of every node but weights and parameters, counted from the head of its function. */
export const rowsOf = (f: Func): Map<Node, number> =>
  new Map(linesOf(f, false).lines.flatMap(([, , , n], i) => (n ? [[n, i + 1] as const] : [])));

/** The text of one function, as `printModule` has it. */
export function printFunc(f: Func, options: { origins?: boolean } = {}): string {
  const { lines, names } = linesOf(f, options.origins === true);
  const width = Math.min(84, Math.max(0, ...lines.map(([l, t]) => (t ? l.length : 0))));
  const assume = Object.entries(f.assume).map(([k, v]) => `${k} = ${v}`);
  const text = lines.map(([l, t, c]) => (t ? `${l.padEnd(width)} : ${t}` : l) + (c ? `  // ${c}` : ""));
  const head =
    "func " +
    `@${f.name}(${f.params.map((p) => printParam(p)).join(", ")})${assume.length ? ` assume {${assume.join(", ")}}` : ""} ` +
    "{";
  return [head, ...text, `  return ${f.results.map((r) => `${r.name} = ${names.of(r.value)}`).join(", ")}`, "}"].join("\n");
}

/** "%ids: [T] i32 from ids": the role last, where the step brings the parameter along. */
function printParam({ name, value }: NamedValue): string {
  const leaf = value.node.leaf;
  return `%${name}: ${printType(value.type)}${leaf?.kind === "param" && leaf.role ? ` from ${leaf.role}` : ""}`;
}

class Names {
  readonly #given = new Map<Value, string>();
  readonly #taken = new Set<string>();
  #next = 0;

  fix(v: Value, name: string): void {
    this.#given.set(v, name);
    this.#taken.add(name);
  }

  of(v: Value): string {
    if (v.node.leaf?.kind === "weight") return `@${v.node.leaf.name}`;
    let name = this.#given.get(v);
    if (name === undefined) {
      const hint = v.node.graph.nameOf(v);
      name = hint ?? String(this.#next++);
      for (let i = 1; this.#taken.has(name); i++) name = hint ? `${hint}.${i}` : String(this.#next++);
      this.fix(v, name);
    }
    return `%${name}`;
  }
}

function emit(nodes: readonly Node[], names: Names, lines: Line[], indent: string, origins: boolean): void {
  for (const n of nodes) {
    if (n.leaf?.kind === "weight") continue;
    const dst = n.results.map((r) => names.of(r)).join(", ");
    const args = n.operands.map((o) => names.of(o)).join(", ");
    const comment = origins ? printOrigins(n.graph.originsOf(n)) : "";
    const types = n.results.map((r) => printType(r.type)).join(", ");
    if (n.region) {
      const params = n.region.params.map((p) => `${names.of(p)}: ${printType(p.type)}`).join(", ");
      lines.push([`${indent}${dst} = ${n.op.name} ${args}${printAttrs(n.attrs, n.op.attrs)} { (${params}) ->`, "", comment, n]);
      emit(bodyOf(n.region), names, lines, indent + "  ", origins);
      lines.push([`${indent}  yield ${n.region.results.map((r) => names.of(r)).join(", ")}`, "", ""], [`${indent}}`, types, ""]);
      continue;
    }
    const called = callOf(n);
    const word = called ? `call @${called.func}` : n.op.name;
    const attrs = called ? (called.layer >= 0 ? ` {layer = ${called.layer}}` : "") : printAttrs(n.attrs, n.op.attrs);
    lines.push([`${indent}${dst} = ${word}${args ? " " + args : ""}${attrs}`, types, comment, n]);
  }
}
