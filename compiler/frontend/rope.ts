// Rotary positions: plain and YaRN, from either spelling of the settings (rope_theta + rope_scaling, or rope_parameters; type or
// rope_type; flat or nested by layer type), to frequencies and factors (SEMANTICS 4). Two spellings may stand beside each other
// where they come to the same; those that disagree are refused, for one of them would be lost.
import { idleFactor, inconsistent, missingType, unknownKey } from "./diagnostics.ts";
import type { Known } from "./families.ts";
import type { Json } from "./json.ts";
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

/** The two spellings. Where both have members, transformers 5 takes rope_scaling. */
const SPELLINGS = ["rope_scaling", "rope_parameters"] as const;

/** What one spelling says, defaults filled in: two that stand beside each other are compared by it. */
interface Settings {
  at: string | undefined;
  type: string;
  theta: number;
  yarn: YarnSettings | null;
}

/** Reads the settings for `d` rotated lanes. */
export function readRope(c: Reader, known: Known, d: number): RopeSpec {
  const interleaved = known.family === "v2" ? true : c.field("interleaved", () => c.flag("rope_interleave", true));
  const places = SPELLINGS.flatMap((key) => placeOf(c, key) ?? []);
  if (c.has("partial_rotary_factor") && c.real("partial_rotary_factor") !== 1)
    c.refuse("partial_rotary_factor", "exactly the qk_rope_head_dim lanes are rotated", "1.0");
  const [first, second] = (places.length ? places : [undefined]).map((at) => readSettings(c, known, at));
  if (second) expectSame(c, first, second);
  return ropeSpec(Math.max(2, d - (d % 2)), first.theta > 1 ? first.theta : 10000, first.yarn, interleaved);
}

/**
 * Where the members of a spelling stand; undefined where it has none. Settings may be nested by layer type, as transformers 5
 * writes them.
 */
function placeOf(c: Reader, key: string): string | undefined {
  const seen = c.members(key) ?? [];
  if (seen.length === 0) return undefined;
  const nested = seen.filter((k) => isObject(c.raw(`${key}.${k}`)));
  if (nested.length === 0) {
    for (const w of unknownMembers(c, key, seen)) c.say(w);
    return key;
  }
  const [first, ...others] = nested.map((k) => `${key}.${k}`);
  const text = (at: string): string =>
    JSON.stringify(Object.entries(c.raw(at) as object).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const other = others.find((at) => text(at) !== text(first));
  if (other !== undefined) {
    const rule = "every layer of this family rotates by the same table, so its settings have to be the same for every layer type";
    c.say(
      inconsistent(
        { title: `"${first}" and "${other}" disagree`, rule, help: "remove the layer types that the model does not have" },
        c.span(other),
      ),
    );
  }
  for (const k of seen)
    if (!nested.includes(k) && c.has(`${key}.${k}`))
      c.say(unknownKey({ key: `${key}.${k}`, near: undefined }, c.span(`${key}.${k}`)));
  for (const w of unknownMembers(c, first, c.members(first) ?? [])) c.say(w);
  return first;
}

const isObject = (v: unknown): boolean => typeof v === "object" && v !== null && !Array.isArray(v);

/** The settings at a place, or the plain ones where there is none. */
function readSettings(c: Reader, known: Known, at: string | undefined): Settings {
  const thetaKey = at !== undefined && c.has(`${at}.rope_theta`) ? `${at}.rope_theta` : "rope_theta";
  if (at !== undefined) {
    c.agree(`${at}.type`, `${at}.rope_type`);
    c.agree("rope_theta", `${at}.rope_theta`);
  }
  const theta = c.real(thetaKey, known.published.rope_theta);
  if (!(theta > 1)) c.refuse(thetaKey, "the base of rotary frequencies is larger than one", "10000");
  if (at === undefined) return { at, type: "default", theta, yarn: null };
  const typeKey = typeKeyOf(c, at);
  const type = c.word(typeKey) ?? "default";
  if (!c.has(typeKey) && c.has(`${at}.factor`)) c.say(missingType({ key: at }, c.span(at)));
  else if (type === "default") sayIdle(c, at);
  else if (type !== "default" && type !== "yarn")
    c.refuse(typeKey, "positions are plain or YaRN in this family", '"yarn" or "default"');
  if (c.has(`${at}.partial_rotary_factor`) && c.real(`${at}.partial_rotary_factor`) !== 1)
    c.refuse(`${at}.partial_rotary_factor`, "exactly the qk_rope_head_dim lanes are rotated", "1.0");
  return { at, type, theta, yarn: type === "yarn" ? readYarn(c, at) : null };
}

/** Says what of YaRN's settings is passed over beside the plain type; a factor of 1 would change nothing by YaRN either. */
function sayIdle(c: Reader, at: string): void {
  const idle =
    c.raw(`${at}.factor`) === 1
      ? undefined
      : Object.values(YARN_KEYS).find((k) => c.has(`${at}.${k}`) && k !== "original_max_position_embeddings");
  if (idle !== undefined) c.say(idleFactor({ key: `${c.prefix}${at}`, member: idle }, c.span(`${at}.${idle}`)));
}

const typeKeyOf = (c: Reader, at: string): string => (c.has(`${at}.rope_type`) ? `${at}.rope_type` : `${at}.type`);

/** Refuses two spellings that come to different frequencies or factors: one of them would be lost without a word. */
function expectSame(c: Reader, a: Settings, b: Settings): void {
  const [left, right] = [a.at!, b.at!];
  const differ = (what: string, x: unknown, y: unknown, where: string): void => {
    const rule = `${what} is ${show(x as Json)} by "${left}" and ${show(y as Json)} by "${right}": two spellings of one setting`;
    c.say(
      inconsistent(
        { title: `"${left}" and "${right}" disagree`, rule, help: `remove one of the two; transformers 5 reads ${SPELLINGS[0]}` },
        c.span(where),
      ),
    );
  };
  if (a.type !== b.type) return differ("the type", a.type, b.type, typeKeyOf(c, right));
  if (a.theta !== b.theta)
    return differ("rope_theta", a.theta, b.theta, `${c.has(`${right}.rope_theta`) ? right : left}.rope_theta`);
  for (const [key, name] of Object.entries(YARN_KEYS) as [keyof YarnSettings, string][])
    if (a.yarn?.[key] !== b.yarn?.[key]) return differ(name, a.yarn![key], b.yarn![key], `${right}.${name}`);
}

const YARN_KEYS: Readonly<Record<keyof YarnSettings, string>> = {
  factor: "factor",
  original: "original_max_position_embeddings",
  betaFast: "beta_fast",
  betaSlow: "beta_slow",
  mscale: "mscale",
  mscaleAllDim: "mscale_all_dim",
  attentionFactor: "attention_factor",
};

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
    original: readOriginal(c, at),
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
        { title: "beta_fast is smaller than beta_slow", rule, help: "swap them: 32 and 1 are the published values" },
        c.span(`${at}.beta_fast`),
      ),
    );
  }
  return yarn;
}

/** The positions before YaRN: a member of the settings, or a key beside them as some writers have it, which transformers 5 prefers. */
function readOriginal(c: Reader, at: string): number {
  const [inside, beside] = [`${at}.original_max_position_embeddings`, "original_max_position_embeddings"];
  c.agree(beside, inside);
  return c.int(c.has(beside) && !c.has(inside) ? beside : inside);
}

/** m(f, a) = 1 for f <= 1, else 0.1 a ln f + 1. */
const magnitude = (f: number, a: number): number => (f <= 1 ? 1 : 0.1 * a * Math.log(f) + 1);

/** Frequencies for d lanes. YaRN as transformers computes it: the clamp is d - 1, applied at all positions. */
function ropeSpec(d: number, theta: number, yarn: YarnSettings | null, interleaved: boolean): RopeSpec {
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
