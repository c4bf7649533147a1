// Plug-ins are proved on the model they are used for: made small, it is interpreted in float64 before and after each of their
// passes. Rules are equations proved alone, and hold where the proof's holes stand for anything; what `run` and `whole` do, and
// a rule that looks at the graph around it, is only seen here. A proof is kept under a digest of both texts, so that it is made
// once.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Target } from "../../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { printFunc, printModule, type Module } from "../../ir/index.ts";
import { pluginChanges, pluginUnproved, pluginUntried } from "../../passes/plugin-diagnostics.ts";
import { runPipeline, type Ledger, type Outcome, type Pass } from "../../passes/index.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { cacheFolder } from "../../runtime/user-cache.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { HeldTo } from "../plugin/brings.ts";
import { guardOf, writeBefore } from "./plugin-gate.ts";
import { EXACT, largest, step } from "../analysis/verify.ts";
import { shrink } from "../analysis/shrink.ts";
import { version } from "../artifact/version.ts";

/** What is known of one plug-in's pass. */
export interface PluginProof {
  pass: string;
  file: string;
  /** "proved: ..." or "not proved, because ..." */
  says: string;
  proved: boolean;
}

/**
 * Proves every plug-in pass of a pipeline that ran; throws DSC3107 for one that changes what is computed. `ran` is what it
 * did on the whole model.
 */
export function provePlugins(
  spec: ModelSpec,
  passes: readonly Pass[],
  options: Readonly<Record<string, string>>,
  ran: Outcome,
  folder: string,
): PluginProof[] {
  const plugins = passes.filter((p) => p.plugin);
  if (plugins.length === 0) return [];
  const small = shrink(spec);
  const how = { contracts: false, guard: guardOf(folder) };
  const built = { activations: "f32", taps: false } as const;
  const forms = ["expanded", "absorbed"].map((attention) => {
    const given = { ...options, attention };
    return {
      attention,
      quantised: runPipeline(modelModule(small, { ...built, actQuant: "dynamic" }), passes, given, how),
      plain: () => runPipeline(modelModule(small, { ...built, actQuant: "none" }), passes, given, how),
    };
  });
  return plugins.map((p): PluginProof => {
    const known = { pass: p.name, file: p.plugin!.file };
    const said = new Set<string>();
    let changed = false;
    for (const { attention, quantised, plain } of forms) {
      const at = quantised.snapshots.findIndex((s) => s.pass === p.name);
      const [before, after] = [quantised.snapshots[at - 1].module, quantised.snapshots[at].module];
      if (printModule(before) === printModule(after)) continue;
      changed = true;
      try {
        const change = declared(quantised.ledger, p);
        const moved = held(p, small, attention, before, after, change && { ...change, plain }, folder);
        if (change)
          said.add(
            change.within === undefined
              ? change.why
              : `${change.why} (logits move by ${moved.toPrecision(2)}, and may by ${change.within})`,
          );
      } catch (e) {
        // An op without a meaning of its own, or one that its reference does not cover.
        if (e instanceof DiagnosticError && e.diagnostics[0].code !== "DSC2011" && e.diagnostics[0].code !== "DSC2012") throw e;
        return {
          ...known,
          proved: false,
          says:
            "not proved, because " +
            `${e instanceof DiagnosticError ? e.diagnostics[0].title : `interpreting it failed: ${(e as Error).message}`}`,
        };
      }
    }
    const at = ran.snapshots.findIndex((s) => s.pass === p.name);
    if (!changed && printModule(ran.snapshots[at - 1].module) !== printModule(ran.snapshots[at].module))
      return { ...known, proved: false, says: "not proved, because it changes nothing of the model made small" };
    if (!changed) return { ...known, proved: true, says: "proved: it changes nothing" };
    return {
      ...known,
      proved: true,
      says: `proved on the model made small, before and after${said.size ? `, but for what it declares: ${[...said].join("; ")}` : ""}`,
    };
  });
}

/** Warnings for what could not be proved. */
export const unproved = (proofs: readonly PluginProof[]): Diagnostic[] =>
  proofs.filter((p) => !p.proved).map((p) => pluginUnproved({ file: p.file, pass: p.pass, says: p.says }));

/** Warnings for what could not be tried. */
export const untried = (held: readonly HeldTo[], target: Target): Diagnostic[] =>
  held
    .filter((h) => !h.proved && (h.only ?? target) === target)
    .map((h) => pluginUntried({ file: h.file, what: h.what, says: h.says }));

/** A change of the function that a pass declared where it fired, and by how much logits may move for it. */
interface Declared {
  why: string;
  within?: number;
}

function declared(ledger: Ledger, p: Pass): Declared | undefined {
  const entries = ledger.entries.filter((e) => e.pass === p.name && e.outcome === "fired" && e.changes);
  if (!entries.length) return undefined;
  const bounds = entries.flatMap((e) => e.within ?? []);
  return { why: entries[0].changes!, ...(bounds.length === entries.length ? { within: Math.max(...bounds) } : {}) };
}

/** Holds one pass to what it may change; gives how far the logits moved. */
function held(
  p: Pass,
  spec: ModelSpec,
  attention: string,
  before: Module,
  after: Module,
  change: (Declared & { plain: () => Outcome }) | undefined,
  folder: string,
): number {
  let moved = 0;
  for (const entry of ["prefill", "extend", "decode", ...(spec.mtp ? (["draft"] as const) : [])] as const) {
    const kept = keptProof([before, after].map((m) => textOf(m)).join("\n"), entry);
    if (kept.known) continue;
    let [x, y] = [step(before, spec, entry), step(after, spec, entry)];
    if (change && change.within === undefined && largest(y, x) >= EXACT) {
      // A change of rounding has to be exact where nothing is quantised.
      const { snapshots } = change.plain();
      const at = snapshots.findIndex((s) => s.pass === p.name);
      [x, y] = [step(snapshots[at - 1].module, spec, entry), step(snapshots[at].module, spec, entry)];
    }
    const difference = largest(y, x);
    moved = Math.max(moved, difference);
    if (difference < (change?.within ?? EXACT)) {
      if (change?.within === undefined) kept.keep();
      continue;
    }
    const at = x.length === y.length ? x.findIndex((v, i) => !(Math.abs(v - y[i]) < difference)) : -1;
    const [row, id] = at < 0 ? [0, 0] : [Math.floor(at / spec.vocab), at % spec.vocab];
    const changed = [...after.funcs.values()].filter((f) => printed(before, f.name) !== printFunc(f)).map((f) => `@${f.name}`);
    const repro = writeBefore(p.name, printModule(before), folder);
    throw new DiagnosticError(
      pluginChanges({
        file: p.plugin!.file,
        pass: p.name,
        where: `${entry}, ${attention} attention`,
        changed,
        difference,
        element:
          at < 0
            ? `there are ${y.length} logits after it and ${x.length} before`
            : `logit ${id} of row ${row} is ${x[at]} before the pass and ${y[at]} after it`,
        ...(repro === undefined ? {} : { repro }),
      }),
    );
  }
  return moved;
}

const printed = (m: Module, name: string): string => {
  const f = m.funcs.get(name);
  return f ? printFunc(f) : "";
};

/** All that a step depends on: functions, and weights with their sources. */
const textOf = (m: Module): string =>
  `${printModule(m)}\n${JSON.stringify([...m.weights.values()].map((w) => [w.name, w.type, w.layers, w.source]))}`;

/** Whether a pair of modules was proved before, under this version of dsc. */
function keptProof(texts: string, entry: string): { known: boolean; keep(): void } {
  const digest = sha256(`${version} ${entry}\n${texts}`);
  const file = path.join(cacheFolder(), "proofs", digest);
  return {
    known: existsSync(file),
    keep() {
      try {
        mkdirSync(path.dirname(file), { recursive: true });
        writeFileSync(file, "");
      } catch {
        // A cache that cannot be written costs time, not the compile.
      }
    },
  };
}
