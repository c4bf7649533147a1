// Which weights are divided, and along what: the whole placement of a model. Everything that is not here is on every rank.
import type { Func, Module, Node, WeightDecl } from "../../ir/graph.ts";
import { everyNode, isScaled, reshape, weightName } from "../../ir/index.ts";
import { expertAxes, partsAlong, type Mesh, type MeshAxis } from "../../ir/mesh.ts";
import { asTensor, dividedDim, fixed, type Dim } from "../../ir/types.ts";

/** Weights that are divided together or not at all: one axis of the model goes through all of them. */
export type Group = "heads" | "dense" | "shared" | "experts" | "vocabulary";

/** A line of the table: which weights, and which axis of each, counted from the last. */
interface Line {
  group: Group;
  /** What the symbol is behind the kind of layer. */
  symbols: readonly string[];
  axis: -1 | -2;
}

const table: readonly Line[] = [
  { group: "heads", symbols: ["wq", "wq_b", "wkv_b"], axis: -2 },
  { group: "heads", symbols: ["wo"], axis: -1 },
  { group: "dense", symbols: ["ffn.gate", "ffn.up"], axis: -2 },
  { group: "dense", symbols: ["ffn.down"], axis: -1 },
  { group: "shared", symbols: ["shared.gate", "shared.up"], axis: -2 },
  { group: "shared", symbols: ["shared.down"], axis: -1 },
  { group: "experts", symbols: ["experts.gate", "experts.up"], axis: -2 },
  { group: "experts", symbols: ["experts.down"], axis: -1 },
  { group: "vocabulary", symbols: ["head"], axis: -2 },
];

/** Weights of a group in one kind of layer, and what each is divided along. */
export interface Member {
  decl: WeightDecl;
  /** Axis of the mesh by axis of the weight, counted from its first. */
  over: ReadonlyMap<number, MeshAxis>;
}

export interface Choice {
  group: Group;
  /** "moe_layer", "mtp", or nothing. */
  kind: string;
  members: readonly Member[];
  /** Why it stays whole. */
  why?: string;
}

/** What the table makes of a module: every group of every kind of layer, with the reason where it stays whole. */
export function choicesOf(m: Module, mesh: Mesh): Choice[] {
  const found = new Map<string, { group: Group; kind: string; members: Member[] }>();
  for (const decl of m.weights.values()) {
    const [, kind, symbol] = /^(?:([a-z]+_layer|mtp)\.)?(.*)$/.exec(decl.name)!;
    const line = table.find((l) => l.symbols.includes(symbol));
    if (!line) continue;
    const key = `${kind ?? ""} ${line.group}`;
    const choice = found.get(key) ?? { group: line.group, kind: kind ?? "", members: [] };
    choice.members.push({ decl, over: overOf(decl, line, mesh) });
    found.set(key, choice);
  }
  return [...found.values()].map((c) => {
    const why = wholeBecause(m, c.group, c.members, mesh);
    return why === undefined ? c : { ...c, why };
  });
}

function overOf(decl: WeightDecl, { group, axis }: Line, mesh: Mesh): Map<number, MeshAxis> {
  const last = decl.type.dims.length + axis;
  if (group !== "experts") return new Map([[last, "tp"]]);
  const { experts, width } = expertAxes(mesh);
  return new Map([...(experts ? [[0, experts] as const] : []), ...(width ? [[last, width] as const] : [])]);
}

/** Why a group stays whole, if it does: parts have to be whole elements, heads, and blocks of codes. */
function wholeBecause(m: Module, group: Group, members: readonly Member[], mesh: Mesh): string | undefined {
  for (const { decl, over } of members)
    for (const [axis, by] of over) {
      const [size, parts] = [fixed(decl.type.dims[axis]), partsAlong(mesh, by)];
      const what = `${size} ${axis === decl.type.dims.length - 1 ? "columns" : axis === 0 && group === "experts" ? "experts" : "rows"}`;
      if (size % parts !== 0) return `${what} of ${decl.name} are not ${parts} equal parts`;
      if (isScaled(decl.type.dtype) && axis >= decl.type.dims.length - 2 && (size / parts) % 128 !== 0)
        return `a part of the ${what} of ${decl.name} is ${size / parts}, and a block of codes is 128`;
    }
  if (group !== "heads") return undefined;
  const heads = headsOf(m, members);
  return heads !== undefined && heads % mesh.tp !== 0 ? `${heads} heads are not ${mesh.tp} equal parts` : undefined;
}

/** How many heads rows of q or kv are: what their product is reshaped to. */
function headsOf(m: Module, members: readonly Member[]): number | undefined {
  const names = new Set(members.map((x) => x.decl.name));
  const rows = new Set(members.map((x) => x.decl.type.dims[0]));
  const reads = (n: Node): boolean =>
    n.operands.some((o) => names.has(weightName(o) ?? "") || (o.node.leaf ? false : reads(o.node)));
  for (const f of m.funcs.values())
    for (const n of everyNode(f)) {
      if (!reshape.made(n)) continue;
      const { dims } = asTensor(n.results[0].type);
      if (dims.length !== 3 || !rows.has(Number(dims[1]) * Number(dims[2]))) continue;
      if (
        n.operands[0].node.operands.some(
          (o) => names.has(weightName(o) ?? "") || (!o.node.leaf && o.node.operands.length === 1 && reads(o.node)),
        )
      )
        return fixed(dims[1]);
    }
  return undefined;
}

/** The type of a member, divided. */
export const dividedDims = ({ decl, over }: Member): Dim[] =>
  decl.type.dims.map((d, i) => (over.has(i) ? dividedDim(fixed(d), over.get(i)!) : d));

/** Functions that have weights of a kind of layer. */
export const readsKind = (f: Func, kind: string): boolean =>
  everyNode(f).some((n) => n.leaf?.kind === "weight" && n.leaf.name.startsWith(`${kind}.`));
