// Whether a random model's answers are right: how far its logits lie from the float64 reference at its own routes, beside what rounding
// every value to the same dtype does to that reference, and whether each route it took could come of such rounding.
import type { CompileOptions } from "../../compiler/compile.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import type { Model } from "../../runtime/model.ts";
import type { Result, Session } from "../../runtime/session.ts";
import type { Raw } from "../interpreted.ts";
import { Random } from "../fuzz/random.ts";
import type { Row } from "./device.ts";
import { withTurnedCodes } from "./family-turned.ts";
import { play, referenceModule, type CallAnswer, type CallRows } from "./family-reference.ts";

/** What a model is asked: two prompts, more rows on one of them, steps, and the extra layer over the prompts' rows. */
function callsOf(spec: ModelSpec, seed: number): { prompts: number[][]; more: number[]; steps: number[][] } {
  const r = new Random(seed + 3e6);
  const ids = (n: number): number[] => Array.from({ length: n }, () => r.below(spec.vocab));
  return {
    prompts: [ids(1 + r.below(9)), ids(1 + r.below(4))],
    more: ids(2 + r.below(2)),
    steps: Array.from({ length: 3 }, () => ids(2)),
  };
}

/** Asks a model; gives the calls as the reference plays them, and the answers. */
export async function ask(model: Model, spec: ModelSpec, seed: number): Promise<{ calls: CallRows[]; answers: CallAnswer[] }> {
  const { prompts, more, steps } = callsOf(spec, seed);
  const [calls, answers]: [CallRows[], CallAnswer[]] = [[], []];
  const note = (r: Result, call: CallRows): void => {
    const routes = new Map(
      Object.entries(r.taps).flatMap(([name, t]) =>
        /^route\.\d+\.indices$/.test(name) ? [[Number(name.split(".")[1]), t.data.slice()] as const] : [],
      ),
    );
    calls.push(call);
    answers.push({ logits: r.taps.logits.data.slice(), routes });
  };
  const session: Session = model.session({ maxTokens: 64, sequences: 2 });
  const lengths = [0, 0];
  const rows = (entry: CallRows["entry"], tokens: readonly number[][]): CallRows => {
    const sequences = tokens.flatMap((t, b) => (t.length ? [b] : []));
    for (const b of sequences) lengths[b] += tokens[b].length;
    let at = 0;
    return {
      entry,
      starts: [0, ...sequences.map((b) => (at += tokens[b].length))],
      lengths: sequences.map((b) => lengths[b]),
      sequences,
      ids: tokens.flat(),
    };
  };
  const first = await session.prefill(prompts);
  note(first, rows("prefill", prompts));
  const hidden = (first.taps.final.data as Float32Array).slice();
  note(await session.extend([more, []]), rows("extend", [more, []]));
  for (const s of steps) note(await session.decode(s), rows("decode", [[s[0]], [s[1]]]));
  if (session.drafts) {
    const next = prompts.map((p, b) => [...p.slice(1), (p[0] + b) % spec.vocab]);
    const result = await session.draft(next, hidden);
    note(result, {
      entry: "draft",
      starts: [0, next[0].length, next[0].length + next[1].length],
      lengths: next.map((n) => n.length),
      sequences: [0, 1],
      ids: next.flat(),
      hidden,
    });
  }
  session.close();
  return { calls, answers };
}

interface Apart {
  most: number;
  rms: number;
}

/** Of all logits of all calls; a number that is none counts as infinitely far. */
function apart(got: readonly ArrayLike<number>[], want: readonly ArrayLike<number>[]): Apart {
  let [most, squares, n] = [0, 0, 0];
  for (const [i, w] of want.entries())
    for (let j = 0; j < w.length; j++) {
      const d = Number.isFinite(got[i][j]) ? Math.abs(got[i][j] - w[j]) : Infinity;
      most = Math.max(most, d);
      squares += d * d;
      n++;
    }
  return { most, rms: got.every((g, i) => g.length === want[i].length) ? Math.sqrt(squares / n) : Infinity };
}

/** The farthest a logit may lie without a word: f32 sums in any order; rows of bf16 where weights are not quantised. */
const F32_LIMIT = 2e-4;
const BF16_LIMIT = 0.1;
/** How much farther than the rounded reference an answer may lie, root mean square: both are draws of one chance, and 0.7 to 1.5 is seen. */
const TIMES = 3;

/** The row of a model's answers: its distances, and whether they are within the limit, explained, or neither. */
export function judge(
  spec: ModelSpec,
  options: CompileOptions,
  raw: Raw,
  { calls, answers }: { calls: readonly CallRows[]; answers: readonly CallAnswer[] },
): Row {
  const module = referenceModule(spec, options);
  const real = play(module, spec, raw, calls, answers, "real");
  const logits = answers.map((a) => a.logits);
  const d = apart(logits, real.logits);
  const bf16 = options.activations === "bf16";
  // Quantised rows turn a code where a value lies at the edge between two, whatever the dtype of the sums.
  const codes = spec.fp8 !== null && options.actQuant === "dynamic";
  const typed = bf16 || codes || real.flips.length ? play(module, spec, raw, calls, answers, "typed") : undefined;
  const format = typed ? apart(typed.logits, real.logits) : { most: 0, rms: 0 };
  const within = d.most < (bf16 ? BF16_LIMIT : F32_LIMIT);
  const rounding = bf16 && d.rms <= TIMES * format.rms + 1e-4;
  // In f32 an answer, or a route, that is farther off is right only where codes at their edges explain it.
  const far = (flips: readonly { needed: number }[]): boolean => flips.some((f) => f.needed > 1e-5);
  const turned =
    !bf16 && codes && (!within || far(real.flips)) ? withTurnedCodes(module, spec, raw, calls, answers, F32_LIMIT) : undefined;
  const flips = turned?.played.flips ?? real.flips;
  const routes = flips.map((f) => ({
    ...f,
    moved: moved(typed!.scores.get(`${f.call}.${f.layer}`)!, real.scores.get(`${f.call}.${f.layer}`)!),
  }));
  const unexplained = routes.filter((f) => !(f.needed <= (bf16 ? Math.max(TIMES * f.moved, codes ? 0.02 : 1e-5) : 1e-5)));
  const near = bf16 ? rounding : within || turned !== undefined;
  return {
    apart: d.most,
    rms: d.rms,
    format: format.most,
    ratio: format.rms ? d.rms / format.rms : 0,
    ...(turned ? { turned: turned.turns.length } : {}),
    flips: real.flips.length,
    needs: Math.max(0, ...routes.map((f) => f.needed)),
    moves: Math.max(0, ...routes.map((f) => f.moved)),
    verdict: unexplained.length
      ? "a route that rounding does not explain"
      : !near
        ? "too far"
        : within
          ? "within"
          : bf16
            ? "rounding"
            : "turned codes",
    ok: near && unexplained.length === 0,
  };
}

const moved = (a: Float64Array, b: Float64Array): number => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);

/** The ways a model is compiled and run. */
export interface Way {
  target: "cuda" | "triton";
  passes: "all" | "none";
  activations: "f32" | "bf16";
}

export const optionsOf = (way: Way, seed: number): CompileOptions => ({
  ...way,
  actQuant: seed % 2 ? "dynamic" : "none",
  attention: "auto",
  taps: true,
  set: [],
});
