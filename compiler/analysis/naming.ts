// What the quantities and attributes of a graph are called in its config: the keys that the frontend read them from.
import { isScaled, weightName, type Node } from "../../ir/index.ts";
import { quantitiesOf as inTerm } from "../../ir/term.ts";
import type { Terms } from "../../ir/terms.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { quantitiesOf } from "../frontend/sizes.ts";
import type { Naming } from "./fields.ts";

/** Of a setting that no key of the config changes. */
const FIXED = "the architecture";

/** What quantities and attributes are called, and the config keys behind them. */
export function namingOf(spec: ModelSpec, tensorsOf: (node: Node) => readonly string[]): Naming {
  const keysOf = (field: string): readonly string[] => spec.keys[field] ?? [];
  const field = (name: string): { from: string; keys: readonly string[] } => ({
    from: keysOf(name).join(", ") || FIXED,
    keys: keysOf(name),
  });
  return {
    quantities: quantitiesOf(spec),
    keysOf,
    setting(attr, node) {
      const fields = settings[attr];
      if (attr === "eps")
        return tensorsOf(node).some((t) => /\.(q|kv)_a_layernorm\./.test(t))
          ? { from: "eps of the norms of latents, whatever rms_norm_eps says", keys: [] }
          : field("eps");
      if (attr === "dtype") return { from: "dtype of activations (--activations)", keys: [] };
      // Of quantisation a word, of attention a number.
      if (attr === "scale" && typeof node.attrs.scale === "string") return field("fp8");
      if (!fields) return undefined;
      const keys = [...new Set(fields.flatMap(keysOf))];
      return {
        from: attr === "scale" || attr === "by" ? `scale of the softmax: ${keys.join(", ")}` : keys.join(", ") || FIXED,
        keys,
      };
    },
  };
}

/** Attributes of ops by the fields of the spec that they are made of. */
const settings: Readonly<Record<string, readonly string[]>> = {
  scale: ["nope", "rope", "position"],
  by: ["nope", "rope", "position"],
  interleaved: ["interleaved"],
  topk: ["topk"],
  groups: ["groups"],
  kept: ["kept"],
  shared: ["shared"],
  scoring: ["scoring"],
  method: ["method"],
  normalise: ["normalise"],
  factor: ["factor"],
  act: ["gating"],
  limit: ["gating"],
};

/** The keys that a node's sizes, attributes and formats are made of: what it would not be the same without. */
export function keysOfNode(n: Node, terms: Terms, naming: Naming, fields: ModelSpec["keys"]): string[] {
  const values = [...n.operands, ...n.results];
  const sizes = values.flatMap((v) => terms.axes(v)).flatMap(inTerm);
  const scaled = values.some((v) => v.type.kind === "tensor" && isScaled(v.type.dtype));
  const turned = n.operands.some((o) => weightName(o) === "rope");
  return [
    ...new Set([
      ...sizes.flatMap((q) => naming.keysOf(q)),
      ...Object.keys(n.attrs).flatMap((a) => naming.setting(a, n)?.keys ?? []),
      ...(scaled ? (fields.fp8 ?? []) : []),
      ...(turned ? (fields.position ?? []) : []),
    ]),
  ];
}
