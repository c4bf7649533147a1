// Where a node came from: config keys, and the rules and passes it went through. Origins are sets in a side table of
// the graph, outside a node's identity, and are joined when nodes merge, so that merging never loses where one came from.

export type Origin =
  | { kind: "config"; keys: readonly string[]; what: string }
  | { kind: "rule"; pass: string; rule: string }
  | { kind: "plugin"; file: string };

// Joining happens at every node of every rewrite: the text of an origin is made once.
const texts = new WeakMap<Origin, string>();

function keyOf(o: Origin): string {
  let text = texts.get(o);
  if (text === undefined) texts.set(o, (text = JSON.stringify(o)));
  return text;
}

/** Union of origin lists in first-seen order. Lists are shared, never changed: a union that adds nothing is the first list. */
export function joinOrigins(...lists: (readonly Origin[] | undefined)[]): readonly Origin[] {
  const some = [...new Set(lists)].filter((l) => l !== undefined && l.length > 0) as (readonly Origin[])[];
  if (some.length < 2) return some[0] ?? [];
  const seen = new Map<string, Origin>();
  for (const list of some) for (const o of list) if (!seen.has(keyOf(o))) seen.set(keyOf(o), o);
  return seen.size === some[0].length ? some[0] : [...seen.values()];
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
