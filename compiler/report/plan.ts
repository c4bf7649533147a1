// The plan of a model on a machine, for a person: what a step moves and computes site by site, the floor under it, and whether it
// fits.
import type { Machine } from "../../ir/machine.ts";
import { meshWords, type Mesh } from "../../ir/mesh.ts";
import type { Expected, ExpectedStep } from "../analysis/expected.ts";
import type { Fit } from "../analysis/fit.ts";
import type { Roofline, Step } from "../analysis/roofline.ts";
import { flops, size } from "./summary.ts";
import { digits, table, times } from "./table.ts";

/** Sites beyond this share of a step are told by their number. */
const SHOWN = 0.99;
/** Sites with no hand-written kernel that are named. */
const PRINTED = 4;

export function printPlan(
  architecture: string,
  machine: Machine,
  { decode, prefill, memory }: Roofline,
  all: boolean,
  expected?: Expected,
  mesh?: Mesh,
): string {
  const per = decode.sequences > 1 ? `${(decode.floor_ms / decode.sequences).toFixed(3)} ms per token` : "a token";
  const share = (n: number): string => size(n).padStart(12);
  return [
    `${architecture} on ${machine.name}${mesh ? `, one of ${mesh.tp} ranks: ${meshWords(mesh)}` : ""}`,
    `  ${machine.source}`,
    ...(mesh && machine.links ? [`  ${machine.links.source}`] : []),
    "",
    `decode: ${decode.sequences} sequence${decode.sequences > 1 ? "s" : ""} of ${decode.cached} cached rows`,
    ...sites(decode, all),
    `at least ${decode.floor_ms.toFixed(3)} ms a step (${per}): ${size(decode.bytes)}, ${flops(decode.flops)}, ` +
      `${decode.launches.toFixed(0)} launches`,
    ...onTheWire(decode),
    ...inWords(expected?.decode, decode, all),
    "",
    `prefill: ${prefill.rows} rows`,
    ...sites(prefill, all),
    `at least ${prefill.floor_ms.toFixed(3)} ms: ${size(prefill.bytes)}, ${flops(prefill.flops)}, ${prefill.launches.toFixed(0)} launches`,
    ...onTheWire(prefill),
    ...inWords(expected?.prefill, prefill, all),
    "",
    "memory",
    `  weights ${share(memory.weights)}`,
    `  cache   ${share(memory.cache)}   ${decode.sequences} x ${decode.cached} rows`,
    `  arena   ${share(memory.arena)}`,
    `  in all  ${share(memory.total)}   of ${size(memory.available)}: ${fit(memory, mesh)}`,
  ].join("\n");
}

/** One line for a compile. */
export const printExpected = ({ decode, prefill }: Expected): string =>
  `expected of its kernels: ${decode.ms.toFixed(3)} ms a token (floor ${decode.floor_ms.toFixed(3)}), ` +
  `${prefill.ms.toFixed(2)} ms a prompt (floor ${prefill.floor_ms.toFixed(2)}), at context 1024; dsc plan says more`;

/** What the chosen kernels should take, where that is from, and what is left to printed tile programs. */
function inWords(e: ExpectedStep | undefined, floor: Step, all: boolean): string[] {
  if (!e) return [];
  const from = Object.entries(e.by).filter(([, { launches }]) => launches >= 0.5);
  const words = from.map(
    ([source, { ms, launches }]) =>
      `${ms.toFixed(3)} ms of ${launches.toFixed(0)} launches ${source === "floor" ? "without a time, as their floors" : source}`,
  );
  const share = e.printed.reduce((sum, { share: s }) => sum + s, 0);
  const named = all ? e.printed : e.printed.slice(0, PRINTED);
  return [
    `expected ${e.ms.toFixed(3)} ms by the chosen kernels, ${(e.ms / floor.floor_ms).toFixed(2)} times the floor ` +
      `(${words.join("; ")})`,
    ...(e.printed.length
      ? [
          `no hand-written kernel serves ${e.printed.length} site${e.printed.length > 1 ? "s" : ""}, ` +
            `${(100 * share).toFixed(1)} % of the floor: ` +
            named.map((p) => `${p.site} (${p.op}, ${(100 * p.share).toFixed(1)} %)`).join(", ") +
            (named.length < e.printed.length ? `, and ${e.printed.length - named.length} more (--all)` : ""),
        ]
      : ["hand-written kernels serve every site"]),
  ];
}

/** Where ranks exchange something: what a rank sends, and about how long it takes. */
function onTheWire({ wire, floor_ms }: Step): string[] {
  if (!wire) return [];
  const rows = wire.sites.map((s) => [
    s.site,
    s.op,
    times(s.times),
    digits(s.bytes / 1e3),
    s.us === null ? "" : digits(s.us),
    s.us === null ? "" : digits(s.us * s.times),
  ]);
  const estimate =
    wire.ms === null ? "" : `, about ${wire.ms.toFixed(3)} ms, with the floor ${(wire.ms + floor_ms).toFixed(3)} ms`;
  return [
    "",
    ...table(["collective", "op", "times", "kB", "us, estimated", "in all us"], rows, [2, 3, 4, 5]),
    `${wire.collectives} collectives, of which a rank sends ${size(Math.round(wire.bytes))}${estimate}`,
  ];
}

function fit(m: Fit, mesh?: Mesh): string {
  if (m.fits) return "fits";
  const layers = m.layers_that_fit
    ? `the first ${m.layers_that_fit} of ${m.layers} layers fit (--layers ${m.layers_that_fit})`
    : "not one layer fits";
  const why = m.too_large
    ? `${m.too_large.weight} of one layer takes ${size(m.too_large.bytes)}, and a WebAssembly memory holds ${size(m.too_large.most)}`
    : mesh
      ? "more ranks take less each (--cards 8,16 shows layouts)"
      : "--mesh tp=8 divides it over ranks";
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
