// Rotary positions: plain and YaRN, from either spelling of the settings (rope_theta + rope_scaling, or rope_parameters; type or
// rope_type), to frequencies and factors (SEMANTICS 4). Two spellings that disagree are refused: one of them would be lost.
import { inconsistent, missingType } from "./diagnostics.ts";
import type { Known } from "./families.ts";
import { unknownMembers } from "./keys.ts";
import { show, type Reader } from "./reader.ts";
import type { RopeSpec } from "./spec.ts";

export interface YarnSettings {
  factor: number;
  original: number;
  betaFast: number;
  betaSlow: number;
  mscale: number | null;
  mscaleAllDim: number | null;
  attentionFactor: number | null;
}

/** Reads the settings for `d` rotated lanes. */
export function readRope(c: Reader, known: Known, d: number): RopeSpec {
  const interleaved = known.family === "v2" ? true : c.flag("rope_interleave", true);
  const at = c.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const seen = c.members(at) ?? [];
  for (const w of unknownMembers(c, at, seen)) c.say(w);
  if (at === "rope_parameters" && c.has("rope_scaling")) agree(c, "rope_scaling.factor", "rope_parameters.factor");
  agree(c, `${at}.type`, `${at}.rope_type`);
  agree(c, "rope_theta", `${at}.rope_theta`);
  const theta = c.real(c.has(`${at}.rope_theta`) ? `${at}.rope_theta` : "rope_theta", known.published.rope_theta);
  if (!(theta > 1))
    c.refuse(
      c.has(`${at}.rope_theta`) ? `${at}.rope_theta` : "rope_theta",
      "the base of rotary frequencies is larger than one",
      "10000",
    );
  const typeKey = c.has(`${at}.rope_type`) ? `${at}.rope_type` : `${at}.type`;
  const type = c.word(typeKey) ?? "default";
  if (!c.has(typeKey) && c.has(`${at}.factor`)) c.say(missingType(at, c.span(at)));
  else if (type !== "default" && type !== "yarn")
    c.refuse(typeKey, "positions are plain or YaRN in this family", '"yarn" or "default"');
  for (const key of ["partial_rotary_factor", `${at}.partial_rotary_factor`])
    if (c.has(key) && c.real(key) !== 1) c.refuse(key, "exactly the qk_rope_head_dim lanes are rotated", "1.0");
  const yarn = type === "yarn" ? readYarn(c, at) : null;
  const width = Math.max(2, d - (d % 2));
  return ropeSpec(width, theta > 1 ? theta : 10000, yarn, interleaved);
}

function readYarn(c: Reader, at: string): YarnSettings {
  const atLeast = (key: string, least: number, initial?: number): number => {
    const v = c.real(`${at}.${key}`, initial);
    if (v < least) c.refuse(`${at}.${key}`, `YaRN's ${key} is ${least} or more`, String(least));
    return Math.max(least, v);
  };
  const optional = (key: string): number | null => (c.has(`${at}.${key}`) ? atLeast(key, 0) : null);
  const given = (key: string, initial: number): number => (c.raw(`${at}.${key}`) === 0 ? initial : atLeast(key, 1e-6, initial));
  if (!c.flag(`${at}.truncate`, true)) c.refuse(`${at}.truncate`, "the ramp's ends are rounded to whole lanes", "true");
  const yarn = {
    factor: atLeast("factor", 1),
    original: c.int(`${at}.original_max_position_embeddings`),
    betaFast: given("beta_fast", 32),
    betaSlow: given("beta_slow", 1),
    mscale: optional("mscale"),
    mscaleAllDim: optional("mscale_all_dim"),
    attentionFactor: c.has(`${at}.attention_factor`) ? atLeast("attention_factor", 1e-6) : null,
  };
  if (yarn.betaFast < yarn.betaSlow) {
    const rule = "beta_fast counts the rotations of the fastest scaled lane, beta_slow of the slowest";
    c.say(
      inconsistent(
        "beta_fast is smaller than beta_slow",
        rule,
        "swap them: 32 and 1 are the published values",
        c.span(`${at}.beta_fast`),
      ),
    );
  }
  return yarn;
}

/** Two keys for one thing must not say different things. */
function agree(c: Reader, a: string, b: string): void {
  if (!c.has(a) || !c.has(b) || c.raw(a) === c.raw(b)) return;
  const rule = `"${a}" is ${show(c.raw(a))}, "${b}" is ${show(c.raw(b))}: two spellings of one setting`;
  c.say(inconsistent(`"${a}" and "${b}" disagree`, rule, "remove one of the two", c.span(b)));
}

/** m(f, a) = 1 for f <= 1, else 0.1 a ln f + 1. */
const magnitude = (f: number, a: number): number => (f <= 1 ? 1 : 0.1 * a * Math.log(f) + 1);

/** Frequencies for d lanes. YaRN as transformers computes it: the clamp is d - 1, applied at all positions. */
export function ropeSpec(d: number, theta: number, yarn: YarnSettings | null, interleaved: boolean): RopeSpec {
  const f = Math.fround;
  const base = Array.from({ length: d / 2 }, (_, j) => f(Math.pow(theta, f((2 * j) / d))));
  if (!yarn) return { theta, invFreq: base.map((p) => f(1 / p)), cosSinFactor: 1, softmaxFactor: 1, interleaved };
  const corr = (rotations: number): number => (d * Math.log(yarn.original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(corr(yarn.betaFast)), 0);
  let high = Math.min(Math.ceil(corr(yarn.betaSlow)), d - 1);
  if (low === high) high += 0.001;
  const invFreq = base.map((p, j) => {
    const ramp = f(Math.min(1, Math.max(0, f((j - low) / (high - low)))));
    const keep = f(1 - ramp);
    return f(f(f(1 / f(yarn.factor * p)) * f(1 - keep)) + f(f(1 / p) * keep));
  });
  const { factor, mscale, mscaleAllDim } = yarn;
  const cosSinFactor =
    yarn.attentionFactor ??
    (mscale && mscaleAllDim ? magnitude(factor, mscale) / magnitude(factor, mscaleAllDim) : magnitude(factor, 1));
  return { theta, invFreq, cosSinFactor, softmaxFactor: mscaleAllDim ? magnitude(factor, mscaleAllDim) ** 2 : 1, interleaved };
}
