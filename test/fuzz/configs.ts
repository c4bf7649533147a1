// Random damage to configs: published ones, fixtures' and examples'. What survives the frontend is shrunk and compiled whole.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { compileSpec, defaults } from "../../compiler/compile.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { shrink } from "../../compiler/analysis/shrink.ts";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { mutateBytes, mutateJson, textOf, type Json } from "./mutate.ts";
import { Random } from "./random.ts";

// From the sources or from dist.
export const root = path.resolve(
  import.meta.dirname,
  existsSync(path.resolve(import.meta.dirname, "../../package.json")) ? "../.." : "../../..",
);
const folders = (at: string): string[] =>
  readdirSync(path.join(root, at))
    .map((f) => path.join(at, f, "config.json"))
    .filter((f) => existsSync(path.join(root, f)));
const files = [
  ...readdirSync(path.join(root, "test/configs")).map((f) => path.join("test/configs", f)),
  ...folders("test/fixtures"),
  ...["deepseek-r1", "printed-model", "tiny-r1"].map((f) => `examples/${f}/config.json`),
];
const bases = files.map((f) => readFileSync(path.join(root, f), "utf8"));
const values = bases.map((b) => JSON.parse(b) as Record<string, Json>);
const strangers = values.flatMap((v) => Object.values(v));

/** The text of a case, and the words of --set that go with it. */
export function configOf(seed: number): { text: string; set: string[] } {
  const r = new Random(seed);
  const at = r.below(bases.length);
  if (r.chance(0.15)) return { text: new TextDecoder().decode(mutateBytes(r, new TextEncoder().encode(bases[at]))), set: [] };
  // Many small changes die on the first: most cases change few things, some graft one config's keys into another's.
  const base = r.chance(0.1)
    ? { ...values[at], ...Object.fromEntries(Object.entries(r.one(values)).filter(() => r.chance(0.2))) }
    : values[at];
  const text = textOf(r, mutateJson(r, base, strangers));
  const keys = Object.keys(values[at]);
  const set = r.chance(0.15)
    ? [
        `${r.one(keys)}${r.one(["=", "=", "=", "", ".x=", ".0="])}${JSON.stringify(r.one(strangers)).slice(0, r.one([1, 3, 1000]))}`,
      ]
    : [];
  return { text, set };
}

// Damage often leaves the shrunken model as it was: each is compiled once.
const compiled = new Map<string, true>();

/** Gives the warnings; throws what refuses the case. */
export function compileCase(seed: number): Diagnostic[] {
  const { text, set } = configOf(seed);
  const { spec, warnings } = specOf(sourceOf(text, "config.json", ".", set));
  const small = shrink(spec);
  const r = new Random(seed + 1e6);
  const options = {
    ...defaults,
    attention: r.one(["auto", "auto", "expanded", "absorbed"] as const),
    actQuant: r.one(["dynamic", "dynamic", "none"] as const),
    taps: r.chance(0.2),
    passes: r.one(["all", "all", "none"]),
  };
  const key = createHash("sha256")
    .update(JSON.stringify([{ ...small, keys: {}, values: {} }, options]))
    .digest("base64");
  if (!compiled.has(key)) warnings.push(...compileSpec(small, options).warnings);
  compiled.set(key, true);
  return warnings;
}
