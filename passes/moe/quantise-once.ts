// A token goes to several experts, and is quantised alike for each: once, before its row is gathered.
import { gatherRows, mapExperts, quantize } from "../../ir/index.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";

/** quantize(gather x) = gather(quantize x): T rows to quantise instead of T times k. */
const quantiseFirst = rule("quantise before gathering", {
  vars: { x: "[T, d] a", order: "[r] i32" },
  attrs: { per: 2, scale: "f32" },
  from: ({ x, order, per, scale }) => quantize({ x: gatherRows({ x, order, per }), scale }),
  to: ({ x, order, per, scale }) => gatherRows({ x: quantize({ x, scale }), order, per }),
  ties: ({ T, per }) => ({ r: T * per }),
});

export const quantiseOnce = pass({
  name: "quantise-once",
  summary: "Quantise a token once, not once per expert it goes to.",
  rules: [quantiseFirst],
  promises: [
    {
      rules: [quantiseFirst.name],
      before: (b) => (b.all(quantize).length > 0 ? b.all(mapExperts).length : 0),
      after: (sites, ran) => (ran.pass("moe-dispatch") ? sites : 0),
    },
  ],
});
