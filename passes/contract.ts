// Contracts: how often a pass must fire. Every pass promises it for itself: sites that a function had before any pass, less
// those that
// passes before it made otherwise. A pattern that a change upstream hides is then told with the rule and the places it was
// missed at,
// instead of giving a slower model in silence.
import { DiagnosticError, type Diagnostic } from "../ir/diagnostic.ts";
import type { Func, Module, Node } from "../ir/graph.ts";
import { rmsNorm } from "../ir/index.ts";
import { everyNode } from "../ir/print.ts";
import { asTensor } from "../ir/types.ts";
import { contractBroken } from "./diagnostics.ts";
import type { Ledger } from "./ledger.ts";
import { readersOf } from "./rewrite.ts";

/** An op to be counted. */
interface Made {
  made(n: Node): boolean;
}

/** One function of the model as the frontend wrote it: where passes count their sites. */
export interface Body {
  func: string;
  /** Rows at the sizes its cost is judged at, and their dtype. */
  rows: number;
  act: string;
  /** The nodes of an op, those in regions included. */
  all(op: Made): Node[];
  /** The nodes that read the first result of a node. */
  readers(n: Node): readonly Node[];
  /** Whether the first result of a node is one of the function. */
  gives(n: Node): boolean;
}

/** What ran before a pass, for one function. */
export interface Ran {
  /** Whether a pass runs at all: a promise must not depend on one that was left out. */
  pass(...names: string[]): boolean;
  /** How often any of these rules fired in the function. */
  fired(...rules: string[]): number;
}

/** One of these rules fires, or is declined with its reason, at every site of a function. */
export interface FunctionPromise {
  rules: readonly string[];
  /** Sites that it has as the frontend wrote it. */
  before: (b: Body) => number;
  /** Of those, how many are left when the pass runs; all, unless said. */
  after?: (sites: number, ran: Ran, b: Body) => number;
}

/** The same of the module as a whole. */
export interface ModulePromise {
  rules: readonly string[];
  module: (bodies: readonly Body[], ran: (b: Body) => Ran) => number;
}

/** How often rules of a pass fire, in every function or in the module. */
export type PassPromise = FunctionPromise | ModulePromise;

/** What promises are held to. */
export interface Known {
  bodies: readonly Body[];
  /** Passes that run. */
  ran: ReadonlySet<string>;
  ledger: Ledger;
}

/** What the contract of a pass needs to know of it. */
interface Bound {
  readonly name: string;
  readonly plugin?: { readonly file: string };
  readonly hides?: readonly string[];
  readonly promises?: readonly PassPromise[];
}

/** The functions of a module as contracts count sites in them. */
export const bodiesOf = (m: Module): Body[] => [...m.funcs.values()].map(bodyOf);

function bodyOf(f: Func): Body {
  const nodes = everyNode(f);
  const readers = readersOf(f);
  const results = new Set(f.results.map((r) => r.value));
  const norm = nodes.find(rmsNorm.made);
  return {
    func: f.name,
    rows: f.assume.T ?? 1,
    act: norm ? asTensor(norm.operands[0].type).dtype : "f32",
    all: (op) => nodes.filter(op.made),
    readers: (n) => readers.get(n.results[0]) ?? [],
    gives: (n) => results.has(n.results[0]),
  };
}

/** What a promise asks for: how often its rules fire at which site. */
interface Expectation {
  rules: readonly string[];
  site: string;
  times: number;
}

function expectations(promises: readonly PassPromise[], { bodies, ran, ledger }: Known): Expectation[] {
  const ranIn = (b: Body): Ran => ({
    pass: (...names) => names.every((n) => ran.has(n)),
    fired: (...rules) => ledger.fired(rules, b.func),
  });
  return promises
    .flatMap((p): Expectation[] => {
      if ("module" in p) return [{ rules: p.rules, site: "module", times: p.module(bodies, ranIn) }];
      return bodies.map((b) => {
        const sites = p.before(b);
        return { rules: p.rules, site: b.func, times: p.after?.(sites, ranIn(b), b) ?? sites };
      });
    })
    .filter((e) => e.times > 0);
}

/**
 * Throws where a pass fired less often than it had to; says what stood there instead. With `lenient`, a model that no plug-in
 * has touched
 * compiles all the same, for it is right and only slower: what would have been thrown is given to `say`. What a plug-in before
 * it hides
 * on purpose always is.
 */
export function checkContract(
  p: Bound,
  known: Known,
  model: string,
  before: readonly Bound[],
  say: (d: Diagnostic) => void,
  lenient: boolean,
): void {
  const hiding = before.filter((b) => b.hides?.includes(p.name));
  const hidden: Diagnostic[] = [];
  for (const { rules, site, times } of expectations(p.promises ?? [], known)) {
    const found = known.ledger.met(rules, site);
    if (found >= times) continue;
    const seen = known.ledger.entries.filter(
      (e) => e.pass === p.name && e.site === site && rules.includes(e.rule) && e.outcome !== "fired" && e.reason,
    );
    const plugins = before.flatMap((b) => (b.plugin ? [`a plug-in ran before it: ${b.name} (${b.plugin.file})`] : []));
    const broken = contractBroken({
      pass: p.name,
      rules,
      site,
      model,
      want: times,
      got: found,
      seen: seen.map((e) => `${e.at ? `at %${e.at}: ` : ""}${e.reason}`),
      plugins,
    });
    if (hiding.length) {
      hidden.push(broken);
      continue;
    }
    if (!lenient || plugins.length) throw new DiagnosticError(broken);
    say({
      ...broken,
      severity: "warning",
      help: `the model is right, and slower than it could be; please report it with its config.json`,
    });
  }
  if (hidden.length)
    say({
      ...hidden[0],
      severity: "warning",
      notes: [
        `${hiding.map((b) => b.name).join(", ")} declares that it hides the pattern`,
        ...hidden[0].notes,
        ...(hidden.length > 1 ? [`the same in ${hidden.length - 1} places more`] : []),
      ],
    });
}
