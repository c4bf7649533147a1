// Which experts kernels without scales take.
import { asTensor, mapExperts, type Node } from "../../ir/index.ts";
import type { Body } from "../contract.ts";

/** The experts of a function whose matrices are all in bf16: those of a model that is stored in f32 are not. */
export const bf16Experts = (b: Body): Node[] =>
  b.all(mapExperts).filter(({ operands: [, , , ...stacked] }) => stacked.every((v) => asTensor(v.type).dtype === "bf16"));
