// The plan of a model on a machine, for a person: what a step moves and computes site by site, the floor under it, and whether it
// fits.
import type { Machine } from "../machine.ts";
import type { Roofline, Step } from "../roofline.ts";
import { size } from "./summary.ts";
import { table } from "./table.ts";

export function printPlan(architecture: string, machine: Machine, { decode, prefill, memory }: Roofline): string {
  const per = decode.sequences > 1 ? `${(decode.floor_ms / decode.sequences).toFixed(3)} ms per token` : "a token";
  const share = (n: number): string => size(n).padStart(12);
  return [
    `${architecture} on ${machine.name}`,
    `  ${machine.source}`,
    "",
    `decode: ${decode.sequences} sequence${decode.sequences > 1 ? "s" : ""} of ${decode.cached} cached rows`,
    ...sites(decode),
    `at least ${decode.floor_ms.toFixed(3)} ms a step (${per}): ${size(decode.bytes)}, ${flops(decode.flops)}, ${decode.launches.toFixed(0)} launches`,
    "",
    `prefill: ${prefill.rows} rows`,
    ...sites(prefill),
    `at least ${prefill.floor_ms.toFixed(3)} ms: ${size(prefill.bytes)}, ${flops(prefill.flops)}, ${prefill.launches.toFixed(0)} launches`,
    "",
    "memory",
    `  weights ${share(memory.weights)}`,
    `  cache   ${share(memory.cache)}   ${decode.sequences} x ${decode.cached} rows`,
    `  arena   ${share(memory.arena)}`,
    `  in all  ${share(memory.total)}   of ${size(memory.available)}: ${memory.fits ? "fits" : `does not fit; ${Math.ceil(memory.total / memory.available)} of them would hold it`}`,
  ].join("\n");
}

const flops = (n: number): string => (n >= 1e12 ? `${(n / 1e12).toFixed(2)} TFLOP` : `${(n / 1e9).toFixed(2)} GFLOP`);

function sites(step: Step): string[] {
  const number = (n: number): string => (n >= 100 ? n.toFixed(0) : n >= 1 ? n.toFixed(1) : n.toFixed(3));
  const rows = step.sites.map((s) => [s.site, s.op, number(s.times).replace(/\.0$/, ""), number(s.bytes / 1e6), number(s.flops / 1e9), number(s.floor_us), number(s.floor_us * s.times), s.bound]);
  return table(["site", "op", "times", "MB", "GFLOP", "floor us", "in all us", "bound by"], rows, [2, 3, 4, 5, 6]);
}
