// A model compiled, the reference's values for some sequences of it, and batches of those sequences stepped through on the device,
// launch by launch. Used on a card at R1's full widths (oracle.ts), and on the host at small ones (test/run/oracle.test.ts).
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { compile, defaults, type Compiled, type CompileOptions } from "../../compiler/compile.ts";
import type { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { Watch } from "../../runtime/devices/cuda/executor.ts";
import { Model } from "../../runtime/model.ts";
import type { Row } from "./device.ts";
import { idOf, isAbsorbed, jobOf, placedSteps, type JobCall } from "./oracle-job.ts";
import { Play, StoredValues } from "./oracle-values.ts";
import { Watcher } from "./oracle-watch.ts";

/** A row: bf16 rounding, and what products and attention add to it. */
const LIMIT = 4e-3;
/** An element: half a step of bf16 is 3.9e-3 of it, and a fused sum may round the product in it another way, a step or 7.8e-3 more. */
const ELEMENT = 1.25e-2;
/** Twice these for ops with a quantisation between products: where the first product's bf16 rounds the other way, a code changes. */
const CHAINS = ["experts_add", "route_experts_add"];
/** refmodel and the graph, both in float64. */
const AGREE = 1e-6;

/** New rows of the sequences of a group in prefill, extend and decode; as many of the three as there are. Drafts go over the prompts. */
export interface Group {
  name: string;
  rows: readonly (readonly number[])[];
  drafts?: boolean;
  layers: readonly number[];
}

type Kind = "prefill" | "draft" | "extend" | "decode";

/** A batch of a group's sequences, each as often as listed, and which of its calls are looked at. */
export interface Batch {
  group: string;
  sequences: readonly number[];
  calls: readonly Kind[];
  /** Layers looked at, and what lies around them; all unless said. */
  only?: readonly (number | "entry")[];
}

export interface Setting {
  /** The config file, and keys of it set otherwise. */
  src: string;
  set: Readonly<Record<string, unknown>>;
  options: Partial<CompileOptions>;
  seed: number;
  groups: readonly Group[];
  batches: readonly Batch[];
  python: string;
  /** Where the reference's program lies. */
  script: string;
  /** Where its values may lie for a while. */
  scratch: string;
  /** No batch begins later than so many seconds after the start. */
  seconds?: number;
  open(c: Compiled, watch: Watch): Promise<CudaDevice>;
}

const kinds: readonly Kind[] = ["prefill", "draft", "extend", "decode"];
const idAt = (sequence: number, row: number, vocab: number): number => (row * 7919 + sequence * 104729 + 13) % vocab;

/** The calls of the groups, each sequence's rows following its last. A draft's rows are the prompt's, one id further. */
function callsOf(c: Compiled, groups: readonly Group[]): (JobCall & { kind: Kind })[] {
  const { vocab, layers: main } = c.manifest.model;
  return groups.flatMap(({ name, rows, layers, drafts }) => {
    const lengths = rows[0].map(() => 0);
    const call = (
      kind: Kind,
      counts: readonly number[],
      before: readonly number[],
      ahead: number,
      own: { layer?: number; layers: number[] },
    ): JobCall & { kind: Kind } => {
      const starts = [0];
      const ids: number[] = [];
      for (const [b, n] of counts.entries()) {
        for (let j = 0; j < n; j++) ids.push(idAt(b, before[b] + j + ahead, vocab));
        starts.push(ids.length);
      }
      const entry = c.manifest.entries[kind]!;
      return {
        kind,
        name: `${name}.${kind}`,
        group: name,
        entry,
        starts,
        lengths: counts.map((n, b) => before[b] + n),
        ids,
        reference: layers.length === main,
        absorbed: isAbsorbed(c, entry),
        ...own,
      };
    };
    return rows.flatMap((counts, i) => {
      const before = [...lengths];
      for (const [b, n] of counts.entries()) lengths[b] += n;
      const own = call((["prefill", "extend", "decode"] as const)[i], counts, before, 0, { layers: [...layers] });
      return i === 0 && drafts ? [own, call("draft", counts, before, 1, { layer: main, layers: [main] })] : [own];
    });
  });
}

interface Agreement {
  device: string;
  torch: string;
  seconds: number;
  calls: { name: string; bytes: number; seconds: number[]; agreement: { what: string; apart: number; shapes?: string }[] }[];
}

/** Rows of a report: the reference beside itself, every kernel, and which kernels of the manifest did not run. */
export async function oracleRows(s: Setting): Promise<Row[]> {
  const set = Object.entries(s.set).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  const options: CompileOptions = { ...defaults, target: "cuda", activations: "bf16", ...s.options, set };
  const c = compile(s.src, options);
  const config = { ...(JSON.parse(readFileSync(s.src, "utf8")) as object), ...s.set };
  const calls = callsOf(c, s.groups);
  const work = mkdtempSync(path.join(s.scratch, "dsc-oracle-"));
  const watcher = new Watcher(c.manifest, placedSteps(c, options));
  const times = [performance.now()];
  try {
    writeFileSync(path.join(work, "job.json"), jobOf(c, config, s.seed, calls));
    const reference = finished(
      spawn(s.python, [s.script, path.join(work, "job.json"), work], { stdio: ["ignore", "ignore", "inherit"] }),
    );
    // The model is opened meanwhile; its load functions run before there is anything to compare with.
    const opening = s.open(c, watcher.watch).then((device) => Model.open(c.manifest, device, { weights: `synthetic:${s.seed}` }));
    const [model] = await Promise.all([opening, reference]);
    times.push(performance.now());
    const agreement = JSON.parse(readFileSync(path.join(work, "agreement.json"), "utf8")) as Agreement;
    say(
      `reference ${agreement.seconds} s: ${agreement.calls.map((k) => `${k.name} ${k.seconds.join(" ")}`).join(", ")}; with loading ${seconds(times)}`,
    );
    checkLoads(model, watcher, c, work);
    // Kept from batch to batch: reading takes longer than most of what is done with it.
    const values = new Map(calls.map((k) => [k.name, new StoredValues(path.join(work, `${k.name}.safetensors`))]));
    let left = s.batches.length;
    for (const b of s.batches) {
      if ((performance.now() - times[0]) / 1000 > (s.seconds ?? Infinity)) break;
      left--;
      await playBatch(model, watcher, calls, b, values);
      say(`${b.group} ${b.sequences.length} sequences ${b.calls.join(" ")}: at ${seconds(times)}`);
    }
    for (const v of values.values()) v.close();
    times.push(performance.now());
    const { launched } = model.device;
    await model.close();
    return [
      ...agreementRows(agreement),
      ...kernelRows(watcher, c),
      manifestRow(c, launched, watcher),
      {
        what: "seconds",
        batches: s.batches.length,
        left_out: left,
        reference_and_loading: (times[1] - times[0]) / 1000,
        of_it_reference: agreement.seconds,
        stepping: (times[2] - times[1]) / 1000,
      },
    ];
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** What load functions computed, before there was anything to compare with. */
function checkLoads(
  { weights, device }: Model<CudaDevice>,
  watcher: Watcher,
  { outcome: { module }, manifest }: Compiled,
  folder: string,
): void {
  const values = new StoredValues(path.join(folder, "load.safetensors"));
  for (const { func, layers, writes } of module.load)
    for (const layer of layers)
      for (const { name, value } of module.funcs.get(func)!.results) {
        const [step] = manifest.functions[func].steps;
        const symbol = writes[name];
        if (step.kind === "kernel")
          watcher.computed(
            device,
            weights.address(symbol, "data", layer),
            manifest.weights[symbol].dtype as "f32" | "bf16",
            values.get(`${func}|${layer}|${idOf(value)}|e`)!,
            step.kernel,
            value.node.op.name,
          );
      }
  values.close();
}

/** Progress, where it is asked for. */
const say = (line: string): void => void (process.env.DSC_SHOW && process.stderr.write(`${line}\n`));
const seconds = ([from]: readonly number[]): string => `${((performance.now() - from) / 1000).toFixed(1)} s`;

/** Settles when a program has ended well. */
const finished = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`the reference ended with ${code ?? signal}`)),
    );
  });

/** One batch through prefill, extend and decode; those asked for are stepped through. */
async function playBatch(
  model: Model<CudaDevice>,
  watcher: Watcher,
  calls: readonly (JobCall & { kind: Kind })[],
  batch: Batch,
  values: ReadonlyMap<string, StoredValues>,
): Promise<void> {
  const own = calls.filter((c) => c.group === batch.group);
  const last = Math.max(...batch.calls.map((k) => kinds.indexOf(k)));
  const session = model.session({ maxTokens: Math.max(...own.flatMap((c) => c.lengths)), sequences: batch.sequences.length });
  for (const call of own) {
    const looked = batch.calls.includes(call.kind);
    if (kinds.indexOf(call.kind) > last || (call.kind === "draft" && !looked)) continue;
    watcher.begin(model.device, looked ? new Play(call, batch.sequences, values.get(call.name)!, batch.only) : undefined);
    const tokens = batch.sequences.map((b) => call.ids.slice(call.starts[b], call.starts[b + 1]));
    // What the main model gave is put in as everything else is.
    if (call.kind === "draft") await session.draft(tokens, new Float32Array(tokens.flat().length * model.manifest.model.hidden));
    else await (call.kind === "prefill" ? session.prefill(tokens) : session.extend(tokens));
    watcher.end();
  }
  session.close();
}

function agreementRows({ calls, device, torch }: Agreement): Row[] {
  return calls
    .filter((c) => c.agreement.length > 0)
    .map(({ name, agreement, bytes, seconds }) => {
      const worst = agreement.reduce((a, b) => (b.apart > a.apart ? b : a));
      return {
        what: "graph beside refmodel, in float64",
        call: name,
        values: agreement.length,
        worst: worst.apart,
        at: worst.what + (worst.shapes ? ` ${worst.shapes}` : ""),
        on: device,
        torch,
        mb: Math.round(bytes / 1e6),
        seconds: seconds.join(" "),
        ok: worst.apart < AGREE,
      };
    });
}

const times = (op: string): number => (CHAINS.includes(op) ? 2 : 1);

function kernelRows(watcher: Watcher, c: Compiled): Row[] {
  return [...watcher.tallies]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([, t]) => ({
      kernel: t.kernel,
      op: t.op,
      family: c.manifest.kernels[t.kernel].family,
      launches: t.launches,
      ...(t.elements ? { elements: t.elements, row: t.row, element: t.element } : {}),
      ...(t.codes ? { codes: t.codes, codes_apart: t.codesApart, scales_apart: t.scalesApart, unexplained: t.unexplained } : {}),
      ...(t.integers ? { integers: t.integers, wrong: t.wrong } : {}),
      ...(t.where ? { at: t.where } : {}),
      ok: t.row <= LIMIT * times(t.op) && t.element <= ELEMENT * times(t.op) && t.unexplained === 0 && t.wrong === 0,
    }));
}

/** What the manifest holds against what ran and was compared. */
function manifestRow(c: Compiled, launched: ReadonlySet<string>, { tallies, copies }: Watcher): Row {
  const all = Object.keys(c.manifest.kernels);
  const missing = all.filter((k) => !launched.has(k));
  const seen = new Set([...tallies.values()].map((t) => t.kernel));
  const unseen = all.filter((k) => launched.has(k) && !seen.has(k));
  return {
    what: "kernels of the manifest",
    kernels: all.length,
    ran: all.length - missing.length,
    compared: seen.size - copies.size,
    not_run: missing.join(" "),
    not_compared: unseen.join(" "),
    copies: [...copies].join(" "),
    ok: missing.length === 0,
  };
}
