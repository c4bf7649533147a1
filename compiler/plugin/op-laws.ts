// What an op's declaration says of itself, tried on its reference: results have the shapes that its signature gives, at odd
// sizes, one and none, and an op that treats rows alike gives the same of a row alone.
import type { Case } from "../../codegen/family.ts";
import type { Tensor } from "../../ir/interpret.ts";
import { keyOf, type Op } from "../../ir/op.ts";
import { parsePattern } from "../../ir/signature.ts";
import { trialOf, type Trial } from "./trial.ts";

const SIZES = [3, 1, 8, 130];
const RESTS = [[3], [1], [2, 5], [0]];

/** Letters of an op's signature. */
const lettersOf = (op: Op): string[] => [
  ...new Set(
    Object.values(op.signature.ins).flatMap((text) => {
      const p = parsePattern(text);
      return p.kind === "tensor" ? p.dims.flatMap((d) => (d.name === undefined ? [] : [d.name])) : [];
    }),
  ),
];

/** The first law that an op breaks, or at how many sizes it keeps them. */
export function opFails(op: Op): { trial: string; problem: string } | { trials: number } {
  let trials = 0;
  for (const size of SIZES)
    for (const rest of RESTS) {
      const sizes = Object.fromEntries(lettersOf(op).map((l, i) => [l, size === 1 ? 1 : size + i]));
      const c: Case = { sizes, rest, attrs: attrsOf(op) };
      const trial = trialOf(op, c, { seed: 1, filling: "plain", gap: 0 });
      if ("reason" in trial) continue;
      trials++;
      const problem = wrongShape(trial) ?? wrongRows(op, trial, rest);
      if (problem !== null) return { trial: trial.what, problem };
    }
  return { trials };
}

/** Attributes without a default need some value: a number that is none of the usual, or the first word. */
const attrsOf = (op: Op): NonNullable<Case["attrs"]> =>
  Object.fromEntries(
    Object.entries(op.attrs).flatMap(([k, kind]) =>
      kind.initial !== undefined
        ? []
        : [
            [
              k,
              kind.kind === "word"
                ? (kind.choices?.[0] ?? "a")
                : kind.kind === "bool"
                  ? true
                  : kind.kind === "list"
                    ? []
                    : kind.kind === "int"
                      ? 2
                      : 0.75,
            ],
          ],
    ),
  );

function wrongShape(trial: Trial): string | null {
  for (const { key, view, tensor } of trial.outs) {
    const want = view.shape.join(", ");
    if (tensor?.shape?.join(", ") !== want)
      return `its reference gives ${key} as [${tensor?.shape?.join(", ") ?? "nothing"}], its signature says [${want}]`;
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    if (tensor.data.length !== count) return `its reference gives ${tensor.data.length} values for ${key}, which has ${count}`;
  }
  return null;
}

/** Rows of the first operand one by one, where the op says that it treats them alike. */
function wrongRows(op: Op, trial: Trial, rest: readonly number[]): string | null {
  const { rowwise } = op.traits;
  if (rowwise === undefined || (typeof rowwise === "function" && !rowwise(trial.site.attrs)) || rest.length !== 1 || rest[0] < 2)
    return null;
  const packed = op.ins.map((k) => /\.\./.test(op.signature.ins[k]));
  const row = (t: Tensor, i: number): Tensor => {
    const each = t.data.length / rest[0];
    return { ...t, shape: [1, ...t.shape.slice(1)], data: t.data.slice(i * each, (i + 1) * each) };
  };
  for (let i = 0; i < rest[0]; i++) {
    const ins = trial.ins.map(({ tensor }, j) => (packed[j] && !tensor.scales ? row(tensor, i) : tensor));
    const alone = op.reference!(ins, trial.site.attrs, {
      mode: "real",
      batch: { starts: [0], lengths: [], ids: [] },
      positions: [],
      run: () => [],
    });
    for (const [j, { key, tensor }] of trial.outs.entries()) {
      const want = row(tensor, i).data;
      const at = want.findIndex((v, e) => !(Math.abs(v - alone[j].data[e]) <= 1e-12 * Math.max(1, Math.abs(v))));
      if (at >= 0) return `it says that it treats rows alike, and row ${i} of ${keyOf(key)} is another by itself`;
    }
  }
  return null;
}
