// What a pass did to a function, as changed lines of its text. Texts number values anew after every pass; here a value that is the same
// in both keeps the name it had, so only what the pass changed differs.
import { createHash } from "node:crypto";
import { pairs } from "./pairs.ts";

/** A line of a difference: what went, what came, what stayed beside it. */
export interface DiffLine {
  mark: "-" | "+" | " ";
  text: string;
}

export interface FunctionDiff {
  function: string;
  /** Functions of other entries in which the same lines changed. */
  also: string[];
  lines: DiffLine[];
  removed: number;
  added: number;
}

/** Lines around a change. */
const CONTEXT = 1;

interface Statement {
  text: string;
  results: string[];
  /** What it computes, whatever names stand in it. */
  meaning: string;
}

const NAME = /%[\w.]+/g;
const hash = (text: string): string => createHash("sha1").update(text).digest("hex").slice(0, 16);

/** The statements of a function's text with their meanings: names stand for what they were made of. */
function statementsOf(text: string): Statement[] {
  const meanings = new Map<string, string>();
  const known = (s: string): string => s.replaceAll(NAME, (n) => meanings.get(n) ?? n);
  return text.split("\n").map((line): Statement => {
    const head = /^func @\S+\(/.test(line);
    const [, left, right] = /^\s*((?:%[\w.]+(?:, )?)+) = (.*)$/.exec(line) ?? [];
    if (left === undefined) return { text: line, results: [], meaning: head ? "func" : known(line).trim() };
    const results = left.split(", ");
    // A region's parameters are known by what they are given.
    const region = /\{ \(([^)]*)\) ->$/.exec(right);
    const params = [...(region?.[1].matchAll(NAME) ?? [])].map(([n]) => n);
    const made = known(params.reduce((r, p) => r.replaceAll(p, "%"), right)).replace(/ {2,}/g, " ");
    const meaning = hash(made);
    params.forEach((p, i) => meanings.set(p, `<${meaning}/${i}>`));
    results.forEach((r, i) => meanings.set(r, `<${meaning}.${i}>`));
    return { text: line, results, meaning };
  });
}

/** The text of a function after a pass, with the names that its values had before where they are the same values. */
function renamed(before: readonly Statement[], after: readonly Statement[]): string[] {
  const names = new Map<string, string>();
  const was = new Map(before.map((s) => [s.meaning, s]));
  const taken = new Set<string>();
  for (const s of after) {
    const same = was.get(s.meaning);
    if (same?.results.length !== s.results.length) continue;
    s.results.forEach((r, i) => names.set(r, same.results[i]));
    for (const r of same.results) taken.add(r);
  }
  // What computes the like from something else stands for what it was: one line changed, not all below it.
  const left = before.filter((s) => s.results.length && !s.results.every((r) => taken.has(r)));
  for (const s of after) {
    if (!s.results.length || s.results.every((r) => names.has(r))) continue;
    const like = left.findIndex((b) => shape(b.text) === shape(s.text));
    if (like < 0) continue;
    const [same] = left.splice(0, like + 1).slice(-1);
    s.results.forEach((r, i) => names.set(r, same.results[i]));
    for (const r of same.results) taken.add(r);
  }
  // What is new keeps a name that says something; a number that another value had becomes one that nobody had.
  const all = new Set(before.flatMap((s) => s.results));
  let next = 0;
  for (const r of after.flatMap((s) => s.results)) {
    if (names.has(r)) continue;
    let name = r;
    if (/^%\d+$/.test(r) || taken.has(r))
      do name = `%new${next++ || ""}`;
      while (all.has(name) || taken.has(name));
    names.set(r, name);
    taken.add(name);
  }
  return after.map((s) => s.text.replaceAll(NAME, (n) => names.get(n) ?? n));
}

const shape = (line: string): string => line.replaceAll(NAME, "%").replace(/ {2,}/g, " ");
const compact = (line: string): string => line.replace(/ {2,}(?=:)/, " ").trimEnd();

/** The changed lines of a function; none where a pass left it as it was. */
function changedLines(before: string, after: string): DiffLine[] {
  if (before === after) return [];
  const [from, to] = [statementsOf(before), statementsOf(after)];
  const a = from.map((s) => compact(s.text));
  const b = renamed(from, to).map(compact);
  const out: DiffLine[] = [];
  let [i, j] = [0, 0];
  for (const [x, y] of [...pairs(a, b), [a.length, b.length] as const]) {
    while (i < x) out.push({ mark: "-", text: a[i++] });
    while (j < y) out.push({ mark: "+", text: b[j++] });
    if (i < a.length) out.push({ mark: " ", text: a[i] });
    [i, j] = [i + 1, j + 1];
  }
  return out.some((l) => l.mark !== " ") ? out : [];
}

/** Changed lines with those beside them. */
function withContext(lines: readonly DiffLine[]): DiffLine[] {
  const near = (i: number): boolean => lines.slice(Math.max(0, i - CONTEXT), i + CONTEXT + 1).some((l) => l.mark !== " ");
  return lines.flatMap((l, i) => {
    if (near(i)) return [l];
    return i > 0 && near(i - 1) ? [{ mark: " " as const, text: "  ..." }] : [];
  });
}

/** What changed between two modules' functions, by name; functions that changed alike are told together. */
export function graphDiff(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): FunctionDiff[] {
  const by = new Map<string, FunctionDiff>();
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const lines = withContext(changedLines(before.get(name) ?? "", after.get(name) ?? ""));
    if (!lines.length) continue;
    const entry = name.split("/")[0];
    const changed = lines.filter((l) => l.mark !== " ").map((l) => `${l.mark}${l.text}`);
    const key = changed.join("\n").replaceAll(`@${entry}`, "@");
    const known = by.get(key);
    if (known) known.also.push(name);
    else
      by.set(key, {
        function: name,
        also: [],
        lines,
        removed: lines.filter((l) => l.mark === "-").length,
        added: lines.filter((l) => l.mark === "+").length,
      });
  }
  return [...by.values()];
}
