// What `dsc kernel` says of tests and times, for a person.
import { firstWrong, type Report } from "../edit/hold.ts";
import type { ResultError, WrongElement } from "../edit/judge.ts";
import { table } from "./table.ts";

const short = (x: number): string => (x === 0 ? "0" : x >= 0.001 && x < 1000 ? x.toPrecision(2) : x.toExponential(1));

/** "element [3, 17] of codes is 0.5; 0.25 expected, within 1e-5; 12 of 768 are off". */
const wrongInWords = (w: WrongElement): string =>
  `element ${w.index} of ${w.result} is ${w.value}, and ${w.expected} is expected` +
  `${w.limit ? ` within ${short(w.limit)}` : ""}; ${w.wrong} of ${w.of} elements are off`;

/** What is wrong, in one line, of a report in which something is. */
export function faultOf(r: Report): string {
  const { at, wrong } = firstWrong(r)!;
  return at.fault?.problem ?? wrongInWords(wrong!);
}

const row = (x: ResultError): string[] => [
  x.result,
  short(x.error),
  short(x.limit),
  x.wrong ? "wrong" : x.limit === 0 ? "" : `${((100 * x.error) / x.limit).toFixed(0)} %`,
  short(x.original),
  x.measure,
];

/** Every case of a test with the largest error of each result beside its limit. */
export function printReport(r: Report, edited: boolean): string {
  const out: string[] = [];
  for (const site of new Set(r.cases.map((c) => c.site))) {
    const rows = r.cases
      .filter((c) => c.site === site)
      .flatMap((c) => [
        ...c.results.map((x, i) => [i === 0 ? `  ${c.case}` : "", ...row(x)]),
        ...(c.fault ? [[`  ${c.case}`, c.fault.problem, "", "", "wrong", "", ""]] : []),
      ]);
    const plain = edited ? rows : rows.map((x) => x.toSpliced(5, 1, ""));
    out.push(
      ...table(
        [site, "result", "error", "limit", "of it", edited ? "as compiled" : "", "measured as parts"],
        plain,
        [2, 3, 4, 5],
      ),
      "",
    );
  }
  for (const l of r.left) out.push(`not tried: ${l}`);
  out.push(verdict(r));
  return `${out.join("\n")}\n`;
}

/** One line. */
export function verdict(r: Report): string {
  const against = r.against.join(" and ");
  if (!r.proved)
    return `${r.kernel}: wrong, held to ${against} on ${r.where}: ${r.cases.length ? faultOf(r) : "nothing was tried"}`;
  const all = r.cases.flatMap((c) => c.results);
  const worst = all.reduce((a, x) => Math.max(a, x.limit === 0 ? 0 : x.error / x.limit), 0);
  const host = r.on === "host" ? "; no GPU has run it" : "";
  const cases = `${r.cases.length} case${r.cases.length === 1 ? "" : "s"}`;
  const error = `largest error ${(100 * worst).toFixed(0)} % of its limit`;
  return `${r.kernel}: held to ${against} at ${cases} on ${r.where}; ${error}${host}`;
}
