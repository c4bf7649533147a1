// Rotary frequencies: plain and YaRN, from either spelling of the settings (rope_scaling + rope_theta, rope_parameters).
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
  const cosSinFactor = yarn.attentionFactor ?? (mscale && mscaleAllDim ? magnitude(factor, mscale) / magnitude(factor, mscaleAllDim) : magnitude(factor, 1));
  return { theta, invFreq, cosSinFactor, softmaxFactor: mscaleAllDim ? magnitude(factor, mscaleAllDim) ** 2 : 1, interleaved };
}
