// The summary of a model: module tree, parameter table, bytes by dtype, active parameters and cache bytes per token.
// Counts come from the checkpoint's tensor list and are checked against the module tree, so neither can drift alone.
import { addCounts, countOf, layerTensors, outerTensors, type WeightCount } from "../frontend/weights.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { moduleTree, parametersOf, printTree, runAt, type ModuleNode } from "./tree.ts";

export interface Summary {
  architecture: string;
  layers: { dense: number; moe: number; mtp: number };
  /** Parameters of the main model: tables, norms, linears, router biases; block scales are not parameters. */
  parameters: number;
  mtp_parameters: number;
  parameters_with_mtp: number;
  /** Parameters of the main model one token touches: all but the experts it does not choose. */
  active_parameters: number;
  /** Tensors in the checkpoint, scales and the extra prediction layer included. */
  tensors: number;
  bytes: Bytes;
  bytes_with_mtp: Bytes;
  /** Latent cache, bf16: (kv_lora_rank + qk_rope_head_dim) * 2 in every main layer. */
  cache_bytes_per_token: number;
  cache_bytes_per_token_with_mtp: number;
  /** What a cache of expanded keys and values would take instead. */
  expanded_cache_bytes_per_token: number;
}

export interface Bytes {
  total: number;
  bf16: number;
  e4m3: number;
  f32: number;
}

const CACHE_BYTES = 2;

export function summarise(s: ModelSpec): Summary {
  const kinds = { dense: s.layers.filter((k) => k === "dense").length, moe: s.layers.filter((k) => k === "moe").length };
  const parts: [WeightCount, number][] = [[countOf(outerTensors(s)), 1]];
  // One layer of a kind stands for all of them: R1's list has 92,000 tensors.
  for (const kind of ["dense", "moe"] as const)
    if (kinds[kind]) parts.push([countOf(layerTensors(s, s.layers.indexOf(kind))), kinds[kind]]);
  const main = addCounts(...parts);
  const draft = s.mtp ? addCounts([countOf(layerTensors(s, s.layers.length)), s.mtp]) : countOf([]);
  const all = addCounts([main, 1], [draft, 1]);
  const idle = s.moe ? kinds.moe * (s.moe.experts - s.moe.topk) * 3 * s.hidden * s.moe.intermediate : 0;
  const row = (s.kvLora + s.rope) * CACHE_BYTES;
  return {
    architecture: s.architecture,
    layers: { ...kinds, mtp: s.mtp },
    parameters: main.parameters,
    mtp_parameters: draft.parameters,
    parameters_with_mtp: all.parameters,
    active_parameters: main.parameters - idle,
    tensors: all.tensors,
    bytes: bytesOf(main),
    bytes_with_mtp: bytesOf(all),
    cache_bytes_per_token: row * s.layers.length,
    cache_bytes_per_token_with_mtp: row * (s.layers.length + s.mtp),
    expanded_cache_bytes_per_token: s.heads * (s.nope + s.rope + s.vDim) * CACHE_BYTES * s.layers.length,
  };
}

const bytesOf = ({ bytes: b }: WeightCount): Bytes => ({ total: b.bf16 + b.e4m3 + b.f32, ...b });

/** One line of the parameter table. `parameters` is null on containers whose children have lines of their own. */
export interface Row {
  depth: number;
  index: number;
  type: string;
  parameters: number | null;
  /** The last index of a run of equal modules that one line stands for. */
  last?: number;
}

/** Longer runs of equal layers or experts are one line for a person. */
const MOST_ALIKE = 4;

/** The table's lines down to `depth`, numbered per depth as torchinfo numbers them; `fold` writes long runs once. */
export function rowsOf(root: ModuleNode, depth: number, fold = false): Row[] {
  const counters: number[] = [];
  const visit = (m: ModuleNode, at: number): Row[] => {
    counters[at] = (counters[at] ?? 0) + 1;
    const open = m.children.length > 0 && at < depth;
    const n = parametersOf(m);
    const rows: Row[] = [{ depth: at, index: counters[at], type: m.type, parameters: open || n === 0 ? null : n }];
    for (let i = 0; open && i < m.children.length;) {
      const run = fold && runAt(m, i) > MOST_ALIKE ? runAt(m, i) : 1;
      const [first, ...below] = visit(m.children[i][1], at + 1);
      // The others are counted, so that what follows has the number it would have.
      for (let other = 1; other < run; other++) visit(m.children[i][1], at + 1);
      rows.push(run > 1 ? { ...first, last: counters[at + 1] } : first, ...below);
      i += run;
    }
    return rows;
  };
  return visit(root, 0);
}

const number = (n: number): string => n.toLocaleString("en-US");

/** The table as torchinfo prints it: layer, then its parameters, then totals. */
function printTable(rows: readonly Row[], total: number): string {
  const names = rows.map((r) =>
    r.depth === 0
      ? r.type
      : `${r.depth === 1 ? "├─" : "│    ".repeat(r.depth - 1) + "└─"}${r.type}: ` +
        `${r.depth}-${r.index}${r.last === undefined ? "" : ` to ${r.depth}-${r.last} (${r.last - r.index + 1} x)`}`,
  );
  const width = Math.max(40, ...names.map((n) => n.length));
  const rule = "=".repeat(width + 25);
  const line = (name: string, value: string): string => `${name.padEnd(width)} ${value}`;
  return [
    rule,
    line("Layer (type:depth-idx)", "Param #"),
    rule,
    ...rows.map((r, i) => line(names[i], r.parameters === null ? "--" : number(r.parameters))),
    rule,
    `Total params: ${number(total)}`,
    `Trainable params: ${number(total)}`,
    "Non-trainable params: 0",
    rule,
  ].join("\n");
}

/** "1.30 GB": decimal, as checkpoints are sold. */
export function size(n: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let u = 0;
  let v = n;
  while (v >= 1000 && u < units.length - 1) [v, u] = [v / 1000, u + 1];
  return u === 0 ? `${n} bytes` : `${v.toFixed(2)} ${units[u]}`;
}

/** "4.71 TFLOP", "320 FLOP": three digits at most, never an exponent. */
export function flops(n: number): string {
  const units = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"];
  let u = 0;
  let v = n;
  while (v >= 999.5 && u < units.length - 1) [v, u] = [v / 1000, u + 1];
  return `${v >= 100 || u === 0 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2)} ${units[u]}`;
}

/** Levels of the parameter table, unless said. */
export const DEPTH = 3;

/** Everything `dsc summary` prints for a person; `depth` cuts the tree and the table. */
export function printSummary(s: ModelSpec, depth?: number): string {
  const sum = summarise(s);
  const tree = moduleTree(s);
  const facts: [string, string][] = [["Parameters", number(sum.parameters)]];
  if (s.mtp) facts.push(["with the extra prediction layer", number(sum.parameters_with_mtp)]);
  facts.push(["Active parameters per token", number(sum.active_parameters)]);
  for (const t of ["bf16", "e4m3", "f32"] as const) {
    const n = sum.bytes_with_mtp[t];
    if (n) facts.push([`Bytes in ${t}`, `${number(n)} (${size(n)})`]);
  }
  facts.push(["Bytes in all", `${number(sum.bytes_with_mtp.total)} (${size(sum.bytes_with_mtp.total)})`]);
  const ratio = (sum.expanded_cache_bytes_per_token / sum.cache_bytes_per_token).toFixed(1);
  facts.push([
    "Cache bytes per token",
    `${number(sum.cache_bytes_per_token)} (latent, bf16; expanded keys and values: ${ratio} times as much)`,
  ]);
  const width = Math.max(...facts.map(([k]) => k.length)) + 2;
  return [
    printTree(tree, depth),
    "",
    printTable(rowsOf(tree, depth ?? DEPTH, true), sum.parameters_with_mtp),
    "",
    ...facts.map(([k, v]) => k.padEnd(width) + v),
  ].join("\n");
}
