// Runs passes in order: verify after each, keep the text after each, write the ledger.
import { costOfFunc, type Cost } from "../ir/cost.ts";
import { DiagnosticError, didYouMean } from "../ir/diagnostic.ts";
import type { Func, Module } from "../ir/graph.ts";
import { printModule } from "../ir/print.ts";
import { verify } from "../ir/verify.ts";
import { contractBroken, passBroke, unknownPass } from "./diagnostics.ts";
import { Ledger } from "./ledger.ts";
import type { Cx, Pass } from "./pass.ts";
import { rewrite } from "./rewrite.ts";

export interface Snapshot {
  pass: string;
  module: Module;
}

export interface Outcome {
  module: Module;
  ledger: Ledger;
  /** The module before any pass ("frontend"), then after each. */
  snapshots: Snapshot[];
}

/** Resolves "all", "none" or "a,b": names must exist; order is the pipeline's, never the user's. */
export function choosePasses(words: string, pipeline: readonly Pass[]): Pass[] {
  if (words === "all") return [...pipeline];
  if (words === "none" || words === "") return [];
  const wanted = words.split(",").map((w) => w.trim()).filter((w) => w !== "");
  const names = pipeline.map((p) => p.name);
  const unknown = wanted.filter((w) => !names.includes(w));
  if (unknown.length) throw new DiagnosticError(unknown.map((u) => unknownPass(u, didYouMean(u, names), names)));
  return pipeline.filter((p) => wanted.includes(p.name));
}

export function runPipeline(module: Module, passes: readonly Pass[], options: Readonly<Record<string, string>> = {}): Outcome {
  const ledger = new Ledger();
  const snapshots: Snapshot[] = [{ pass: "frontend", module }];
  verify(module);
  let m = module;
  for (const p of passes) {
    const before = m;
    let count = 0;
    const funcs = new Map<string, Func>();
    for (const f of m.funcs.values()) {
      const cx = contextOf(m, p, f.name, ledger, options, (n) => (count += n));
      funcs.set(f.name, runOn(f, m, p, cx));
    }
    m = { ...m, funcs };
    if (p.whole) m = p.whole(m, contextOf(m, p, "module", ledger, options, (n) => (count += n)));
    try {
      verify(m);
    } catch (e) {
      if (e instanceof DiagnosticError) throw new DiagnosticError([passBroke(p.name, printModule(before)), ...e.diagnostics]);
      throw e;
    }
    const want = p.expect?.(before, options) ?? 0;
    if (count < want) throw new DiagnosticError(contractBroken(p.name, module.name, want, count));
    snapshots.push({ pass: p.name, module: m });
  }
  return { module: m, ledger, snapshots };
}

function contextOf(module: Module, p: Pass, site: string, ledger: Ledger, options: Readonly<Record<string, string>>, fired: (n: number) => void): Cx {
  return {
    module,
    options,
    fired(rule, count = 1, note = {}) {
      fired(count);
      ledger.add({ pass: p.name, rule, site, outcome: "fired", count, ...note });
    },
    refused: (rule, reason, count = 1) => ledger.add({ pass: p.name, rule, site, outcome: "refused", count, reason }),
  };
}

function runOn(f: Func, m: Module, p: Pass, cx: Cx): Func {
  let func = f;
  if (p.rules) {
    const out = rewrite(f, m.graph, p.rules, p.name);
    const delta = difference(costOfFunc(out.func), costOfFunc(f));
    const keep = p.fire !== "when-cheaper" || out.fired.size === 0 || delta.flops < 0;
    for (const [rule, count] of out.fired)
      if (keep) cx.fired(rule.name, count, { changes: rule.changes, delta });
      else cx.refused(rule.name, `costs ${(delta.flops / 1e9).toFixed(2)} GFLOP more at ${printAssume(f)}`, count);
    for (const [rule, reason] of out.refused) cx.refused(rule.name, reason);
    if (keep) func = out.func;
  }
  return p.run ? p.run(func, cx) : func;
}

export const difference = (after: Cost, before: Cost): Cost => ({
  flops: after.flops - before.flops,
  bytes: after.bytes - before.bytes,
  launches: after.launches - before.launches,
});

export const printAssume = (f: Func): string =>
  Object.entries(f.assume)
    .map(([k, v]) => `${k} = ${v}`)
    .join(", ");
