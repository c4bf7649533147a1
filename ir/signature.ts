// The shape language: "[..b, h, 128] t". Letters are variables shared across a declaration, `..b` is any number of
// axes, a name that is no dtype in dtype position is a dtype variable. Letters mean one thing everywhere:
// t query rows of one sequence, s its cached rows, h heads, n unrotated key width, v value width, r latent width,
// d model width (or rope width), e experts, k contracted width, m rows; T rows of all sequences, B sequences.
import { isDType } from "./dtype.ts";
import { cacheType, printType, type Dim, type DType, type Type } from "./types.ts";

export interface TensorPattern {
  kind: "tensor";
  dims: { name?: string; rest?: string; size?: number }[];
  /** A dtype, or the name of a variable. */
  dtype: string;
}
export type Pattern = TensorPattern | { kind: "batch" } | { kind: "cache" };

/** What variables stand for after unifying. */
export interface Bindings {
  dims: Record<string, Dim>;
  rests: Record<string, readonly Dim[]>;
  dtypes: Record<string, DType>;
  /** Who bound a letter first, for messages. */
  by: Record<string, string>;
}

export const bindings = (): Bindings => ({ dims: {}, rests: {}, dtypes: {}, by: {} });

/** Parses a signature; throws RangeError on a malformed one (a fault of the declaration). */
export function parsePattern(text: string): Pattern {
  if (text === "batch" || text === "cache") return { kind: text };
  const m = /^\[([^\]]*)\] (\S+)$/.exec(text);
  if (!m) throw new RangeError(`malformed signature ${JSON.stringify(text)}`);
  const dims = m[1].trim() === "" ? [] : m[1].split(",").map((d) => d.trim());
  return {
    kind: "tensor",
    dims: dims.map((d) => (d.startsWith("..") ? { rest: d.slice(2) } : /^\d+$/.test(d) ? { size: Number(d) } : { name: d })),
    dtype: m[2],
  };
}

/** Unifies a pattern with a type, extending `b`. Gives null, or the mismatch in words. */
export function unify(p: Pattern, t: Type, b: Bindings, who: string): string | null {
  if (p.kind !== t.kind) return `operand ${who} must be a ${p.kind}, got ${printType(t)}`;
  if (p.kind !== "tensor" || t.kind !== "tensor") return null;
  const restAt = p.dims.findIndex((d) => d.rest !== undefined);
  const fixed = p.dims.length - (restAt >= 0 ? 1 : 0);
  if (restAt < 0 ? t.dims.length !== fixed : t.dims.length < fixed)
    return `operand ${who} has ${t.dims.length} axes, but the op wants ${restAt < 0 ? fixed : `at least ${fixed}`}`;
  let at = 0;
  for (const d of p.dims) {
    if (d.rest !== undefined) {
      const got = t.dims.slice(at, at + t.dims.length - fixed);
      const had = b.rests[d.rest];
      if (had && had.join() !== got.join())
        return (
          `operand ${who} has leading axes [${got.join(", ")}], but they are already [${had.join(", ")}] (from ` +
          `${b.by[".." + d.rest]})`
        );
      if (!had) [b.rests[d.rest], b.by[".." + d.rest]] = [got, who];
      at += got.length;
      continue;
    }
    const got = t.dims[at++];
    if (d.size !== undefined && got !== d.size) return `operand ${who} has ${got} where ${d.size} is required`;
    if (d.name !== undefined) {
      const had = b.dims[d.name];
      if (had !== undefined && had !== got)
        return `operand ${who} has ${d.name} = ${got}, but ${d.name} is already ${had} (from ${b.by[d.name]})`;
      if (had === undefined) [b.dims[d.name], b.by[d.name]] = [got, who];
    }
  }
  if (isDType(p.dtype)) return t.dtype === p.dtype ? null : `operand ${who} is ${t.dtype}, but the op wants ${p.dtype}`;
  const had = b.dtypes[p.dtype];
  if (had !== undefined && had !== t.dtype)
    return `operand ${who} is ${t.dtype}, but ${had} is already expected (from ${b.by["dtype " + p.dtype]})`;
  if (had === undefined) [b.dtypes[p.dtype], b.by["dtype " + p.dtype]] = [t.dtype, who];
  return null;
}

/** The type a pattern stands for under bindings; a letter nobody bound stays a symbol (used for the holes of rules). */
export function instantiate(p: Pattern, b: Bindings): Type {
  if (p.kind === "batch") return { kind: "batch" };
  if (p.kind === "cache") return cacheType(0, "f32");
  const dims = p.dims.flatMap((d): readonly Dim[] =>
    d.rest !== undefined ? (b.rests[d.rest] ?? []) : [d.size ?? b.dims[d.name!] ?? d.name!],
  );
  // In the pattern of a rule a variable stands for a dtype as a letter does for a size.
  return { kind: "tensor", dims, dtype: b.dtypes[p.dtype] ?? (p.dtype as DType) };
}
