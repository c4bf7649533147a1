// Few rows: a product of them is the reading of its weights, and takes its neighbours in.
import { asTensor, sizeOf, type Assume, type Value } from "../../ir/index.ts";

/** Rows at which a function's cost is judged, up to which reading the weights is all of a product's time. */
export const FEW = 16;

/** Why a product keeps its neighbours apart, or null: more rows are better normed once than by every block of a product. */
export function tooMany(x: Value, assume: Assume): string | null {
  const rows = sizeOf(asTensor(x.type).dims[0], assume);
  return rows > FEW
    ? `${rows} rows at the sizes assumed: a product of more than ${FEW} does other work than reading weights`
    : null;
}
