// What absorbed attention waits for, in one launch: W_uk into the query, the rotation of the query's other lanes, and the row that enters
// the cache. The product is that of bmm.ts, its weights under way before the kernel before has ended; a few blocks beside it do the
// rest, which would cost two launches of two microseconds each. Rotation and norm have the bits of the tile programs rope and rope_append.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { add, mul } from "../../../../ir/size.ts";
import { native, onlySchedule } from "../../native.ts";
import { bmmBody, bmmConstants, bmmShares, bmmUnits, bmmSchedule, type BmmSchedule } from "../gemm/bmm.ts";
import { cudaKernel, inout, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { part } from "../../text/marks.ts";
import { matchQuery, type MlaQueryProblem } from "./mla-query-problem.ts";
import { appendRow, rotateQuery } from "./mla-query-rows.ts";

/** Blocks a token that rotate its query; with those of R1's product, all fit on the multiprocessors at once. */
const TURNS = 4;

export const mlaQueryNative = native<MlaQueryProblem, BmmSchedule>({
  family: "mla_query",
  serves: ["mla_query"],
  schedules: onlySchedule<MlaQueryProblem, BmmSchedule>(bmmSchedule),
  match: matchQuery,
  emit: (p, _, machine) => mlaQuery(p, machine),
});

const loose = { restrict: false };

export function mlaQuery(p: MlaQueryProblem, machine: Gpu): KernelText {
  const s = bmmSchedule(p);
  if (typeof s === "string") throw new RangeError(s);
  const products = bmmUnits(p, s) / s.warps;
  const shares = bmmShares(p, s, machine, "T");
  const bytes = 2 * p.batch * p.n * p.k;
  return cudaKernel({
    name: `mla_query_${p.batch}x${p.n}x${p.k}_${p.d}`,
    header: [
      `mla_query: ql [T, ${p.batch}, ${p.n}] = qc [T, ${p.batch}, ${p.k}] times w_uk by head; bf16, f32 sums;`,
      `  qp = rope of the query's other ${p.d} lanes; the cache gains its new rows`,
      `schedule ${JSON.stringify({ ...s, products, rotations: TURNS, appends: 1 })}:`,
      "  blocks of the product, then blocks a token that rotate and that append",
      floorText(machine, { reads: `${bytes} bytes of weights`, bytes }),
    ],
    params: [
      input("qc", "bf16", loose),
      input("w_uk", "bf16", loose),
      output("ql", "bf16", loose),
      input("qr", "bf16", loose),
      output("qp", "bf16", loose),
      inout("cache", "bf16", loose),
      input("c", "bf16", loose),
      input("kr", "bf16", loose),
      input("gain", p.gain, loose),
      input("table", "f32", loose),
      input("positions", "i32", loose),
      input("sequence", "i32", loose),
      input("pages", "i32", loose),
    ],
    dims: ["T", "P"],
    launch: {
      grid: [add(mul(products, shares.size), mul(TURNS + 1, "T")), 1, 1],
      block: 128,
      sharedBytes: 0,
      pdl: true,
      early: ["w_uk", "gain", "table", "positions", "sequence", "pages"],
      blocksPerSM: 2,
    },
    definitions: lines(constants(p, s), "", part("rope", rotateQuery(p)), "", part("rope_append", appendRow(p))),
    body: lines(
      indented(lines("release_next();", lanes, besideProduct(p, shares.text), product(s))),
      part("einsum", bmmBody(p, s, machine, { share: "blockIdx.x / PRODUCTS", shares: `(${shares.text})` })),
    ),
  });
}

const constants = (p: MlaQueryProblem, s: BmmSchedule): string => `${bmmConstants(p, s)}
constexpr int PRODUCTS = UNITS / ${s.warps};  // blocks of the product
constexpr int TURNS = ${TURNS};             // blocks of a token that rotate its query; one more appends its row
constexpr int HEADS = ${p.batch}, HALF = ${p.d / 2};  // pairs of lanes of a head that are rotated
constexpr int BLOCKS = ${p.r / 128};            // of 128 lanes of a latent`;

const lanes = "const int lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;";

const besideProduct = ({ gain }: MlaQueryProblem, shares: string): string => {
  const products = shares === "1" ? "PRODUCTS" : `PRODUCTS * ${shares}`;
  return `const int beside = (int)blockIdx.x - ${products};
if (beside >= 0) {
  const int token = beside / (TURNS + 1), part = beside % (TURNS + 1);
  float gains[BLOCKS / 4][4];  // weights, too
#pragma unroll
  for (int t = 0; t < BLOCKS / 4; t++) load4_${gain}(gains[t], gain + (threadIdx.x / 32 + 4 * t) * 128 + lane * 4);
  if (part < TURNS) rotate_query(qr, table, positions, qp, token, part);
  else append_row(cache, c, kr, gains, table, positions, sequence, pages, token, P);
  return;
}`;
};

/** What the product's text calls its operands. */
const product = ({ warps }: BmmSchedule): string => `const int unit = blockIdx.x % PRODUCTS * ${warps} + threadIdx.x / 32, m = T;
const u16 *const a = qc, *const b = w_uk;
u16* const y = ql;`;
