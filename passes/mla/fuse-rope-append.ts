// One pass over the row that enters the cache: norm of the latent, rotation of the shared key, append.
import { cacheAppend, rmsNorm, rope, ropeAppend } from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";

/** append(norm c, rope k) in one visit; the normalised latent is needed nowhere else. */
export const fuseAppend = rule("norm, rope and append in one pass", {
  vars: { cache: "cache", c: "[T, r] a", kr: "[T, d] a", gain: "[r] w", table: "[p, d] f32", batch: "batch" },
  attrs: { eps: 1e-6, interleaved: true },
  from: ({ cache, c, kr, gain, table, batch, eps, interleaved }) => cacheAppend({ cache, c: rmsNorm({ x: c, gain, eps }), kp: rope({ x: kr, table, batch, interleaved }), batch }),
  to: ({ cache, c, kr, gain, table, batch, eps, interleaved }) => ropeAppend({ cache, c, kr, gain, table, batch, eps, interleaved }),
});

export const fuseRopeAppend = pass({ name: "fuse-rope-append", summary: "Normalise, rotate and append the cached row in one kernel.", rules: [fuseAppend], expect: ({ bodies }) => inEach(bodies, [fuseAppend.name], (b) => b.attention) });
