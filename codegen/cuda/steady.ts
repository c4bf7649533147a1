// Launches that do not follow the number of rows, for calls in which sequences share a batch and a sequence's bits must not depend on
// the others (--deterministic). A product of few rows and one of many add up k in different orders: one of them has to serve all.
import type { Choice, Chosen } from "../../ir/kernel/catalogue.ts";
import { evaluate, type Size } from "../../ir/size.ts";

/** Rows up to which a step has one form; a session takes no more at once. The largest batch that has a graph of its own. */
export const STEADY_ROWS = 64;

/** The one launch that serves every number of rows: that of 64, or of more where what serves 64 itself follows their number. */
export function steady(choice: Choice): Choice {
  if (!("on" in choice) || !mentionsRows(choice.on)) return choice;
  const rows = evaluate(choice.on, { T: STEADY_ROWS, B: STEADY_ROWS });
  const large = choice.cases.filter((c) => (c.most ?? Infinity) >= rows);
  return (large.find((c) => c.launches.every(holds)) ?? large.at(-1)!).launches;
}

/** Whether a size is one of the whole batch; those of one sequence do not see the others. */
const mentionsRows = (s: Size): boolean => (typeof s === "string" ? s === "T" || s === "B" : typeof s === "object" && s.of.some(mentionsRows));

/** The form that cuts k by the number of all tiles is the same for rows that share one tile only. */
function holds({ problem }: Chosen): boolean {
  const few = /^f(\d+)s/.exec(String(problem.schedule ?? ""));
  return few === null || Number(few[1]) >= STEADY_ROWS;
}
