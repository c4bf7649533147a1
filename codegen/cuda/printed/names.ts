// The C++ names of a printed kernel.
import type { Kernel } from "../../../ir/kernel/stmt.ts";
import { tileNames, type Names } from "../../tile-names.ts";

export type { Names } from "../../tile-names.ts";

/** Words that generated text uses itself, and keywords that are likely names. */
const reserved = new Set(
  (
    "auto bool break case char class const continue default delete do double else enum extern false float for goto " +
    "if inline int long new operator private public register return short signed sizeof static struct switch " +
    "template this throw true try typedef union unsigned using void volatile while u8 u16 u32 i64 min max abs expf " +
    "logf floorf fabsf fmaf lane warp cell turn step q e r c shared threadIdx blockIdx"
  ).split(" "),
);

/** All names of a kernel. Loop variables keep short names: `r`, `c`, `e` and `q` of generated loops are avoided. */
export const namesOf = (kernel: Kernel): Names => tileNames(kernel, reserved, "_buffer");
