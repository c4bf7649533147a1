// Where a node came from: config keys, and the rules and passes it went through. Origins are sets in a side table of
// the graph, outside a node's identity, and are joined when nodes merge, so that merging never loses where one came from.

/** Where a node came from: config keys, checkpoint tensors, rules. */
export type Origin =
  | { kind: "config"; keys: readonly string[]; what: string }
  | { kind: "rule"; pass: string; rule: string }
  | { kind: "plugin"; file: string };

// Joining happens at every node of every rewrite, so origins are compared by identity: one object stands for each text, and
// lists that hold only such objects are known.
const byText = new Map<string, Origin>();
const known = new WeakSet<readonly Origin[]>();

function shared(list: readonly Origin[]): readonly Origin[] {
  if (known.has(list)) return list;
  const out = new Set<Origin>();
  for (const o of list) {
    const text = JSON.stringify(o);
    const same = byText.get(text) ?? o;
    byText.set(text, same);
    out.add(same);
  }
  return remember([...out]);
}

function remember(list: readonly Origin[]): readonly Origin[] {
  known.add(list);
  return list;
}

/** Union of origin lists in first-seen order. Lists are shared, never changed: a union that adds nothing is the first list. */
export function joinOrigins(...lists: (readonly Origin[] | undefined)[]): readonly Origin[] {
  let first: readonly Origin[] | undefined;
  let all: Set<Origin> | undefined;
  for (const list of lists) {
    if (list === undefined || list.length === 0 || list === first) continue;
    const next = shared(list);
    if (!first) first = next;
    else if (next !== first) {
      all ??= new Set(first);
      for (const o of next) all.add(o);
    }
  }
  if (!first) return [];
  return !all || all.size === first.length ? first : remember([...all]);
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
