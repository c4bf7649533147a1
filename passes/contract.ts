// Contracts: how often a pass must fire, from what the model was before any pass. A pattern that a change upstream hides
// then is told with the rule and the places it was missed at, instead of giving a slower model in silence.
import { add, dequantize, gated as gatedOp, isWeight, linear, mapExperts, mapSequences, quantize, rmsNorm } from "../ir/index.ts";
import { DiagnosticError, type Diagnostic } from "../ir/diagnostic.ts";
import { bodyOf, type Func, type Module, type Node } from "../ir/graph.ts";
import { everyNode } from "../ir/print.ts";
import { asTensor } from "../ir/types.ts";
import { contractBroken } from "./diagnostics.ts";
import type { Ledger } from "./ledger.ts";
import { readersOf } from "./rewrite.ts";

/** What one function of the model holds as the frontend wrote it. */
export interface Body {
  func: string;
  /** Rows at the sizes its cost is judged at, and their dtype. */
  rows: number;
  act: string;
  /** Attention regions, and appends to the cache. */
  attention: number;
  /** Regions of experts, and whether a shared expert stands beside them. */
  experts: number;
  shared: number;
  /** Gated products outside regions of experts: dense layers and shared experts. */
  gated: number;
  /** Linears over block-scaled weights, regions included; whether their inputs are quantised. */
  scaled: number;
  quantised: boolean;
  /** Norms of a residual sum; norms read quantised only, of a sum and of anything else. */
  sums: number;
  quantisedSums: number;
  quantisedNorms: number;
  /** Sums of a row and a product of a stored bf16 matrix (not those of experts), and norms that only such products read. */
  residuals: number;
  productNorms: number;
  /** Norms whose codes one product of block-scaled weights reads, and nothing else. */
  soleNorms: number;
}

/** What a contract may ask. */
export interface Known {
  bodies: readonly Body[];
  /** Passes that run: a contract must not depend on one that was left out. */
  ran: ReadonlySet<string>;
  ledger: Ledger;
}

/** One of these rules must fire, or be declined with its reason, `times` times in function `site`. */
export interface Expectation {
  rules: readonly string[];
  site: string;
  times: number;
}

/** What the contract of a pass needs to know of it. */
interface Bound {
  readonly name: string;
  readonly plugin?: { readonly file: string };
  readonly hides?: readonly string[];
  readonly expect?: (known: Known) => readonly Expectation[];
}

/** An expectation for every body, leaving out those that need nothing. */
export const inEach = (bodies: readonly Body[], rules: readonly string[], times: (b: Body) => number): Expectation[] =>
  bodies.map((b) => ({ rules, site: b.func, times: times(b) })).filter((e) => e.times > 0);

/** An op to be counted. */
interface Made {
  made(n: Node): boolean;
}

export const bodiesOf = (m: Module): Body[] => [...m.funcs.values()].map(bodyFacts);

function bodyFacts(f: Func): Body {
  const nodes = everyNode(f);
  const readers = readersOf(f);
  const of = (op: Made): Node[] => nodes.filter(op.made);
  const inside = new Set(of(mapExperts).flatMap((n) => bodyOf(n.region!)));
  const norms = of(rmsNorm);
  const codesOnly = (n: Node): boolean =>
    (readers.get(n.results[0]) ?? []).every(quantize.made) && !f.results.some((r) => r.value === n.results[0]);
  const ofSum = (n: Node): boolean => add.made(n.operands[0].node);
  const gated = of(gatedOp).filter((n) => !inside.has(n));
  const experts = of(mapExperts);
  const isProduct = (n: Node): boolean =>
    linear.made(n) && isWeight(n.operands[1]) && asTensor(n.operands[1].type).dtype === "bf16";
  const onlyProducts = (n: Node): boolean =>
    !f.results.some((r) => r.value === n.results[0]) && (readers.get(n.results[0]) ?? []).every(isProduct);
  /** Whether one reader follows another, of these ops, and each is the only one. */
  const soleReader = (n: Node, ops: readonly Made[]): boolean => {
    const found = readers.get(n.results[0]) ?? [];
    return ops.length === 0 || (found.length === 1 && ops[0].made(found[0]) && soleReader(found[0], ops.slice(1)));
  };
  return {
    func: f.name,
    rows: f.assume.T ?? 1,
    act: norms.length ? asTensor(norms[0].operands[0].type).dtype : "f32",
    attention: of(mapSequences).length,
    experts: experts.length,
    shared: experts.filter((n) => (readers.get(n.results[0]) ?? []).some(add.made) && gated.length > 0).length,
    gated: gated.length,
    scaled: of(linear).filter((n) => dequantize.made(n.operands[1].node)).length,
    quantised: of(quantize).length > 0,
    sums: norms.filter(ofSum).length,
    quantisedSums: norms.filter((n) => ofSum(n) && codesOnly(n)).length,
    quantisedNorms: norms.filter((n) => !ofSum(n) && codesOnly(n)).length,
    residuals: of(add).filter((n) => isProduct(n.operands[1].node) && !mapExperts.made(n.operands[0].node)).length,
    productNorms: norms.filter(onlyProducts).length,
    soleNorms: norms.filter((n) => !ofSum(n) && soleReader(n, [quantize, dequantize, linear])).length,
  };
}

/**
 * Throws where a pass fired less often than it had to; says what stood there instead. With `lenient`, a model that no plug-in has touched
 * compiles all the same, for it is right and only slower: what would have been thrown is given to `say`. What a plug-in before it hides
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
  for (const { rules, site, times } of p.expect?.(known) ?? []) {
    const found = known.ledger.met(rules, site);
    if (found >= times) continue;
    const seen = known.ledger.entries.filter(
      (e) => e.pass === p.name && e.site === site && rules.includes(e.rule) && e.outcome !== "fired" && e.reason,
    );
    const plugins = before.flatMap((b) => (b.plugin ? [`a plug-in ran before it: ${b.name} (${b.plugin.file})`] : []));
    const broken = contractBroken(
      p.name,
      rules,
      site,
      model,
      times,
      found,
      seen.map((e) => `${e.at ? `at %${e.at}: ` : ""}${e.reason}`),
      plugins,
    );
    if (hiding.length) {
      say({
        ...broken,
        severity: "warning",
        notes: [`${hiding.map((b) => b.name).join(", ")} declares that it hides the pattern`, ...broken.notes],
      });
      continue;
    }
    if (!lenient || plugins.length) throw new DiagnosticError(broken);
    say({
      ...broken,
      severity: "warning",
      help: `the model is right, and slower than it could be; please report it with its config.json`,
    });
  }
}
