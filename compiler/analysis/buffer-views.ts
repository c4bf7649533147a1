// How the buffers of a kernel lie in memory, in its own run-time sizes: who calls it by itself has to know.
import { isPacked } from "../../codegen/layouts.ts";
import { scaleShape } from "../../ir/index.ts";
import { boundBuffers, type Param, type View } from "../../ir/kernel/catalogue.ts";
import { ceildiv, mul, type Size } from "../../ir/size.ts";
import type { BufferView } from "../../ir/artifact.ts";
import type { Draft } from "../../passes/plan/select.ts";

/** A launch with the views of its operands. */
export type Launched = Extract<Draft, { kind: "kernel" }>;

/**
 * Views of the buffers that the operands of a launch give, by name: shapes and strides in elements, over the dims of the kernel. A size
 * that is none of them, and what is no operand (tables, caches), is left out.
 */
export function bufferViews(launch: Launched, params: readonly Param[], dims: readonly string[]): Record<string, BufferView> {
  const own = new Renaming(launch.chosen.dims, dims);
  const { ins, outs } = launch;
  const views = launch.chosen.args.map((arg): BufferView | undefined => {
    if ("batch" in arg || "cache" in arg) return undefined;
    if ("scratch" in arg) return own.view({ shape: [...arg.shape], strides: rowMajor(arg.shape) });
    const view = "in" in arg ? ins[arg.in] : outs[arg.out];
    return own.view(arg.part === "scales" ? scalesOf(view) : view);
  });
  const found = boundBuffers(params).map((name, i) => [name, views[i]] as const);
  return Object.fromEntries(found.filter((f): f is [string, BufferView] => f[1] !== undefined));
}

const rowMajor = (shape: readonly Size[]): Size[] => shape.map((_, axis) => mul(...shape.slice(axis + 1)));

function scalesOf(view: View): BufferView {
  const shape = scaleShape(view.shape, view.scaled!, ceildiv);
  return { shape, strides: rowMajor(shape) };
}

/** Sizes of a launch's place as sizes of its kernel: a dim that is given a symbol, or a multiple of one, names it. */
class Renaming {
  readonly #known = new Map<string, Size>();

  constructor(given: readonly Size[], dims: readonly string[]) {
    for (const [i, size] of given.entries()) this.#known.set(JSON.stringify(size), dims[i]);
  }

  view({ shape, strides }: Pick<View, "shape" | "strides">): BufferView | undefined {
    // A kernel that takes its operand as one row of elements.
    const flat = this.#known.get(JSON.stringify(mul(...shape)));
    if (flat !== undefined && isPacked({ shape, strides })) return { shape: [flat], strides: [1] };
    const [s, t] = [shape.map((x) => this.#size(x)), strides.map((x) => this.#size(x))];
    return s.includes(undefined) || t.includes(undefined) ? undefined : { shape: s as Size[], strides: t as Size[] };
  }

  #size(size: Size): Size | undefined {
    const known = this.#known.get(JSON.stringify(size));
    if (known !== undefined || typeof size === "number") return known ?? size;
    if (typeof size === "string") return undefined;
    const of = size.of.map((x) => this.#size(x));
    return of.includes(undefined) ? undefined : { op: size.op, of: of as Size[] };
  }
}
