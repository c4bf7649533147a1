// A function at a batch for a person: launches in order, then its buffers as bars over them.
import type { FunctionAt } from "../analysis/function-at.ts";
import { flops, size } from "./summary.ts";
import { digits, table, times } from "./table.ts";

export function printFunctionAt(f: FunctionAt): string {
  const { T, B, s } = f.at;
  const head = `${f.function} for ${f.target}: ${T} row${T > 1 ? "s" : ""} of ${B} sequence${B > 1 ? "s" : ""}, ${s} cached`;
  const rows = f.launches.map((l, i) => [
    String(l.index),
    l.site.slice(f.function.length + 1),
    l.kernel,
    l.op,
    times(l.times),
    l.cost ? digits(l.cost.bytes / 1e6) : "",
    l.cost ? digits(l.cost.flops / 1e9) : "",
    l.cost ? digits(l.cost.floor_us) : "",
    l.cost ? (100 * l.cost.share).toFixed(1) : "",
    size(f.live[i]),
  ]);
  const { launches, bytes, flops: work, floor_us } = f.totals;
  return [
    `${head}; floors on ${f.device}`,
    ...table(["#", "value", "kernel", "op", "times", "MB", "GFLOP", "floor us", "%", "live"], rows, [0, 4, 5, 6, 7, 8, 9]),
    ...(f.launches.length ? [`in all: ${digits(floor_us)} us, ${size(bytes)}, ${flops(work)}, ${times(launches)} launches`] : []),
    ...calls(f),
    ...bars(f),
    "",
  ].join("\n");
}

/** Functions that it calls, equal ones together. */
function calls({ calls }: FunctionAt): string[] {
  const by = new Map<string, number[]>();
  for (const c of calls) by.set(c.function, [...(by.get(c.function) ?? []), c.layer]);
  return [...by].map(([name, layers]) => {
    const which = layers.length > 1 ? `layers ${layers[0]} to ${layers.at(-1)!}` : `layer ${layers[0]}`;
    return `calls ${name}, ${layers.length} time${layers.length > 1 ? "s" : ""} (${which}): dsc inspect OUT ${name} --batch N`;
  });
}

/** One line a buffer: a mark at every launch at which it holds its value. */
function bars({ buffers, launches, arena_bytes }: FunctionAt): string[] {
  if (!buffers.length) return [];
  const rows = buffers.map((b) => [
    b.name,
    String(b.slot),
    size(b.bytes),
    launches.map((l) => (b.from <= l.index && l.index <= b.to ? "#" : ".")).join(""),
  ]);
  return ["", ...table(["buffer", "slot", "bytes", "launches at which it is live"], rows, [1, 2]), `arena: ${size(arena_bytes)}`];
}
