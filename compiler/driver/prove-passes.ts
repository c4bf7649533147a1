// Passes are proved on the model they are used for: made small, it is interpreted in float64 before and after each of them. Rules are
// equations proved alone, and hold where the proof's holes stand for anything; what `run` and `whole` do, and a rule that looks at the
// graph around it, is only seen here. A proof is kept under a digest of what the pass did to the whole model, so that it is made once.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Target } from "../../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import type { Mesh } from "../../ir/mesh.ts";
import { printFunc, printModule, type Func, type Module } from "../../ir/index.ts";
import { pluginChanges, pluginUnproved, pluginUntried } from "../../passes/plugin-diagnostics.ts";
import { runPipeline, type Ledger, type Outcome, type Pass } from "../../passes/index.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { cacheFolder } from "../../runtime/user-cache.ts";
import { passChanges } from "../diagnostics.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { HeldTo } from "../plugin/brings.ts";
import { guardOf, writeBefore } from "./plugin-gate.ts";
import { EXACT, largest, step, textBelow, type MadeWeights } from "../analysis/verify.ts";
import { shrink } from "../analysis/shrink.ts";
import { shrinkFor } from "../analysis/shrink-mesh.ts";
import { version } from "../artifact/version.ts";

/** What is known of one pass. */
export interface PassProof {
  pass: string;
  /** Of a plug-in's. */
  file?: string;
  /** "proved: ..." or "not proved, because ..." */
  says: string;
  proved: boolean;
}

/** What is proved: what `ran` did on the whole model, by which passes and options; texts that reproduce a fault go into `folder`. */
export interface Question {
  spec: ModelSpec;
  passes: readonly Pass[];
  options: Readonly<Record<string, string>>;
  ran: Outcome;
  folder: string;
  /** Texts of functions that are known already. */
  printed: Map<Func, string>;
  /** The mesh that the small model is divided over, where the whole one is divided. */
  mesh?: Mesh;
  /** Plug-ins, or dsc's own passes with `run` or `whole` too. */
  which: "plugins" | "all";
}

/** Proves passes of a pipeline that ran; throws DSC3107, or DSC3020, for one that changes what is computed. */
export function provePasses(q: Question): PassProof[] {
  const bench = new Bench(q);
  return q.passes.flatMap((p): PassProof[] => {
    if (!p.plugin && (q.which !== "all" || !(p.run || p.whole))) return [];
    const known = { pass: p.name, ...(p.plugin ? { file: p.plugin.file } : {}) };
    const at = q.ran.snapshots.findIndex((s) => s.pass === p.name);
    const [before, after] = [q.ran.snapshots[at - 1], q.ran.snapshots[at]].map((s) => textOf(s.module, q.printed));
    if (!p.plugin && before === after) return [];
    const kept = keptProof([version, p.name, p.plugin?.digest ?? "", JSON.stringify([bench.small, q.options]), before, after]);
    const says = kept.says ?? provedOnSmall(bench, p, before !== after);
    if (kept.says === undefined) kept.keep(says);
    return [{ ...known, proved: says.startsWith("proved"), says }];
  });
}

/** The same from what the pass does to the model made small: other whole models, or meshes of as many axes, have the same one. */
function provedOnSmall(bench: Bench, p: Pass, acted: boolean): string {
  const kept = keptProof([
    version,
    "small",
    p.name,
    p.plugin?.digest ?? "",
    JSON.stringify(bench.small),
    String(acted),
    ...bench.texts(p),
  ]);
  if (kept.says !== undefined) return kept.says;
  const { says } = bench.prove(p, acted);
  kept.keep(says);
  return says;
}

/** The model made small, with either form of attention, before and after every pass; made when it is first asked for. */
interface Form {
  attention: string;
  quantised: () => Outcome;
  /** Where nothing is quantised. */
  plain: () => Outcome;
}

const once = <T>(f: () => T): (() => T) => {
  let made: { value: T } | undefined;
  return () => (made ??= { value: f() }).value;
};

class Bench {
  readonly small: ModelSpec;
  readonly #folder: string;
  readonly #forms: readonly Form[];
  readonly #steps = new Map<string, Float64Array>();
  readonly #weights: MadeWeights = new Map();

  constructor({ spec, passes, options, folder, mesh, ran }: Question) {
    const small = mesh ? shrinkFor(spec, mesh, ran.snapshots[0].module) : shrink(spec);
    const how = { contracts: false, guard: guardOf(folder) };
    const run = (attention: string, actQuant: "dynamic" | "none"): Outcome =>
      runPipeline(modelModule(small, { activations: "f32", taps: false, actQuant }), passes, { ...options, attention }, how);
    this.small = small;
    this.#folder = folder;
    this.#forms = ["expanded", "absorbed"].map((attention) => ({
      attention,
      quantised: once(() => run(attention, "dynamic")),
      plain: once(() => run(attention, "none")),
    }));
  }

  /** The small model before a pass and after it, with either form of attention, and what the pass declares of each. */
  texts(p: Pass): string[] {
    return this.#forms.flatMap((form) => [
      JSON.stringify(declared(form.quantised().ledger, p) ?? null),
      ...around(form.quantised(), p).map((m) => textOf(m)),
    ]);
  }

  /** What is known of a pass; `acted`: it changed the whole model. */
  prove(p: Pass, acted: boolean): Pick<PassProof, "says" | "proved"> {
    const said = new Set<string>();
    let changed = false;
    for (const form of this.#forms) {
      const { ledger } = form.quantised();
      const [before, after] = around(form.quantised(), p);
      if (textOf(before) === textOf(after)) continue;
      changed = true;
      try {
        const change = declared(ledger, p);
        const moved = this.#held(p, form, change);
        if (change) said.add(inWords(change, moved));
      } catch (e) {
        // An op without a meaning of its own, or one that its reference does not cover.
        if (e instanceof DiagnosticError && e.diagnostics[0].code !== "DSC2011" && e.diagnostics[0].code !== "DSC2012") throw e;
        const why = e instanceof DiagnosticError ? e.diagnostics[0].title : `interpreting it failed: ${(e as Error).message}`;
        return { proved: false, says: `not proved, because ${why}` };
      }
    }
    if (!changed && acted) return { proved: false, says: "not proved, because it changes nothing of the model made small" };
    if (!changed) return { proved: true, says: "proved: it changes nothing" };
    const but = said.size ? `, but for what it declares: ${[...said].join("; ")}` : "";
    return { proved: true, says: `proved on the model made small, before and after${but}` };
  }

  /** The logits of an entry; computed once for what it reads. */
  #logits(m: Module, entry: Parameters<typeof step>[2]): Float64Array {
    const key = sha256(`${entry}\n${textBelow(m, entry)}`);
    const known = this.#steps.get(key) ?? step(m, this.small, entry, this.#weights);
    this.#steps.set(key, known);
    return known;
  }

  /** Holds one pass to what it may change; gives how far the logits moved. */
  #held(p: Pass, form: Form, change: Declared | undefined): number {
    let moved = 0;
    for (const entry of ["prefill", "extend", "decode", ...(this.small.mtp ? (["draft"] as const) : [])] as const) {
      const [before, after] = around(form.quantised(), p);
      let [x, y] = [this.#logits(before, entry), this.#logits(after, entry)];
      // A change of rounding has to be exact where nothing is quantised.
      if (change && change.within === undefined && largest(y, x) >= EXACT)
        [x, y] = around(form.plain(), p).map((m) => this.#logits(m, entry));
      const difference = largest(y, x);
      moved = Math.max(moved, difference);
      if (difference < (change?.within ?? EXACT)) continue;
      const where = `${entry}, ${form.attention} attention`;
      if (!p.plugin) throw new DiagnosticError(passChanges({ pass: p.name, where, difference }));
      const element = this.#element(x, y, difference);
      const changed = [...after.funcs.values()].filter((f) => printed(before, f.name) !== printFunc(f)).map((f) => `@${f.name}`);
      const repro = writeBefore(p.name, printModule(before), this.#folder);
      const { file } = p.plugin;
      throw new DiagnosticError(
        pluginChanges({ file, pass: p.name, where, changed, difference, element, ...(repro === undefined ? {} : { repro }) }),
      );
    }
    return moved;
  }

  /** The first logit that differs most, in words. */
  #element(x: Float64Array, y: Float64Array, difference: number): string {
    if (x.length !== y.length) return `there are ${y.length} logits after it and ${x.length} before`;
    const at = x.findIndex((v, i) => !(Math.abs(v - y[i]) < difference));
    const [row, id] = [Math.floor(at / this.small.vocab), at % this.small.vocab];
    return `logit ${id} of row ${row} is ${x[at]} before the pass and ${y[at]} after it`;
  }
}

/** The module before a pass, and after it. */
function around({ snapshots }: Outcome, p: Pass): [Module, Module] {
  const at = snapshots.findIndex((s) => s.pass === p.name);
  return [snapshots[at - 1].module, snapshots[at].module];
}

/** Warnings for what could not be proved. */
export const unproved = (proofs: readonly PassProof[]): Diagnostic[] =>
  proofs.flatMap((p) => (p.proved || p.file === undefined ? [] : [pluginUnproved({ file: p.file, pass: p.pass, says: p.says })]));

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

const inWords = ({ why, within }: Declared, moved: number): string =>
  within === undefined ? why : `${why} (logits move by ${moved.toPrecision(2)}, and may by ${within})`;

const printed = (m: Module, name: string): string => {
  const f = m.funcs.get(name);
  return f ? printFunc(f) : "";
};

const texts = new WeakMap<Module, string>();

/** All that a step depends on: functions, and weights with their sources. */
function textOf(m: Module, printed?: Map<Func, string>): string {
  const known = texts.get(m);
  if (known !== undefined) return known;
  const weights = [...m.weights.values()].map((w) => [w.name, w.type, w.layers, w.source]);
  const text = `${printModule(m, printed ? { printed } : {})}\n${JSON.stringify(weights)}`;
  texts.set(m, text);
  return text;
}

/** What was said of a pass when it was proved before, under all that the proof is of. */
function keptProof(of: readonly string[]): { says: string | undefined; keep(says: string): void } {
  const file = path.join(cacheFolder(), "proofs", sha256(of.join("\n")));
  return {
    says: existsSync(file) ? readFileSync(file, "utf8") || undefined : undefined,
    keep(says) {
      try {
        mkdirSync(path.dirname(file), { recursive: true });
        writeFileSync(file, says);
      } catch {
        // A cache that cannot be written costs time, not the compile.
      }
    },
  };
}
