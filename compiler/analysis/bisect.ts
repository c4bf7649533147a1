// Which passes change what a model answers: the graph after half of the passes is asked first, then a quarter, and so on.
import { runPipeline, type Pass, type PipelineOptions } from "../../passes/index.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { EXACT, largest, step } from "./verify.ts";

export type BisectEntry = "prefill" | "extend" | "draft";

export interface Changed {
  entry: BisectEntry;
  pass: string;
  /** Largest difference of any logit to what the graph answered just before. */
  difference: number;
  /** Where the pass declares it: why. */
  declared?: string;
}

export interface Bisected {
  schema: "dsc-bisect/1";
  passes: string[];
  /** Graphs that were asked, of all there are. */
  asked: number;
  graphs: number;
  changed: Changed[];
}

export function bisect(
  spec: ModelSpec,
  passes: readonly Pass[],
  given: Readonly<Record<string, string>>,
  actQuant: "dynamic" | "none",
  how: PipelineOptions = {},
  tell: (doing: string) => void = () => {},
): Bisected {
  const module = modelModule(spec, { activations: "f32", taps: false, actQuant });
  const { snapshots, ledger } = runPipeline(module, passes, given, how);
  const declared = new Map(ledger.entries.filter((e) => e.outcome === "fired" && e.changes).map((e) => [e.pass, e.changes!]));
  const entries: BisectEntry[] = ["prefill", "extend", ...(spec.mtp ? (["draft"] as const) : [])];
  const changed: Changed[] = [];
  let asked = 0;
  for (const entry of entries) {
    const known = new Map<number, Float64Array>();
    const answer = (i: number): Float64Array => {
      const before = known.get(i);
      if (before) return before;
      tell(`${entry}: after ${snapshots[i].pass}`);
      const found = step(snapshots[i].module, spec, entry);
      asked++;
      known.set(i, found);
      return found;
    };
    const last = snapshots.length - 1;
    const same = (i: number, j: number): boolean => largest(answer(i), answer(j)) < EXACT;
    for (let from = 0; from < last && !same(from, last);) {
      // The answers of `low` and of `from` are the same; those of `high` and of `from` are not.
      let [low, high] = [from, last];
      while (high - low > 1) {
        const middle = Math.floor((low + high) / 2);
        if (same(from, middle)) low = middle;
        else high = middle;
      }
      const { pass } = snapshots[high];
      const why = declared.get(pass);
      changed.push({
        entry,
        pass,
        difference: largest(answer(low), answer(high)),
        ...(why === undefined ? {} : { declared: why }),
      });
      from = high;
    }
  }
  return { schema: "dsc-bisect/1", passes: passes.map((p) => p.name), asked, graphs: snapshots.length * entries.length, changed };
}
