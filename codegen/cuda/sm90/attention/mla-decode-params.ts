// What both forms of the MLA decode kernel have in common: the op's text, and its operands.
import type { MlaAttendProblem } from "../../../kernels/attention.ts";
import { tensorMap, type Parameter } from "../../text/kernel.ts";

/** The op, for a kernel's header. */
export const attendText = ({ heads, r, d, scale }: MlaAttendProblem): string =>
  `mla_attend: y [T, ${heads}, ${r}] bf16 = softmax(q k^T * ${scale.toPrecision(6)}) v; ` +
  `k: cached rows [S, ${r + d}] bf16 by page, v: their first ${r} lanes`;

/** The scale of scores for exp2, as a constant. */
export const scaleText = ({ scale }: MlaAttendProblem): string => `${(scale * Math.LOG2E).toPrecision(9)}f`;

/** Queries by tokens and heads, `group` of them a box, and cached rows, `chunks` of 64 lanes a box. */
export const attendMaps = ({ heads, r, d, ql, qp }: MlaAttendProblem, group: number, chunks: number): Parameter[] => [
  tensorMap("ql_map", {
    of: "ql",
    dtype: "bf16",
    dims: [64, heads, r / 64, "T"],
    strides: [2 * ql[1], 128, 2 * ql[0]],
    box: [64, group, 8, 1],
  }),
  tensorMap("qp_map", {
    of: "qp",
    dtype: "bf16",
    dims: [d, heads, "T"],
    strides: [2 * qp[1], 2 * qp[0]],
    box: [64, group, 1],
  }),
  // The page table bounds the rows; the map need not know how many pages there are.
  tensorMap("cache_map", {
    of: "cache",
    dtype: "bf16",
    dims: [64, 2 ** 31, (r + d) / 64],
    strides: [2 * (r + d), 128],
    box: [64, 64, chunks],
  }),
];
