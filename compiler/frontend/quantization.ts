// quantization_config: e4m3 codes in blocks of 128x128 with dynamic activations, or nothing. Other formats are refused by name.
import { unsupportedModel } from "./diagnostics.ts";
import { unknownMembers } from "./keys.ts";
import { show, type Reader } from "./reader.ts";
import type { Fp8Spec, ModelSpec, StoredAs } from "./spec.ts";
import { tensorsOf } from "./weights.ts";

/** The key, and what early writers of compressed-tensors called it. */
const KEYS = ["quantization_config", "compression_config"] as const;

/** Formats seen on checkpoints of the family, and what reading them would take. */
const formats: Readonly<Record<string, string>> = {
  modelopt_fp4: "NVFP4 weights (4-bit floats with FP8 scales per 16)",
  nvfp4: "NVFP4 weights (4-bit floats with FP8 scales per 16)",
  mxfp4: "MXFP4 weights (4-bit floats with a power-of-two scale per 32)",
  awq: "int4 weights with zero points (AWQ)",
  gptq: "int4 weights with zero points (GPTQ)",
  bitsandbytes: "bitsandbytes' 4-bit or 8-bit weights",
  fbgemm_fp8: "FP8 weights with one scale per row",
  "auto-round": "int4 weights (AutoRound)",
  quark: "weights of another format (Quark)",
  torchao: "weights of another format (torchao)",
  hqq: "int4 weights with zero points (HQQ)",
  quanto: "weights of another format (quanto)",
  aqlm: "weights in code books (AQLM)",
};

/** Modules that are never stored as codes, so that a list of exceptions naming only these changes nothing. */
const neverCoded =
  /(^|\.)(lm_head|head|shared_head|embed_tokens|gate|eh_proj|e_score_correction_bias|\w*norm)(\.(weight|head|norm))?$/;

export function readQuantization(c: Reader): Fp8Spec | null {
  const AT = KEYS.find((k) => c.has(k)) ?? KEYS[0];
  const members = c.members(AT);
  if (!members) return null;
  const at = (k: string): string => `${AT}.${k}`;
  const method = c.word(at("quant_method"));
  if (method !== "fp8") {
    const mechanism =
      method === "compressed-tensors"
        ? compressed(c, AT)
        : method === "modelopt"
          ? modelopt(c.word(at("quant_algo")))
          : method && Object.hasOwn(formats, method)
            ? formats[method]
            : undefined;
    const where = c.span(at("quant_method")) ?? c.span(AT);
    if (mechanism)
      c.say(
        unsupportedModel(
          {
            name: "this checkpoint's quantisation",
            needs: mechanism,
            supported: ['"quant_method": "fp8"', "or no quantization_config (a bf16 checkpoint)"],
          },
          where,
        ),
      );
    else
      c.refuse(
        at("quant_method"),
        "compiled weights are bf16, f32, or e4m3 in blocks of 128x128",
        '"fp8"; a bf16 checkpoint has no quantization_config',
      );
    return null;
  }
  for (const d of unknownMembers(c, AT, members)) c.say(d);
  const oneOf = (key: string, allowed: readonly string[], rule: string): string => {
    const v = c.word(at(key)) ?? allowed[0];
    if (!allowed.includes(v)) c.refuse(at(key), rule, allowed.map((a) => JSON.stringify(a)).join(" or "));
    return v;
  };
  oneOf("fmt", ["e4m3"], "the family publishes e4m3 only");
  oneOf(
    "activation_scheme",
    ["dynamic"],
    "activations are quantised as they come; no checkpoint of the family has static scales",
  );
  const block = c.list(at("weight_block_size"));
  if (!block)
    c.refuse(
      at("weight_block_size"),
      "without it there is one scale per tensor (weight_scale beside each weight), and weights are read in blocks with a scale each",
      "[128, 128], of a checkpoint whose scales are called weight_scale_inv",
    );
  else if (block.length !== 2 || block[0] !== 128 || block[1] !== 128)
    c.refuse(at("weight_block_size"), "scales stand for blocks of 128x128 weights and 1x128 activations", "[128, 128]");
  const scale = oneOf("scale_fmt", ["float", "ue8m0"], "scales are plain floats (no scale_fmt) or powers of two");
  return { scale: scale === "ue8m0" ? "ue8m0" : "f32", block: [128, 128] };
}

/**
 * Weights that the config leaves out of the codes, by name: in bf16 in every layer of their kind, or refused. A module is meant by its
 * whole name, by one that holds it, or by the end of its name, as transformers takes such lists.
 */
export function readLeftOut(c: Reader, spec: ModelSpec): StoredAs | undefined {
  const AT = KEYS.find((k) => c.has(k)) ?? KEYS[0];
  const out: Record<string, "bf16" | "f32"> = {};
  for (const list of ["modules_to_not_convert", "ignored_layers"]) {
    const key = `${AT}.${list}`;
    const odd = spec.fp8 && c.members(AT) ? (c.list(key) ?? []).filter((m) => typeof m !== "string" || !neverCoded.test(m)) : [];
    if (odd.some((m) => typeof m !== "string")) c.refuse(key, "it lists names of modules", "a list of names, such as kv_b_proj");
    if (odd.length === 0) continue;
    const names = new Set(odd);
    const found = new Map<string, { hit: string | undefined; miss: boolean }>();
    for (const t of tensorsOf(spec)) {
      if (!t.linear) continue;
      const f = found.get(t.key) ?? { hit: undefined, miss: false };
      found.set(t.key, f);
      const meant = partsOf(t.name.slice(0, -".weight".length)).find((n) => names.has(n));
      if (meant === undefined) f.miss = true;
      else f.hit ??= meant;
    }
    const split = [...found.values()].find((f) => f.hit !== undefined && f.miss);
    if (split)
      c.refuse(
        key,
        `${show(split.hit)} would be left in bf16 in some layers of a kind and coded in others, which are compiled as one`,
        "a list of lm_head, gate, norms, and of projections in every layer",
      );
    else for (const [k, f] of found) if (f.hit !== undefined) out[k] = spec.dtype;
  }
  return Object.keys(out).length ? out : undefined;
}

/** A dotted name, the modules that hold it, and its ends. */
function partsOf(name: string): string[] {
  const words = name.split(".");
  return words.flatMap((_, i) => [words.slice(0, i + 1).join("."), words.slice(i).join(".")]);
}

/** What a quant_algo of modelopt stands for. */
export function modelopt(algo: string | undefined): string {
  if (algo === undefined) return "NVFP4 or static FP8 weights (modelopt)";
  if (/NVFP4/i.test(algo)) return `${formats.nvfp4} (modelopt, quant_algo ${algo})`;
  return (
    `${/^FP8/i.test(algo) ? "FP8 weights with other scales than one per 128x128" : "weights of another format"} ` +
    `(modelopt, quant_algo ${algo})`
  );
}

/** What a compressed-tensors config holds: "int4 weights in groups of 32". */
function compressed(c: Reader, AT: string): string {
  const group = c.members(`${AT}.config_groups`)?.[0];
  const at = (k: string): unknown => (group === undefined ? undefined : c.raw(`${AT}.config_groups.${group}.weights.${k}`));
  const bits = at("num_bits");
  const size = at("group_size");
  const kind = at("type") === "float" ? "fp" : "int";
  if (typeof bits !== "number") return "compressed-tensors weights, as Kimi-K2-Thinking and K2.5 use (int4 in groups of 32)";
  const groups = typeof size === "number" ? ` in groups of ${size}` : "";
  return `${kind}${bits} weight dequantisation${groups} (compressed-tensors, as Kimi-K2-Thinking and K2.5 use)`;
}
