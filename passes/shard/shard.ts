// Dividing a model over ranks: `shard` writes the placement into the types and puts collectives where parts meet what cannot take them,
// `rank` gives the module that every rank runs. Both run first, where the model is written plainly; all other passes see one rank.
import { attr } from "../../ir/attr.ts";
import type { Func, Module, Value, WeightDecl } from "../../ir/graph.ts";
import { callOf, everyNode, tensor, weight } from "../../ir/index.ts";
import { meshWords, parseMesh, partsAlong, type Mesh } from "../../ir/mesh.ts";
import { wireOf } from "../../ir/wire.ts";
import { pass, type Cx, type Pass } from "../pass.ts";
import type { Table } from "../report.ts";
import { divideFunc, meetingsOf } from "./divide.ts";
import { localModule } from "./local.ts";
import { choicesOf, dividedDims, readsKind, type Group } from "./table.ts";

/** The module divided over a mesh, its placement in its types; `only` some groups of its weights where they are given. */
export function shardModule(m: Module, mesh: Mesh, cx?: Cx, only?: readonly Group[]): Module {
  const weights = new Map<string, WeightDecl>(m.weights);
  const values = new Map<string, Value>();
  for (const { group, kind, members, why } of choicesOf(m, mesh)) {
    if (only && !only.includes(group)) continue;
    const rule = `divide ${group}`;
    for (const f of m.funcs.values())
      if (kind === "" ? members.some((x) => reads(f, x.decl.name)) : readsKind(f, kind))
        if (why === undefined) cx?.fired(rule, { at: kind === "" ? f.name : `${f.name}: ${kind}`, count: members.length });
        else cx?.declined(rule, why, f.name);
    if (why !== undefined) continue;
    for (const member of members) {
      const { decl } = member;
      const divided = { ...decl, type: tensor(dividedDims(member), decl.type.dtype) };
      weights.set(decl.name, divided);
      values.set(decl.name, weight(m.graph, divided));
    }
  }
  const sizes = { tp: mesh.tp, ep: mesh.ep, etp: partsAlong(mesh, "etp") };
  const funcs = new Map<string, Func>();
  for (const f of m.funcs.values()) {
    const made = { ...divideFunc(f, m.graph, mesh, values), assume: { ...f.assume, ...sizes } };
    funcs.set(f.name, made);
    const meetings = meetingsOf(everyNode(made));
    if (meetings.length && cx) {
      const bytes = meetings.reduce((n, x) => n + wireOf(x, made.assume, mesh).bytes, 0);
      cx.fired("ranks meet", { at: f.name, count: meetings.length, wire: { bytes, collectives: meetings.length } });
    }
  }
  const made = { ...m, mesh, weights, funcs };
  cx?.report(collectivesOfSteps(made, mesh), "collectives of a step, and what a rank sends in it, at the sizes assumed");
  return made;
}

/** Of every entry: collectives of one run of it, the layers that it calls included, and the bytes that a rank sends. */
function collectivesOfSteps(m: Module, mesh: Mesh): Table {
  const rows = Object.entries(m.entries).map(([entry, name]) => {
    const nodes = everyNode(m.funcs.get(name)!);
    const run = [name, ...nodes.flatMap((n) => callOf(n)?.func ?? [])].map((f) => m.funcs.get(f)!);
    const met = run.flatMap((f) => meetingsOf(everyNode(f)).map((n) => wireOf(n, f.assume, mesh).bytes));
    const { T, B } = m.funcs.get(name)!.assume;
    return [entry, `${T} rows of ${B}`, met.length, Math.round(met.reduce((a, b) => a + b, 0))];
  });
  return { columns: ["step", "sizes", "collectives", "bytes"], rows };
}

const reads = (f: Func, name: string): boolean => everyNode(f).some((n) => n.leaf?.kind === "weight" && n.leaf.name === name);

export const shard: Pass = pass({
  name: "shard",
  summary: "Divide weights over the ranks of a mesh, and let ranks meet where an op cannot take parts.",
  options: { mesh: attr.word() },
  steps: {
    "divide heads": "rows of q and kv, and columns of o, by heads",
    "divide dense": "the widths of dense layers",
    "divide shared": "the width of the shared experts",
    "divide experts": "whole experts over ep groups, and their widths over the ranks of a group",
    "divide vocabulary": "rows of the head",
    "ranks meet": "collectives of a function, with the bytes a rank sends at its assumed sizes",
  },
  promises: [],
  whole: (m, cx) => shardModule(m, parseMesh(String(cx.options.mesh ?? ""), "--pass-option shard.mesh"), cx),
});

export const rank: Pass = pass({
  name: "rank",
  summary: "The module of one rank: local sizes, and of every divided weight the share.",
  steps: { "take the part of one rank": "a module that is divided over a mesh" },
  promises: [],
  whole(m, cx) {
    if (m.mesh) cx.fired("take the part of one rank", { at: meshWords(m.mesh) });
    return localModule(m);
  },
});
