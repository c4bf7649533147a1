// What each pass did, for a person: a line per rule, a column per entry point (prefill, extend, decode, draft), the number of
// places it fired at in each, and below a pass why it declined or refused where it did. The artifact's ledger.json has every site.
import { printSaid, type Entry, type Outcome, type Verdict } from "../../passes/index.ts";

/** With more entry points than this (a hand-written module), one column counts them all. */
const MOST_COLUMNS = 6;

interface Row {
  rule: string;
  fired: Map<string, number>;
  changes?: string;
}

const columnOf = (e: Entry): string => {
  // What a pass did to the module may be of one function.
  const func = /^(prefill|extend|decode|draft)\b/.exec(e.at ?? "");
  return e.site === "module" ? (func?.[1] ?? "load") : e.site.split("/")[0];
};

/** The transcript of a pipeline, with what is known of its plug-ins; ends without a newline. */
export function transcript(
  { ledger: { entries: every, said }, snapshots }: Outcome,
  proofs: readonly { pass: string; says: string }[] = [],
  held: readonly { file: string; what: string; says: string }[] = [],
): string {
  // What was tried and is not the pattern is for `dsc why`.
  const told = every.filter((e) => e.outcome !== "unmatched" && e.outcome !== "none");
  const passes = snapshots.slice(1).map((s) => s.pass);
  if (passes.length === 0) return "no passes";
  const heads = [...new Set(told.map(columnOf))].toSorted((a, b) => Number(a === "load") - Number(b === "load"));
  const columns = heads.length > MOST_COLUMNS ? ["places"] : heads;
  const column = (e: Entry): string => (columns[0] === "places" ? "places" : columnOf(e));
  const rules = told.map((e) => e.rule.length);
  const width = Math.max(30, ...rules) + 4;
  const lines = ["pass, rule".padEnd(width) + columns.map((c) => c.padStart(9)).join("")];
  for (const pass of passes) {
    const entries = told.filter((e) => e.pass === pass);
    lines.push(entries.length ? pass : `${pass.padEnd(width - 2)}  nothing to do`);
    for (const row of rowsOf(entries, column)) {
      const counts = columns.map((c) => String(row.fired.get(c) ?? "-").padStart(9));
      lines.push(`  ${row.rule}`.padEnd(width) + counts.join(""));
      if (row.changes) lines.push(`    changes the function: ${row.changes}`);
    }
    lines.push(...reasons(entries), ...proofs.filter((p) => p.pass === pass).map((p) => `    ${p.says}`));
  }
  if (held.length) lines.push("what plug-ins brought", ...held.map((h) => `  ${h.what}: ${h.says}`));
  for (const name of new Set(said.map((x) => x.pass)))
    lines.push(
      `report ${name}`,
      ...said
        .filter((x) => x.pass === name)
        .flatMap((x) => indented(`${x.title === undefined ? "" : `${x.title}\n`}${printSaid(x.said)}`)),
    );
  return lines.join("\n");
}

const MOST_LINES = 30;
/** A report, its lines indented; what is longer is in the artifact. */
function indented(text: string): string[] {
  const all = text.split("\n").map((l) => `  ${l}`.trimEnd());
  return all.length > MOST_LINES
    ? [...all.slice(0, MOST_LINES), `  ... ${all.length - MOST_LINES} lines more, in reports/`]
    : all;
}

function rowsOf(entries: readonly Entry[], column: (e: Entry) => string): Row[] {
  const rows = new Map<string, Row>();
  for (const e of entries) {
    const row = rows.get(e.rule) ?? { rule: e.rule, fired: new Map<string, number>() };
    rows.set(e.rule, row);
    if (e.outcome !== "fired") continue;
    row.fired.set(column(e), (row.fired.get(column(e)) ?? 0) + e.count);
    row.changes ??= e.changes;
  }
  return [...rows.values()];
}

/** One line per verdict and reason; rules that share them share the line. */
function reasons(entries: readonly Entry[]): string[] {
  const groups = new Map<string, { outcome: Verdict; reason: string; sites: Set<string>; rules: Set<string> }>();
  const rules = new Set(entries.map((e) => e.rule));
  for (const { outcome, reason = "", site, rule } of entries.filter((x) => x.outcome !== "fired")) {
    const key = `${outcome} ${reason}`;
    const group = groups.get(key) ?? { outcome, reason, sites: new Set<string>(), rules: new Set<string>() };
    groups.set(key, group);
    group.sites.add(site);
    group.rules.add(rule);
  }
  return [...groups.values()].map((g) => {
    const which = rules.size > 1 ? `${[...g.rules].join("; ")}\n      ` : "";
    return `    ${g.outcome}: ${which}in ${folded(g.sites)}: ${g.reason}`;
  });
}

/** "prefill/{dense_layer, moe_layer}, decode/moe_layer, decode": a function and those of its layers are named apart. */
function folded(sites: ReadonlySet<string>): string {
  const by = new Map<string, string[]>();
  for (const s of sites) {
    const [head, ...rest] = s.split("/");
    const key = rest.length ? `${head}/` : head;
    by.set(key, [...(by.get(key) ?? []), rest.join("/")]);
  }
  return [...by].map(([key, rest]) => (rest.length > 1 ? `${key}{${rest.join(", ")}}` : `${key}${rest[0]}`)).join(", ");
}
