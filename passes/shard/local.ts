// The module of one rank: sizes are what it holds, weights are its shares, and marks are gone. All ranks run the same module.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { notDivisible } from "../../ir/diagnostics.ts";
import type { Attrs } from "../../ir/attr.ts";
import type { Piece, Share } from "../../ir/artifact.ts";
import type { Func, Module, WeightDecl } from "../../ir/graph.ts";
import { isScaled, make, ownExperts, reshape, weight } from "../../ir/index.ts";
import { partsAlong, type Mesh } from "../../ir/mesh.ts";
import { isPlaced, overOf, partsOf, printType, tensor, type Dim, type TensorType, type Type } from "../../ir/types.ts";
import { remakeFunc } from "./remake.ts";

/** What a rank has of a module that is divided over a mesh. */
export function localModule(m: Module): Module {
  const { mesh } = m;
  if (!mesh || ![...m.weights.values()].some((w) => isPlaced(w.type))) return m;
  const weights = new Map([...m.weights].map(([name, decl]) => [name, localWeight(decl, mesh)]));
  const funcs = new Map<string, Func>();
  for (const f of m.funcs.values()) {
    const made = remakeFunc(f, m.graph, {
      weight: (name, was) => (isPlaced(was.type) ? weight(m.graph, weights.get(name)!) : was),
      param: (t) => localType(t, mesh, f.name),
      given: (operands) => operands,
      result: (v) => v,
      make: (op, operands, attrs, region) =>
        make(op, operands, localAttrs(op.name, attrs, mesh), region, operands[0]?.node.graph),
    });
    funcs.set(f.name, { ...made, assume: localSizes(f.assume, mesh) });
  }
  return { ...m, weights, funcs };
}

/** The number behind a size on one rank. */
function localDim(d: Dim, mesh: Mesh, what: string): Dim {
  const over = overOf(d);
  if (over === undefined) return d;
  const { times } = partsOf(d);
  const parts = partsAlong(mesh, over);
  if (times % parts !== 0)
    throw new DiagnosticError(notDivisible({ what: what, problem: `${times} are not ${parts} equal parts` }));
  return times / parts;
}

function localType(t: Type, mesh: Mesh, what: string): Type {
  if (t.kind !== "tensor" || !isPlaced(t)) return t;
  const dims = t.dims.map((d) => localDim(d, mesh, what));
  for (const [i, d] of dims.slice(-2).entries())
    if (isScaled(t.dtype) && d !== t.dims.slice(-2)[i] && Number(d) % 128 !== 0)
      throw new DiagnosticError(
        notDivisible({ what: what, problem: `a rank's part of ${printType(t)} is ${d} wide, and a block of codes is 128` }),
      );
  return tensor(dims, t.dtype);
}

/** A weight as a rank reads it: the shape it has, and of every tensor the share. */
function localWeight(decl: WeightDecl, mesh: Mesh): WeightDecl {
  if (!isPlaced(decl.type)) return decl;
  const { dims } = decl.type;
  const share: Share = {};
  for (const [i, d] of dims.entries()) {
    const over = overOf(d);
    if (over) share[i === dims.length - 1 ? "columns" : i === dims.length - 2 ? "rows" : "experts"] = over;
  }
  const { source } = decl;
  if (source.kind !== "checkpoint")
    throw new DiagnosticError(notDivisible({ what: decl.name, problem: "only what is read from tensors is divided" }));
  const pieces = source.pieces.map((p): Piece => ({ ...p, share }));
  return { ...decl, type: localType(decl.type, mesh, `@${decl.name}`) as TensorType, source: { kind: "checkpoint", pieces } };
}

function localAttrs(op: string, attrs: Attrs, mesh: Mesh): Attrs {
  if (op === ownExperts.op.name) return { ...attrs, over: "" };
  if (op !== reshape.op.name) return attrs;
  return { ...attrs, dims: (attrs.dims as readonly Dim[]).map((d) => localDim(d, mesh, "reshape")) };
}

/** Sizes that costs are judged at: those of the mesh are gone, and a rank has its part of the experts. */
function localSizes(assume: Func["assume"], mesh: Mesh): Func["assume"] {
  const kept = Object.entries(assume).filter(([k]) => !["tp", "ep", "etp"].includes(k));
  return Object.fromEntries(kept.map(([k, v]) => [k, k === "E" ? Math.max(1, v / mesh.ep) : v]));
}
