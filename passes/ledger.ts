// The ledger: a line for every rule at every candidate site, fired or refused, with the reason in words and the change
// in launches, bytes and FLOPs under the assumed sizes. `dsc compile` prints its summary, the artifact keeps it whole.
import type { Cost } from "../ir/cost.ts";

export interface Entry {
  pass: string;
  rule: string;
  /** "decode/moe_layer": the function the site is in. */
  site: string;
  outcome: "fired" | "refused";
  /** How many values of the function it replaced, or would have. */
  count: number;
  reason?: string;
  /** Set where the function computed changes, not only its rounding. */
  changes?: string;
  delta?: Cost;
}

export class Ledger {
  readonly entries: Entry[] = [];

  add(e: Entry): void {
    this.entries.push(e);
  }

  /** One line per pass and rule, sites folded. */
  summary(): string {
    const rows = new Map<string, { fired: string[]; refused: Map<string, string[]>; changes?: string }>();
    for (const e of this.entries) {
      const row = rows.get(`${e.pass}: ${e.rule}`) ?? { fired: [] as string[], refused: new Map<string, string[]>(), changes: e.changes };
      rows.set(`${e.pass}: ${e.rule}`, row);
      if (e.outcome === "fired") {
        row.fired.push(e.count > 1 ? `${e.site} x${e.count}` : e.site);
        row.changes ??= e.changes;
      } else row.refused.set(e.reason ?? "", [...(row.refused.get(e.reason ?? "") ?? []), e.site]);
    }
    const lines: string[] = [];
    for (const [name, row] of rows) {
      lines.push(name);
      if (row.fired.length) lines.push(`  fired    ${row.fired.join(", ")}`);
      for (const [reason, sites] of row.refused) lines.push(`  refused  ${sites.join(", ")}: ${reason}`);
      if (row.fired.length && row.changes) lines.push(`  changes  ${row.changes}`);
    }
    return lines.join("\n");
  }
}
