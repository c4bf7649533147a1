// A family of kernels: the ops it serves, the problem it makes of a site, and the tile program of a problem. One value in one
// file; `codegen/kernels/index.ts` lists them, and every target chooses among them for what it has nothing better for.
import type { Arg, Site } from "../ir/kernel/catalogue.ts";
import type { Attrs } from "../ir/attr.ts";
import type { DType } from "../ir/dtype.ts";
import type { Kernel } from "../ir/kernel/stmt.ts";
import type { Size } from "../ir/size.ts";

/** Why a family does not take a site. */
export interface Refusal {
  reason: string;
}

/** One launch at a site: the problem, what the kernel's buffers are, and its run-time sizes in the order of its `dims`. */
export interface Match<P extends object> {
  problem: P;
  args: Arg[];
  dims: Size[];
}

/** Sizes at which a kernel of a plug-in is held to its op's reference, before it is used (compiler/plugin). */
export interface Case {
  /** The op; the first that is served, unless said. */
  readonly op?: string;
  /** The letters of the op's signature: `{ T: 5, n: 130 }`. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Axes that `..b` stands for. */
  readonly rest?: readonly number[];
  readonly attrs?: Attrs;
  /** Dtypes of the signature's dtype variables, f32 unless said: `{ a: "bf16" }`. */
  readonly dtypes?: Readonly<Record<string, DType>>;
  /** Operands that may be left out and are there in this case. */
  readonly optional?: readonly string[];
  /** Values of i32 operands, element by element; zeros unless said. */
  readonly values?: Readonly<Record<string, (i: number) => number>>;
  /**
   * How far an element may be off, in parts of itself, or of 1 where it is smaller: 1e-5 unless said, of bf16 results one step.
   * Sums of many products need more.
   */
  readonly within?: number;
}

/** A family of tile programs: the ops it serves, the problem it makes of a site, the kernel of a problem. */
export interface Family<P extends object = object, N extends string = string> {
  /** Part of the identity of its kernels. */
  readonly name: N;
  /** Names of the ops that it serves, alone or beside other families. */
  readonly serves: readonly string[];
  /** The launches of a site of one of these ops, one after another, or why there are none. */
  match(site: Site): Match<P>[] | Refusal;
  /** The tile program of a problem: a plain record of static sizes, strides and dtypes, whose JSON is the kernel's identity. */
  kernel(p: P): Kernel;
  /** Of a plug-in's family: what it is tried on. */
  readonly cases?: readonly Case[];
}

/** Declares a family; the problem is what `kernel` takes, and `match` is held to it. */
export const family = <P extends object, const N extends string>(f: {
  name: N;
  serves: readonly string[];
  match: (site: Site) => Match<NoInfer<P>>[] | Refusal;
  kernel: (p: P) => Kernel;
  cases?: readonly Case[];
}): Family<P, N> => Object.freeze(f);

/** A single launch. */
export const one = <P extends object>(problem: P, args: Arg[], dims: Size[]): Match<P>[] => [{ problem, args, dims }];
/** Why a site is not taken. */
export const refuse = (reason: string): Refusal => ({ reason });
/** The refusal of operands whose rows do not lie at one stride. */
export const strided = refuse("the rows of an operand do not lie at one stride");
