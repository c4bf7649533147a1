// What every launch of a plan reads, writes and computes, at given sizes: what it is passed counts once, of weights only the rows it
// needs. Where a kernel is for some sizes only, it is judged at sizes of its own.
import { PAGE_ROWS } from "../../codegen/backend.ts";
import { typeOfView, typesOf } from "../../codegen/parts.ts";
import { asTensor, dtypeOf, everyNode, isWeight, keyOf, ownExperts, storageBytes, type Value } from "../../ir/index.ts";
import type { Func, Module, Node } from "../../ir/graph.ts";
import { flopsOf } from "../../ir/cost.ts";
import { bytesPerElement } from "../../ir/dtype.ts";
import type { Arg, Site } from "../../ir/kernel/catalogue.ts";
import { opByName } from "../../ir/ops/index.ts";
import { evaluate, type Size } from "../../ir/size.ts";
import { sizeOf } from "../../ir/types.ts";
import type { Draft, DraftFunc } from "../../passes/plan/select.ts";

type Kernel = Draft & { kind: "kernel" };

/** Experts of a model and how many a token chooses; null without. */
export type Experts = {
  count: number;
  perToken: number;
  /** Groups of ranks that hold whole experts; 1 unless said. */
  groups?: number;
} | null;

/** The same as a rank of a divided model has them: its module says whether experts were divided. */
export function expertsOfRank(experts: Experts, m: Module): Experts {
  if (!experts || !m.mesh) return experts;
  for (const f of m.funcs.values())
    for (const n of everyNode(f)) if (ownExperts.made(n)) return { ...experts, groups: experts.count / n.attrs.experts };
  return experts;
}

/** Values of the symbols of a step, and what its rows are expected to choose. */
export type Sizes = Readonly<Record<string, number>>;

/**
 * Sizes of a step: so many new rows of so many sequences, each with so many cached rows, these included. Rows choose experts
 * as if at random.
 */
export function sizesOf(
  { rows, sequences, cached }: { rows: number; sequences: number; cached: number },
  experts: Experts,
): Sizes {
  const { count, perToken: k, groups = 1 } = experts ?? { count: 1, perToken: 1 };
  const E = count / groups;
  // A rank takes an expert of its own for every slot of an expert elsewhere, with weight 0: one whose number is the same modulo E.
  let left = 1;
  for (let i = 0; i < groups; i++) left *= Math.max(0, count - k - i) / (count - i);
  const chosen = E * (1 - left ** rows);
  const m = Math.max(1, Math.ceil((rows * k) / chosen));
  return {
    T: rows,
    B: sequences,
    t: Math.ceil(rows / sequences),
    s: cached,
    S: cached,
    E,
    m,
    P: Math.ceil(cached / PAGE_ROWS),
    chosen,
  };
}

/** The sizes at which a launch is chosen: from and to (null: any) of a size of the step. */
export interface Range {
  on: Size;
  from: number;
  most: number | null;
}

/** A launch in its function. */
export interface Launch {
  draft: Kernel;
  func: Func;
  /** The slices whose every one launches it anew. */
  per: "step" | "sequences" | "experts";
  range?: Range;
  /** The launches of the same op, this one included: they share its operations. */
  group: readonly Kernel[];
}

/** All launches of a function, cases one after another. */
export function launchesOf(func: Func, plan: DraftFunc): Launch[] {
  const out: Launch[] = [];
  const walk = (steps: readonly Draft[], per: Launch["per"], range?: Range): void => {
    const groups = new Map<object, Kernel[]>();
    const served = (k: Kernel): object => k.chosen.part ?? k.node ?? k;
    for (const s of steps) if (s.kind === "kernel") groups.set(served(s), [...(groups.get(served(s)) ?? []), s]);
    for (const s of steps) {
      if (s.kind === "kernel") out.push({ draft: s, func, per, ...(range ? { range } : {}), group: groups.get(served(s))! });
      else if (s.kind === "slices") walk(s.steps, s.over, range);
      else if (s.kind === "cases")
        s.cases.forEach((c, i) => walk(c.steps, per, { on: s.on, from: (s.cases[i - 1]?.most ?? 0) + 1, most: c.most }));
    }
  };
  walk(plan.steps, "step");
  return out;
}

/** Whether a launch is the one of its cases at these sizes. */
export function runsAt({ range }: Launch, z: Sizes): boolean {
  if (!range) return true;
  const at = evaluate(range.on, z);
  return at <= (range.most ?? Infinity) && (at >= range.from || (range.from === 1 && at === 0));
}

/** How often one step launches it. */
export const timesOf = ({ per }: Launch, z: Sizes): number => (per === "sequences" ? z.B : per === "experts" ? z.chosen : 1);

/** The sizes to judge a launch at: those its function assumes, or where it is for others, the largest it is for. */
export function ownSizes({ func, range }: Pick<Launch, "func" | "range">, experts: Experts): Sizes | undefined {
  const { T, B, t, s } = func.assume;
  if (T === undefined) return undefined;
  // In a step every row is a sequence; in a prompt the rows are all there are.
  const at = (rows: number, cached = t === s ? rows : s, sequences = T === B ? rows : Math.min(B, rows)): Sizes =>
    sizesOf({ rows, sequences, cached: Math.max(cached, Math.ceil(rows / sequences)) }, experts);
  if (!range) return at(T);
  const value = (z: Sizes): number => evaluate(range.on, z);
  // A size that new rows do not change is one of sequences.
  const by = value(at(1)) === value(at(MOST)) ? (n: number): Sizes => at(Math.max(T, n), t === s ? Math.ceil(T / n) : s, n) : at;
  if (range.most === null)
    return by(
      Math.max(
        by === at ? T : B,
        least((n) => value(by(n)) >= range.from),
      ),
    );
  const rows = least((n) => value(by(n)) > range.most!) - 1;
  // Where one row is too many, it is for fewer cached rows.
  return rows >= 1
    ? by(rows)
    : at(1, Math.max(1, least((pages) => value(at(1, pages * PAGE_ROWS)) > range.most!) - 1) * PAGE_ROWS);
}

const MOST = 1 << 20;

/** The least number of which something holds that holds of all above it. */
function least(holds: (n: number) => boolean): number {
  let [low, high] = [1, MOST];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What one launch moves and computes; `format` is that of its products. */
export interface Work {
  bytes: number;
  flops: number;
  format: "fp8" | "bf16" | "f32";
}

export function workOf(m: Module, l: Launch, z: Sizes): Work {
  const { draft, group } = l;
  const reads = (k: Kernel): number =>
    sum(
      argsOf(k).filter((a) => "in" in a || "cache" in a),
      (a) => argBytes(m, k, a, z),
    );
  const all = operations(draft, z);
  const total = sum(group, reads);
  return {
    bytes: sum(argsOf(draft), (a) => argBytes(m, draft, a, z)),
    flops: group.length === 1 ? all : all * (total > 0 ? reads(draft) / total : 1 / group.length),
    format: formatOf(draft),
  };
}

const sum = <T>(list: readonly T[], of: (x: T) => number): number => list.reduce((a, x) => a + of(x), 0);

/** What is passed, each once. */
const argsOf = (k: Kernel): Arg[] => [...new Map(k.chosen.args.map((a) => [JSON.stringify(a), a])).values()];

/** Operands of the node that are tensors, as `Arg` counts them. */
const tensorsOf = (n: Node): Node["operands"] => n.operands.filter((o) => o.type.kind === "tensor");

const elements = (shape: readonly Size[], z: Sizes): number => shape.reduce<number>((a, s) => a * evaluate(s, z), 1);

function argBytes(m: Module, k: Kernel, a: Arg, z: Sizes): number {
  if ("batch" in a || ("in" in a && a.ahead)) return 0;
  if ("cache" in a) return cacheBytes(k, a.cache, z);
  if ("scratch" in a) return elements(a.shape, z) * bytesPerElement(dtypeOf(a.dtype));
  const v = "in" in a ? k.ins[a.in] : k.outs[a.out];
  const width = a.part === "scales" ? bytesPerElement(dtypeOf(v.dtype, v.scaled)) - storageBytes[v.dtype] : storageBytes[v.dtype];
  return elements(v.shape, z) * width * ("in" in a && k.node ? shareRead(k.node, tensorsOf(k.node)[a.in], z) : 1);
}

/** The part of an operand that a step reads: rows by id or position, last rows, chosen experts and those that all rows go through. */
export function shareRead(n: Node, operand: Value, z: Sizes): number {
  const at = n.operands.indexOf(operand);
  const how = n.op.traits.reads?.[keyOf(n.op.ins[Math.min(at, n.op.ins.length - 1)])];
  if (how === undefined) return 1;
  if (how === "sequences") return Math.min(1, z.B / z.T);
  const first = sizeOf(asTensor(operand.type).dims[0], z);
  return how === "tokens" ? z.T / first : (z.chosen + Math.max(0, first - z.E)) / first;
}

/** An append writes the new rows; everything else reads the cached ones. */
function cacheBytes(k: Kernel, name: string, z: Sizes): number {
  const type = k.node?.operands.find((o) => o.type.kind === "cache" && o.type.name === name)?.type;
  const [width, dtype] =
    type?.kind === "cache"
      ? [type.width, type.dtype]
      : [evaluate(k.outs[0]?.shape.at(-1) ?? 0, z), dtypeOf(k.outs[0]?.dtype ?? "f32")];
  const op = k.chosen.part ? opByName.get(k.chosen.part.op) : k.node?.op;
  const rows = !k.node ? z.s : op?.traits.appends ? z.T : z.B * z.s;
  return rows * width * bytesPerElement(dtype);
}

/** Operations of the op that a launch serves, all its launches together. */
function operations(k: Kernel, z: Sizes): number {
  const { node, chosen } = k;
  if (chosen.part) return partFlops(chosen.part, z);
  if (!node) return 0;
  return flopsOf(
    node.op,
    node.operands.map((o) => ({ type: o.type, weight: isWeight(o) })),
    node.results.map((r) => r.type),
    node.attrs,
    z,
  );
}

function partFlops(part: Site, z: Sizes): number {
  const op = opByName.get(part.op);
  if (!op) return 0;
  // The rotary table is the one operand of which a part reads some rows.
  const ins = typesOf(op, part).map((type, i) => ({ type, weight: op.ins[i] === "table" }));
  return flopsOf(op, ins, part.outs.map(typeOfView), part.attrs, z);
}

/** What is multiplied: codes by codes, or rows and weights in bf16 or f32. */
function formatOf(k: Kernel): Work["format"] {
  const views = k.chosen.part ? k.chosen.part.ins : k.ins;
  if (views.some((v) => v.scaled === "1x128") && views.some((v) => v.scaled === "128x128")) return "fp8";
  return views.some((v) => v.dtype === "bf16") ? "bf16" : "f32";
}
