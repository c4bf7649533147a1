// What a checkpoint really stores, by the headers of its files: the spec of a model folder follows it where a config is silent or
// says otherwise, for weights are widened when needed and never rounded. Only tensors that the model reads count.
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import type { Diagnostic } from "../ir/diagnostic.ts";
import { draftLayerLeft, storedOtherwise, storedWider } from "./diagnostics.ts";
import type { ModelSpec } from "./frontend/spec.ts";
import { layerTensors, outerTensors, tensorsOf, type WeightTensor } from "./frontend/weights.ts";

/** Tensors by name, with their dtypes in safetensors' words. */
export type Stored = ReadonlyMap<string, { dtype: string }>;

/** The tensors of the checkpoint in a folder, of one .safetensors file, or beside a config; undefined where there is none. */
export async function storedIn(where: string): Promise<Stored | undefined> {
  if (!existsSync(where)) return undefined;
  const at = statSync(where).isDirectory() || /\.safetensors(\.index\.json)?$/.test(where) ? where : path.dirname(where);
  if (statSync(at).isDirectory() && !readdirSync(at).some((f) => /\.safetensors(\.index\.json)?$/.test(f))) return undefined;
  // Only here: a config alone, the common case, needs no runtime.
  const { Checkpoint } = await import("../runtime/index.ts");
  const checkpoint = await Checkpoint.open(at);
  await checkpoint.close();
  return checkpoint.tensors;
}

const WIDE = new Set(["F32", "F16"]);

/** Makes a spec what its checkpoint stores; says what that changes. */
export function fit(spec: ModelSpec, stored: Stored | undefined): Diagnostic[] {
  if (!stored) return [];
  const said = fitDraft(spec, stored);
  const keys = formsOf(spec, stored);
  if (spec.mtp && [...keys.values()].some((f) => f.layers.coded && f.layers.plain === 0 && f.draft.plain)) {
    // An extra layer that was left out of the codes does not fit the layers of its kind.
    said.push(leaveDraft(spec, "its weights are stored otherwise than those of the layers"));
    return [...said, ...fitForms(spec, formsOf(spec, stored))];
  }
  return [...said, ...fitForms(spec, keys)];
}

/** An extra prediction layer that is not there is left out; one without tables of its own reads the main model's. */
function fitDraft(spec: ModelSpec, stored: Stored): Diagnostic[] {
  if (!spec.mtp) return [];
  const at = `${spec.prefix}model.layers.${spec.layers.length}`;
  const there = [...layerTensors(spec, spec.layers.length)].some((t) => stored.has(t.name));
  // Of a checkpoint that is not this model's at all there is more to say than this.
  if (!there)
    return [...outerTensors(spec)].some((t) => stored.has(t.name))
      ? [leaveDraft(spec, `the checkpoint has no tensors of ${at}`)]
      : [];
  const shares = (["embed_tokens", "shared_head.head"] as const).filter((name) => !stored.has(`${at}.${name}.weight`));
  if (shares.length) spec.draftShares = shares;
  return [];
}

function leaveDraft(spec: ModelSpec, why: string): Diagnostic {
  spec.mtp = 0;
  return draftLayerLeft({ layer: spec.layers.length, why });
}

interface Counts {
  coded: number;
  plain: number;
  wide: number;
}

/** How the weights of one key are stored, in main layers (and outside layers) and in the extra one. */
interface Forms {
  linear: boolean;
  layers: Counts;
  draft: Counts;
}

function formsOf(spec: ModelSpec, stored: Stored): Map<string, Forms> {
  const keys = new Map<string, Forms>();
  const draft = `${spec.prefix}model.layers.${spec.layers.length}.`;
  const zero = (): Counts => ({ coded: 0, plain: 0, wide: 0 });
  const note = (t: WeightTensor, dtype: string): void => {
    let f = keys.get(t.key);
    if (!f) keys.set(t.key, (f = { linear: t.linear, layers: zero(), draft: zero() }));
    const c = t.name.startsWith(draft) ? f.draft : f.layers;
    if (dtype === "F8_E4M3") c.coded++;
    else if (dtype === "BF16" || WIDE.has(dtype)) c.plain++;
    if (WIDE.has(dtype)) c.wide++;
  };
  for (const t of tensorsOf(spec)) {
    const s = stored.get(t.name);
    // The router's bias is read in f32 whatever it is stored in.
    if (s && !t.key.endsWith("e_score_correction_bias")) note(t, s.dtype);
  }
  return keys;
}

function fitForms(spec: ModelSpec, keys: ReadonlyMap<string, Forms>): Diagnostic[] {
  const all = [...keys].map(([key, f]) => ({
    key,
    linear: f.linear,
    coded: f.layers.coded + f.draft.coded,
    plain: f.layers.plain + f.draft.plain,
    wide: f.layers.wide + f.draft.wide,
  }));
  const linears = all.filter((k) => k.linear);
  const said: Diagnostic[] = [];
  // A copy in bf16 that kept the config of its FP8 original.
  if (spec.fp8 && linears.some((k) => k.plain) && linears.every((k) => k.coded === 0)) {
    spec.fp8 = null;
    said.push(
      storedOtherwise({
        what: "the config says FP8, the checkpoint stores no FP8 weight: it is compiled as what it stores",
        weights: [],
      }),
    );
  }
  const plain = linears.filter((k) => k.coded === 0 && k.plain > 0);
  if (!spec.fp8 && spec.dtype === "bf16" && plain.length > 0 && plain.every((k) => k.wide > 0)) {
    spec.dtype = "f32";
    said.push(storedWider());
  }
  const storedAs: Record<string, "bf16" | "f32"> = { ...spec.storedAs };
  for (const k of all) {
    const form = k.wide > 0 ? "f32" : "bf16";
    const leftOut = spec.fp8 !== null && k.linear && k.coded === 0 && k.plain > 0;
    if (leftOut || (k.coded === 0 && form === "f32" && spec.dtype === "bf16")) storedAs[k.key] = form;
  }
  const otherwise = Object.keys(storedAs).filter(
    (key) => spec.storedAs?.[key] === undefined && linears.some((k) => k.key === key),
  );
  if (Object.keys(storedAs).length) spec.storedAs = storedAs;
  if (otherwise.length)
    said.push(
      storedOtherwise({
        what: spec.fp8
          ? "the config says FP8, and some weights of the checkpoint are plain"
          : "some weights of the checkpoint are float32",
        weights: otherwise.map((key) => `${key} as ${storedAs[key]}`),
      }),
    );
  return said;
}
