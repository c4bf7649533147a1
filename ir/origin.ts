// Where a node came from: config keys, and the rules and passes it went through. Origins are sets in a side table of
// the graph, outside a node's identity, and are joined when nodes merge, so that merging never loses where one came from.

export type Origin =
  | { kind: "config"; keys: readonly string[]; what: string }
  | { kind: "rule"; pass: string; rule: string }
  | { kind: "plugin"; file: string };

const keyOf = (o: Origin): string => JSON.stringify(o);

/** Union of origin lists in first-seen order. */
export function joinOrigins(...lists: (readonly Origin[] | undefined)[]): Origin[] {
  const seen = new Map<string, Origin>();
  for (const list of lists) for (const o of list ?? []) if (!seen.has(keyOf(o))) seen.set(keyOf(o), o);
  return [...seen.values()];
}

/** One line for headers and the ledger: "config: q_lora_rank, hidden_size; absorb-mla: absorb W_uk into the query". */
export function printOrigins(list: readonly Origin[]): string {
  const keys = new Set<string>();
  const rules: string[] = [];
  for (const o of list) {
    if (o.kind === "config") for (const k of o.keys) keys.add(k);
    else if (o.kind === "rule") rules.push(`${o.pass}: ${o.rule}`);
    else rules.push(`plug-in ${o.file}`);
  }
  return [...(keys.size ? [`config: ${[...keys].join(", ")}`] : []), ...rules].join("; ");
}
