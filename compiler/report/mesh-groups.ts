// The groups of a divided model as they were proved, for a person.
import { seen, type Found, type GroupProof } from "../analysis/mesh-groups.ts";
import { table } from "./table.ts";

/** A line per group: what is divided, and how faults that are made on purpose are found. */
export function groupTable(groups: readonly GroupProof[], mesh: string): string {
  const found = (g: GroupProof, fault: Found["fault"]): string => {
    const f = g.faults.find((x) => x.fault === fault);
    if (!f) return "";
    const logits =
      f.difference === null ? "shapes" : Number.isFinite(f.difference) ? f.difference.toExponential(1) : "ranks differ";
    return `${f.types ? "types, " : ""}${seen(f) ? logits : "NOT FOUND"}`;
  };
  const rows = groups.map((g) => [
    g.group,
    g.group === "router" ? "on every rank" : g.divided.length ? g.divided.join(", ") : `whole: ${g.why}`,
    `${g.collectives}`,
    `${g.holds ? "" : "BROKEN "}${g.difference === 0 ? "0" : g.difference.toExponential(1)}`,
    ...(["dropped", "elsewhere", "twice"] as const).map(
      (f) => found(g, f) || (f === "dropped" ? found(g, "another router") : ""),
    ),
  ]);
  return [
    `${mesh}, a group at a time: difference of the logits to one rank's, and how a collective that is dropped, done one op later ` +
      "or twice is found (of the router: another one on rank 1)",
    "",
    ...table(["group", "divided", "collectives", "difference", "dropped", "elsewhere", "twice"], rows, [2, 3, 4, 5, 6]),
  ].join("\n");
}
