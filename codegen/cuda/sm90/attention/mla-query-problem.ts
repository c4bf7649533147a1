// The problem of mla-query.ts: the sites that it takes, of which the three parts must each be what its kernel knows.
import type { Site } from "../../../../ir/kernel/catalogue.ts";
import { refuse, type Refusal } from "../../../family.ts";
import { ropeAppendFamily, ropeFamily, type RopeAppendProblem, type RopeProblem } from "../../../kernels/cache.ts";
import { partSites } from "../../../parts.ts";
import { matchBmmRows } from "../gemm/bmm-native.ts";
import type { NativeMatch } from "../../native.ts";
import { bmmSchedule, bmmUnits, type BmmProblem, type BmmSchedule } from "../gemm/bmm.ts";

/** The product's problem, then the rotation's: d lanes of a head, strides of token and head; then the append's. */
export interface MlaQueryProblem extends BmmProblem {
  d: number;
  xStrides: readonly [number, number];
  maxPositions: number;
  r: number;
  cStride: number;
  krStride: number;
  gain: "f32" | "bf16";
  eps: number;
  pageRows: number;
}

/** Why the parts of a site must be launches of their own, or null. */
function apart(product: BmmProblem, rope: RopeProblem, append: RopeAppendProblem): string | null {
  const schedule = bmmSchedule(product);
  if (typeof schedule === "string") return schedule;
  if (product.x !== "bf16" || product.yType !== "bf16" || rope.act !== "bf16" || append.act !== "bf16")
    return "activations are f32";
  if (bmmUnits(product, schedule) % schedule.warps !== 0) return "the last block of the product has warps without a unit";
  if (!rope.interleaved) return "pairs are not side by side";
  if (rope.d % 8 !== 0 || append.d > 256) return `${rope.d} rotated lanes are no multiple of 8, or more than 256`;
  if (rope.xStrides.some((x) => x % 8 !== 0)) return "a stride is no multiple of 8 elements";
  return append.r % 512 === 0 && append.cStride % 4 === 0 ? null : "a latent row is no multiple of 512 lanes";
}

/** The problem of a site, or why it must be launches of its own. */
export function matchQuery(site: Site): NativeMatch<MlaQueryProblem, BmmSchedule> | Refusal {
  const [product, rotation, append] = partSites(site);
  const [bmm, ropes, rows] = [matchBmmRows(product), ropeFamily.match(rotation), ropeAppendFamily.match(append)];
  if ("reason" in bmm) return bmm;
  if ("reason" in ropes) return ropes;
  if ("reason" in rows) return rows;
  const [[{ problem: rope }], [{ problem: row }]] = [ropes, rows];
  const reason = apart(bmm.problem, rope, row);
  if (reason !== null) return refuse(reason);
  const { d, xStrides, maxPositions } = rope;
  const { r, cStride, krStride, gain, eps, pageRows } = row;
  const [qc, wUk, qr, c, kr, gains, table] = [0, 1, 2, 3, 4, 5, 6].map((i) => ({ in: i }));
  return {
    problem: { ...bmm.problem, d, xStrides, maxPositions, r, cStride, krStride, gain, eps, pageRows },
    rows: site.ins[0].shape[0],
    dims: [site.ins[0].shape[0], "P"],
    args: () => [
      qc,
      wUk,
      { out: 0 },
      qr,
      { out: 1 },
      { cache: site.caches![0].name },
      c,
      kr,
      gains,
      table,
      { batch: "positions" },
      { batch: "sequence" },
      { batch: "pages" },
    ],
  };
}
