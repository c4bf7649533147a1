// A pass is a value: rules, or a pure function, or both. Built-in passes and plug-ins are declared alike.
import type { Cost } from "../ir/cost.ts";
import type { Func, Module } from "../ir/graph.ts";
import type { Rule } from "./rule.ts";

/** What a pass may ask and report: the one pass context. */
export interface Cx {
  readonly module: Module;
  /** Words and numbers from the command line, by key. */
  readonly options: Readonly<Record<string, string>>;
  fired(rule: string, count?: number, note?: { changes?: string; delta?: Cost }): void;
  refused(rule: string, reason: string, count?: number): void;
}

export interface Pass {
  name: string;
  summary: string;
  rules?: readonly Rule[];
  /** Equations that `run` and `whole` rest on: proved and shown like rules, but found by the pass itself (several roots). */
  equations?: readonly Rule[];
  /** "always", or only where the rewritten function costs fewer FLOPs at its assumed sizes. */
  fire?: "always" | "when-cheaper";
  /** Rewrites one function; runs after the rules. */
  run?: (f: Func, cx: Cx) => Func;
  /** Rewrites the module; runs last. */
  whole?: (m: Module, cx: Cx) => Module;
  /** How often it must fire in total for a module; fewer is an error, not a slower model. */
  expect?: (m: Module, options: Readonly<Record<string, string>>) => number;
}

/** Declares a pass. */
export const pass = (p: Pass): Pass => p;
