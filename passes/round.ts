// One round of rewriting: what rules are tried in, where they fired, and why they did not.
import type { Assume, Cost } from "../ir/cost.ts";
import type { Graph, Node, Value } from "../ir/graph.ts";
import type { Missed, Rule, SiteContext } from "./rule.ts";

/** A rule at a site: where it fired with what it changed, or why it did not. */
export interface Firing {
  rule: Rule;
  at: string;
  delta: Cost;
}
export interface Left {
  rule: Rule;
  at: string;
  why: Missed;
}

/** Told before a rule is tried, so that what throws or never returns can be named. */
export type Watch = (rule: Rule, at: string) => void;

/** What rules are tried in: a function, and what is known of it. */
export interface Around {
  graph: Graph;
  pass: string;
  cx: SiteContext;
  /** How often each value is read. */
  counts: Map<Value, number>;
  assume: Assume;
  labels: ReadonlyMap<Value, string>;
  /** How often a node runs in one run of the function. */
  times: (n: Node) => number;
  watch: Watch;
}
