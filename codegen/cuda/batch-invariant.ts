// Launches that do not follow the number of rows, for calls in which sequences share a batch and a sequence's bits must not depend on
// the others (--deterministic). A product of few rows and one of many add up k in different orders: one of them has to serve all.
import type { Choice } from "../../ir/kernel/catalogue.ts";
import { evaluate, type Size } from "../../ir/size.ts";

/** Rows up to which a step has one form; a session takes no more at once. The largest batch that has a graph of its own. */
export const BATCH_INVARIANT_ROWS = 64;

/** The one launch that serves every number of rows: that of 64, whose order of sums does not follow how many rows share a tile. */
export function withoutCases(choice: Choice): Choice {
  if (!("on" in choice) || !mentionsRows(choice.on)) return choice;
  const rows = evaluate(choice.on, { T: BATCH_INVARIANT_ROWS, B: BATCH_INVARIANT_ROWS });
  return choice.cases.find((c) => (c.most ?? Infinity) >= rows)!.launches;
}

/** Whether a size is one of the whole batch; those of one sequence do not see the others. */
const mentionsRows = (s: Size): boolean =>
  typeof s === "string" ? s === "T" || s === "B" : typeof s === "object" && s.of.some(mentionsRows);
