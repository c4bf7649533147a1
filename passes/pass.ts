// A pass is a value: rules, or a pure function, or both. Built-in passes and plug-ins are declared alike.
import type { AttrKind, AttrValue } from "../ir/attr.ts";
import type { Cost } from "../ir/cost.ts";
import type { Func, Module, Value } from "../ir/graph.ts";
import { deepFreeze } from "../ir/freeze.ts";
import type { Machine } from "../ir/machine.ts";
import type { FunctionPlan, KernelRecord, Target } from "../ir/artifact.ts";
import type { PassPromise } from "./contract.ts";
import type { Table } from "./report.ts";
import type { Entry } from "./ledger.ts";
import type { Rule } from "./rule.ts";

/** Where a rule was tried: a value of the function, or its name. */
export type At = Value | string;

/** What a pass may ask and report: the one pass context. */
export interface Cx {
  readonly module: Module;
  /**
   * What the model may be compiled for. A pass that weighs bytes against launches changes the graph only where all of them
   * gain, so
   * that the graph of a model does not depend on its target. Empty where nobody said.
   */
  readonly machines: readonly Machine[];
  /** The pass's own options, as declared, with what the command line says. */
  readonly options: Readonly<Record<string, AttrValue>>;
  /**
   * It was rewritten. `changes` says why the function computed is another from here on; `within` by how much the logits of a model made
   * small may move for it. Without `within` they may move by rounding only, and not at all where nothing is quantised.
   */
  fired(
    rule: string,
    note?: { at?: At; count?: number; changes?: string; within?: number; delta?: Cost; wire?: Entry["wire"] },
  ): void;
  /** The pattern is whole, and leaving it is cheaper, asked for or required. */
  declined(rule: string, reason: string, at?: At): void;
  /** The pattern is there, and something in the graph forbids it. */
  refused(rule: string, reason: string, at?: At): void;
  /** A candidate that is not the pattern. */
  unmatched(rule: string, reason: string, at?: At): void;
  /** Keeps a text or a table for people: in the artifact under reports/, and at the end of what `dsc compile` prints. */
  report(said: string | Table, title?: string): void;
}

/** A model as it will be run: what a pass may look at after kernels were chosen and memory was shared. */
export interface Planned {
  readonly module: Module;
  /** Parameters, arena slots and steps of every function. */
  readonly functions: Readonly<Record<string, FunctionPlan>>;
  readonly kernels: Readonly<Record<string, KernelRecord>>;
  readonly target: Target;
}

/** A pass: rules, or a function of a function or of the module, and where it goes. */
export interface Pass {
  name: string;
  summary: string;
  rules?: readonly Rule[];
  /**
   * Equations that `run` and `whole` rest on: proved and shown like rules, but found by the pass itself: no pattern says "any
   * axes".
   */
  equations?: readonly Rule[];
  /** What `run` and `whole` do that is no equation, by the name the ledger has for it: what is looked for. */
  steps?: Readonly<Record<string, string>>;
  /** Declared like attributes of an op: `--pass-option pass.key=value` sets one. */
  options?: Readonly<Record<string, AttrKind<AttrValue>>>;
  /** "always", or only where the rewritten function costs fewer FLOPs at its assumed sizes. */
  fire?: "always" | "when-cheaper";
  /** Rewrites one function; runs after the rules. */
  run?: (f: Func, cx: Cx) => Func;
  /** Rewrites the module; runs last. */
  whole?: (m: Module, cx: Cx) => Module;
  /** Looks at the plan, once kernels are chosen; what it finds it says by `cx.report`. */
  planned?: (plan: Planned, cx: Pick<Cx, "report" | "options">) => void;
  /** Where it fires, by what the model was before any pass; less is told (DSC3003), not a slower model in silence. */
  promises?: readonly PassPromise[];
  /** Plug-ins only: the pass of the standard pipeline it goes before or after. */
  before?: string;
  after?: string;
  /** Plug-ins only: passes whose pattern it hides on purpose. Their contracts, broken, are warnings then. */
  hides?: readonly string[];
  /** Set by who loaded it: where a plug-in came from. */
  plugin?: { file: string; digest: string };
}

/** Declares a pass. What it gives cannot be written to. */
export const pass = (p: Pass): Pass => deepFreeze({ ...p });
