// The functions a chat template can call: those of Jinja, and the two that transformers adds.
import { take } from "./arguments.ts";
import { spend } from "./budget.ts";
import { Fault, failure, unsupported } from "./errors.ts";
import { wholeOf } from "./numbers.ts";
import { strftime } from "./strftime.ts";
import { str } from "./text.ts";
import { Callable, Namespace, Range, Thing, iterate, keyOf, type Args, type Dict, type Value } from "./values.ts";

/** What Jinja's sandbox allows. */
const MOST_OF_RANGE = 100_000;

function range(args: Args): Value {
  if (args.named.size) throw failure("range() takes no keyword arguments");
  if (args.list.length < 1 || args.list.length > 3) throw failure(`range expected 1 to 3 arguments, got ${args.list.length}`);
  const n = args.list.map((v) => BigInt(wholeOf(v, "range")));
  const [start, stop, step] = n.length === 1 ? [0n, n[0], 1n] : [n[0], n[1], n[2] ?? 1n];
  if (step === 0n) throw failure("range() arg 3 must not be zero");
  const r = new Range(start, stop, step);
  if (r.length > MOST_OF_RANGE)
    throw failure(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MOST_OF_RANGE}).`);
  return r;
}

function dict({ list, named }: Args): Dict {
  if (list.length > 1) throw failure(`dict expected at most 1 argument, got ${list.length}`);
  const out: Dict = new Map();
  const [from] = list;
  if (from instanceof Map) for (const [k, v] of from) out.set(k, v);
  else if (from !== undefined)
    for (const pair of iterate(from)) {
      const two = iterate(pair);
      if (two.length !== 2) throw failure("dictionary update sequence elements have two items");
      out.set(keyOf(two[0]), two[1]);
    }
  for (const [k, v] of named) out.set(k, v);
  spend(out.size);
  return out;
}

function namespace(args: Args): Value {
  const values = dict(args) as Map<string, Value>;
  const bad = [...values.keys()].find((k) => typeof k === "string" && k.startsWith("_"));
  if (bad !== undefined)
    throw failure(`Chat templates cannot store underscore-prefixed attributes on a namespace, but got '${bad}'`);
  return new Namespace(values);
}

function cycler({ list }: Args): Value {
  if (list.length === 0) throw failure("at least one item has to be provided");
  let at = 0;
  const next = new Callable("next", () => list[at++ % list.length]);
  const reset = new Callable("reset", () => ((at = 0), null));
  return new Thing("Cycler", (name) => ({ next, reset, current: list[at % list.length] })[name]);
}

function joiner(args: Args): Value {
  const [sep = ", "] = take("joiner", args, ["sep"]);
  let used = false;
  return new Thing(
    "Joiner",
    () => undefined,
    () => (used ? sep : ((used = true), "")),
  );
}

export const globals = (now: () => Date): Record<string, Value> => ({
  range: new Callable("range", range),
  dict: new Callable("dict", dict),
  namespace: new Callable("namespace", namespace),
  cycler: new Callable("cycler", cycler),
  joiner: new Callable("joiner", joiner),
  lipsum: new Callable("lipsum", () => {
    throw unsupported("lipsum()");
  }),
  raise_exception: new Callable("raise_exception", (args) => {
    throw new Fault("raised", str(take("raise_exception", args, ["message"], 1)[0]!));
  }),
  strftime_now: new Callable("strftime_now", (args) => strftime(now(), str(take("strftime_now", args, ["format"], 1)[0]!))),
});
