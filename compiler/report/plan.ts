// The plan of a model on a machine, for a person: what a step moves and computes site by site, the floor under it, and whether it
// fits.
import type { Machine } from "../../ir/machine.ts";
import type { Fit, Roofline, Step } from "../analysis/roofline.ts";
import { flops, size } from "./summary.ts";
import { digits, table, times } from "./table.ts";

/** Sites beyond this share of a step are told by their number. */
const SHOWN = 0.99;

export function printPlan(architecture: string, machine: Machine, { decode, prefill, memory }: Roofline, all: boolean): string {
  const per = decode.sequences > 1 ? `${(decode.floor_ms / decode.sequences).toFixed(3)} ms per token` : "a token";
  const share = (n: number): string => size(n).padStart(12);
  return [
    `${architecture} on ${machine.name}`,
    `  ${machine.source}`,
    "",
    `decode: ${decode.sequences} sequence${decode.sequences > 1 ? "s" : ""} of ${decode.cached} cached rows`,
    ...sites(decode, all),
    `at least ${decode.floor_ms.toFixed(3)} ms a step (${per}): ${size(decode.bytes)}, ${flops(decode.flops)}, ` +
      `${decode.launches.toFixed(0)} launches`,
    "",
    `prefill: ${prefill.rows} rows`,
    ...sites(prefill, all),
    `at least ${prefill.floor_ms.toFixed(3)} ms: ${size(prefill.bytes)}, ${flops(prefill.flops)}, ${prefill.launches.toFixed(0)} launches`,
    "",
    "memory",
    `  weights ${share(memory.weights)}`,
    `  cache   ${share(memory.cache)}   ${decode.sequences} x ${decode.cached} rows`,
    `  arena   ${share(memory.arena)}`,
    `  in all  ${share(memory.total)}   of ${size(memory.available)}: ${fit(memory)}`,
  ].join("\n");
}

function fit(m: Fit): string {
  if (m.fits) return "fits";
  const layers = m.layers_that_fit
    ? `the first ${m.layers_that_fit} of ${m.layers} layers fit (--layers ${m.layers_that_fit})`
    : "not one layer fits";
  // A second machine would not help: nothing divides a model.
  const why = m.too_large
    ? `${m.too_large.weight} of one layer takes ${size(m.too_large.bytes)}, and a WebAssembly memory holds ${size(m.too_large.most)}`
    : "dsc runs on one";
  return `does not fit; ${why}; ${layers}`;
}

function sites(step: Step, all: boolean): string[] {
  const shown: Step["sites"] = [];
  let told = 0;
  for (const s of step.sites) {
    if (!all && told >= SHOWN) break;
    shown.push(s);
    told += s.share;
  }
  const rows = shown.map((s) => [
    (100 * s.share).toFixed(1),
    s.site,
    s.op,
    times(s.times),
    digits(s.bytes / 1e6),
    digits(s.flops / 1e9),
    digits(s.floor_us),
    digits(s.floor_us * s.times),
    s.bound,
  ]);
  const left = step.sites.length - shown.length;
  return [
    ...table(["%", "site", "op", "times", "MB", "GFLOP", "floor us", "in all us", "bound by"], rows, [0, 3, 4, 5, 6, 7]),
    ...(left ? [`and ${left} more sites of ${(100 * (1 - told)).toFixed(1)} % together (--all)`] : []),
  ];
}
