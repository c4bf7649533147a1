// The layouts that so many cards allow, a line for each, for a person.
import type { Machine } from "../../ir/machine.ts";
import type { Layouts } from "../analysis/layouts.ts";
import { size } from "./summary.ts";
import { table } from "./table.ts";

export function printLayouts({ architecture, batch, contexts, layouts }: Layouts, machine: Machine): string {
  const ms = (n: number | null): string => (n === null ? "" : n.toFixed(2));
  const rows = layouts.map((l) => [
    `${l.cards}`,
    l.words,
    size(l.weights),
    ms(l.floor_ms),
    ms(l.wire_ms),
    ...l.at.map((f) => (f.batch === 0 ? "no" : `${f.batch}`)),
    ...(l.at[0].batch === 0 ? ["", ""] : [ms(l.at[0].floor_ms), ms(l.at[0].wire_ms)]),
  ]);
  const head = [
    "cards",
    "mesh",
    "weights a rank",
    `floor ms at ${batch}`,
    "wire ms",
    ...contexts.map((c) => `batch at ${c}`),
    `floor ms of it at ${contexts[0]}`,
    "wire ms",
  ];
  return [
    `${architecture} on ${machine.name}: what a rank of each layout holds, and the largest batch that fits`,
    `  ${machine.source}`,
    ...(machine.links ? [`  ${machine.links.source}`] : []),
    "",
    ...table(
      head,
      rows,
      head.map((_, i) => i).filter((i) => i !== 1),
    ),
    "",
    "floor: what a rank's own work of a decode step takes at least, with the experts that it takes at weight 0 for those of other groups;",
    "wire: its collectives, an estimate; a prompt is as long as the context",
  ].join("\n");
}
