// Before attention over latents stand three small pieces of work that need nothing of each other: W_uk into the query, the
// rotation of
// the query's other lanes, and the row that enters the cache. One op lets a target do them side by side, in one launch.
import { mapSequences, mlaAttend, mlaQuery } from "../../ir/index.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";

/**
 * attend(q W_uk, rope q, append(cache, norm c, rope k)) reads the three results of one op; the cache is the function's result,
 * too.
 */
const sideBySide = rule("absorb, rotate and append side by side", {
  vars: mlaQuery.op.signature.ins,
  // Not what it has made.
  among: ({ node }) => !mlaQuery.made(node.operands[0].node),
  attrs: { eps: 1e-6, interleaved: true, scale: 0.25 },
  from({ scale, ...v }) {
    const { ql, qp, after } = mlaQuery.of(v as never);
    return { attended: mlaAttend({ ql, qp, cache: after, batch: v.batch, scale }), ql, qp, after };
  },
  to({ scale, ...v }) {
    const { ql, qp, after } = mlaQuery(v as never);
    return { attended: mlaAttend({ ql, qp, cache: after, batch: v.batch, scale }), ql, qp, after };
  },
});

export const joinQuery = pass({
  name: "join-query",
  summary: "Absorb W_uk, rotate the query and append the new rows in one launch.",
  rules: [sideBySide],
  promises: [
    {
      rules: [sideBySide.name],
      before: (b) => b.all(mapSequences).length,
      after: (sites, ran) =>
        ran.pass("fuse-rope-append") && ran.fired("attention of all sequences over the paged cache") ? sites : 0,
    },
  ],
});
