// The last rows of sequences, before anything is done to all rows: the head reads one row of each sequence, so only that one is normed.
import { lastRows as lastRowsOp, rmsNorm } from "../../ir/index.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";

/** last_rows(rms_norm x) = rms_norm(last_rows x): a norm treats rows alike */
const lastThenNorm = rule("take the last rows before their norm", {
  vars: { x: "[T, d] a", gain: "[d] w", batch: "batch" },
  attrs: { eps: 1e-6 },
  from: ({ x, gain, batch, eps }) => lastRowsOp({ x: rmsNorm({ x, gain, eps }), batch }),
  to: ({ x, gain, batch, eps }) => rmsNorm({ x: lastRowsOp({ x, batch }), gain, eps }),
  when: (_, cx) => (cx.uses(cx.root.operands[0]) > 1 ? "all rows of the norm are read elsewhere too" : null),
});

export const lastRows = pass({
  name: "last-rows",
  summary: "Norm only the rows that the head reads: the last one of every sequence.",
  rules: [lastThenNorm],
  // A model with an extra prediction layer hands all normed rows on, one with taps too; else it fires once for every head.
  promises: [],
});
