// One pass over the row that enters the cache: norm of the latent, rotation of the shared key, append.
import { mapSequences, ropeAppend } from "../../ir/index.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";

/** append(norm c, rope k) in one visit; the normalised latent is needed nowhere else. */
const fuseAppend = fusion("norm, rope and append in one pass", ropeAppend);

export const fuseRopeAppend = pass({
  name: "fuse-rope-append",
  summary: "Normalise, rotate and append the cached row in one kernel.",
  rules: [fuseAppend],
  promises: [{ rules: [fuseAppend.name], before: (b) => b.all(mapSequences).length }],
});
