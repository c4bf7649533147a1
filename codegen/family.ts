// A family of kernels: the ops it serves, the problem it makes of a site, and the tile program of a problem. One value in one
// file; `codegen/kernels/index.ts` lists them, and every target chooses among them for what it has nothing better for.
import type { Arg, Site } from "../ir/kernel/catalogue.ts";
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

export interface Family<P extends object = object, N extends string = string> {
  /** Part of the identity of its kernels. */
  readonly name: N;
  /** Names of the ops that it serves, alone or beside other families. */
  readonly serves: readonly string[];
  /** The launches of a site of one of these ops, one after another, or why there are none. */
  match(site: Site): Match<P>[] | Refusal;
  /** The tile program of a problem: a plain record of static sizes, strides and dtypes, whose JSON is the kernel's identity. */
  kernel(p: P): Kernel;
}

/** Declares a family; the problem is what `kernel` takes, and `match` is held to it. */
export const family = <P extends object, const N extends string>(f: {
  name: N;
  serves: readonly string[];
  match: (site: Site) => Match<NoInfer<P>>[] | Refusal;
  kernel: (p: P) => Kernel;
}): Family<P, N> => Object.freeze(f);

/** A single launch. */
export const one = <P extends object>(problem: P, args: Arg[], dims: Size[]): Match<P>[] => [{ problem, args, dims }];
export const refuse = (reason: string): Refusal => ({ reason });
export const strided = refuse("the rows of an operand do not lie at one stride");
