// Before attention over latents stand three small pieces of work that need nothing of each other: W_uk into the query, the rotation of
// the query's other lanes, and the row that enters the cache. One op lets a target do them side by side, in one launch.
import { einsum, mlaAttend, mlaQuery, rope, ropeAppend, type Func, type Value } from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { pass, type Cx } from "../pass.ts";
import { readersOf, rebuild, usesOf } from "../rewrite.ts";
import { rule } from "../rule.ts";

/** attend(q W_uk, rope q, append(cache, norm c, rope k)) reads the three results of one op. */
const sideBySide = rule("absorb, rotate and append side by side", {
  vars: {
    qc: "[T, h, n] a",
    wUk: "[h, n, r] w",
    qr: "[T, h, d] a",
    cache: "cache",
    c: "[T, r] a",
    kr: "[T, d] a",
    gain: "[r] g",
    table: "[p, d] f32",
    batch: "batch",
  },
  attrs: { eps: 1e-6, interleaved: true, scale: 0.25 },
  from: ({ qc, wUk, qr, cache, c, kr, gain, table, batch, eps, interleaved, scale }) =>
    mlaAttend({
      ql: einsum("thn,hnr->thr", qc, wUk),
      qp: rope({ x: qr, table, batch, interleaved }),
      cache: ropeAppend({ cache, c, kr, gain, table, batch, eps, interleaved }),
      batch,
      scale,
    }),
  to: ({ qc, wUk, qr, cache, c, kr, gain, table, batch, eps, interleaved, scale }) => {
    const { ql, qp, after } = mlaQuery({ qc, wUk, qr, cache, c, kr, gain, table, batch, eps, interleaved });
    return mlaAttend({ ql, qp, cache: after, batch, scale });
  },
});

export const joinQuery = pass({
  name: "join-query",
  summary: "Absorb W_uk, rotate the query and append the new rows in one launch.",
  equations: [sideBySide],
  run(f: Func, cx: Cx): Func {
    const [uses, readers] = [usesOf(f), readersOf(f)];
    // The cache after the append is also what the function gives back.
    const caches = new Map<Value, Value>();
    const out = rebuild(f, cx.module.graph, (rebuilt, original) => {
      if (!mlaAttend.made(original)) return undefined;
      const shared = original.operands.slice(0, 2).find((o) => uses.get(o) !== 1);
      if (shared)
        return void cx.refused(sideBySide.name, `${shared.node.op.name} before it is read elsewhere, too`, original.results[0]);
      const found = sideBySide.apply(rebuilt[0], {
        uses: (v) => uses.get(v) ?? 1,
        readers: (v) => readers.get(v) ?? [],
        assume: f.assume,
      });
      if (!found || "refused" in found) return undefined;
      if ("unmatched" in found) return void cx.unmatched(sideBySide.name, found.unmatched, original.results[0]);
      // The three results keep the names of what they were.
      for (const [i, o] of original.operands.slice(0, 3).entries()) {
        const name = cx.module.graph.nameOf(o);
        if (name) cx.module.graph.name(found.to.node.operands[i], name);
      }
      caches.set(original.operands[2], found.to.node.operands[2]);
      cx.fired(sideBySide.name, { at: original.results[0] });
      return [found.to];
    });
    return { ...out, results: f.results.map((r, i) => ({ name: r.name, value: caches.get(r.value) ?? out.results[i].value })) };
  },
  expect: ({ bodies, ran, ledger }) =>
    inEach(bodies, [sideBySide.name], (b) =>
      ran.has("fuse-rope-append") && ledger.fired(["attention of all sequences over the paged cache"], b.func) ? b.attention : 0,
    ),
});
