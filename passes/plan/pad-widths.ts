// Inner widths that TMA cannot copy. A GPU moves rows of bf16 by words of 16 bytes and boxes of 64 columns; the 1843 columns
// between the two products of a dense layer then start anywhere. Zeros after them change no sum: act(0) * 0 meets zero weights.
import { fixed, gatedPair, isWeight, linear, pad } from "../../ir/index.ts";
import { asTensor } from "../../ir/types.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";
import { placePadded } from "./load.ts";

/** Columns of a box: 128 bytes of bf16. */
const BOX = 64;
const padded = (n: number): number => Math.ceil(n / BOX) * BOX;

/** gated_pair(x [G; U]^T) D^T = gated_pair(x [G 0; U 0]^T) [D 0]^T */
const padInner = rule("pad the inner width", {
  vars: { x: "[..b, k] a", w: "[2, n, k] w", down: "[d, n] w" },
  attrs: { dtype: "same", act: "silu", limit: 0 },
  from: ({ x, w, down, dtype, act, limit }) =>
    linear({ x: gatedPair({ x: linear({ x, w, dtype }), act, limit }), w: down, dtype }),
  to({ x, w, down, dtype, act, limit }) {
    const to = padded(fixed(asTensor(down.type).dims[1]));
    return linear({
      x: gatedPair({ x: linear({ x, w: pad({ x: w, axis: -2, to }), dtype }), act, limit }),
      w: pad({ x: down, axis: -1, to }),
      dtype,
    });
  },
  when({ x, w, down }) {
    const n = fixed(asTensor(down.type).dims[1]);
    if (n % BOX === 0) return `${n} columns are whole boxes of ${BOX}`;
    if (asTensor(x.type).dtype !== "bf16") return "only rows of bf16 are moved in boxes";
    return isWeight(w) && isWeight(down) ? null : "only stored weights can be padded";
  },
});

export const padWidths = pass({
  name: "pad-widths",
  summary: "Zeros after odd inner widths, so that rows of bf16 start where TMA can begin.",
  rules: [padInner],
  whole: placePadded,
  // Wherever it pads it says so, and where it does not a reason: nothing is asked of configs whose widths are even.
  promises: [],
});
