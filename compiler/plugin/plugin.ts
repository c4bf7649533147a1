// What a plug-in is: one value with everything that it brings.
import type { Arch, Native } from "../../codegen/cuda/native.ts";
import type { Family } from "../../codegen/family.ts";
import type { GivenSchedule } from "../../codegen/brought.ts";
import type { LibraryFunction } from "../../codegen/library-function.ts";
import type { Activation } from "../../ir/activation.ts";
import { deepFreeze } from "../../ir/freeze.ts";
import type { Op } from "../../ir/op.ts";
import type { Module } from "../../ir/graph.ts";
import { pass, type Cx, type Pass, type Planned, type Table } from "../../passes/index.ts";

/** The version of what plug-ins are given: raised when a plug-in that was right no longer would be. */
export const API = 1;

/** Anything that `op(...)` or `fused(...)` gave. */
export interface OpBuilder {
  readonly op: Op;
}

/** An analysis: it looks and changes nothing. */
export interface Report {
  /** In kebab-case: what --passes and dsc why call it. */
  readonly name: string;
  readonly summary: string;
  /** Of the graph after all passes. */
  readonly graph?: (m: Module, cx: Cx) => string | Table | undefined;
  /** Of the plan: launches, kernels, slots. */
  readonly plan?: (plan: Planned, cx: Pick<Cx, "report" | "options">) => string | Table | undefined;
}

/** What a plug-in brings; every part may be left out. */
export interface Plugin {
  /** In kebab-case, and its own. */
  readonly name: string;
  /** Of the plug-in, for people: the artifact names it. */
  readonly version?: string;
  /** New words of the graph. Each is held to its signature at odd sizes before it is used. */
  readonly ops?: readonly OpBuilder[];
  /** What `hidden_act` may say; each is held to itself, `value` beside `tile`. */
  readonly activations?: readonly Activation[];
  /** Tile programs: every target runs them. Each is held to its op's reference at its own `cases`. */
  readonly kernels?: readonly Family[];
  /** Hand-written CUDA by architecture: `{ sm_90: [mine] }`. Each is held to its op at its own `cases` where there is a card. */
  readonly natives?: Readonly<Record<string, readonly Native[]>>;
  /**
   * Functions of other libraries by tvm-ffi's ABI, bound to ops and asked before every kernel. Each is held to its op at its own
   * `cases`, in a process of its own on the CPU, on the card that is here for a CUDA function.
   */
  readonly functions?: readonly LibraryFunction[];
  /** Schedules of natives that are there already. */
  readonly schedules?: readonly GivenSchedule[];
  /** Passes with their places, `before` or `after` another by name. */
  readonly passes?: readonly Pass[];
  /** Analyses, in their order, after all passes. */
  readonly reports?: readonly Report[];
  /** Architectures for `--target cuda` and `--target triton`. */
  readonly targets?: readonly Arch[];
  /** Set by `plugin`: what it was made for. */
  readonly api?: number;
}

/** Declares a plug-in: the default export of its file or package. What it gives cannot be written to. */
export const plugin = (p: Plugin): Plugin => deepFreeze({ ...p, api: API });

/** An analysis as the pass that it is: at the end of the pipeline, and the graph is what it was. */
export const passOf = (r: Report): Pass =>
  pass({
    name: r.name,
    summary: r.summary,
    whole(m, cx) {
      const said = r.graph?.(m, cx);
      if (said !== undefined) cx.report(said);
      return m;
    },
    ...(r.plan
      ? {
          planned(plan, cx) {
            const said = r.plan!(plan, cx);
            if (said !== undefined) cx.report(said);
          },
        }
      : {}),
  });
