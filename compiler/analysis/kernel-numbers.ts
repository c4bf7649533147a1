// The numbers of a kernel's text and of the lines above it, and what is said of those that no field of its problem makes.
import type { TargetBackend } from "../../codegen/backend.ts";
import type { Manifest } from "../../ir/artifact.ts";
import type { Problem, Segment } from "../../ir/kernel/catalogue.ts";
import { numbered } from "./aligned.ts";
import { numeralsOf, type Numeral, type Numerals } from "./constants.ts";
import { leavesOf, type Fields } from "./fields.ts";

/** What is known of a kernel of an artifact. */
export interface KernelFacts {
  kernel: string;
  manifest: Manifest;
  text: string;
  problem: Problem | undefined;
  /** Absent where its family is not known here, or prints another text now. */
  target?: Pick<TargetBackend, "sourceOf" | "system">;
}

/** The numbers of every line of a kernel; undefined where it cannot be printed again as it is. */
export function numbersOf({ kernel, manifest, text, problem, target }: KernelFacts): Numerals | undefined {
  if (manifest.system?.[kernel]) {
    const { vocab } = manifest.model;
    const ranks = manifest.mesh !== undefined;
    const of = (ids: number): string => target!.system!(ids, ranks).find((t) => t.name === kernel)!.source;
    return target?.system && numbersBelow(text, { vocab }, (p) => of((p as { vocab: number }).vocab));
  }
  const { family } = manifest.kernels[kernel];
  return problem && target && numbersBelow(text, problem, (p) => target.sourceOf(family, p));
}

function numbersBelow(text: string, problem: object, print: (p: object) => string): Numerals | undefined {
  const own = printable(() => print(problem));
  if (own === undefined || !text.endsWith(own)) return undefined;
  const above = text
    .slice(0, text.length - own.length)
    .split("\n")
    .slice(0, -1);
  const { lines, fixed } = numeralsOf(own, problem, print);
  return { lines: [...above.map((line) => headerNumbers(line, problem)), ...lines], fixed };
}

/** A text, or undefined where its family is not known here: a plug-in's. */
function printable(print: () => string): string | undefined {
  try {
    return print();
  } catch (e) {
    if (e instanceof TypeError) return undefined;
    throw e;
  }
}

/** The numbers of a line that stands above a text: of a problem as JSON, each is the field that it stands at. */
function headerNumbers(line: string, problem: object): Numeral[] {
  const json = JSON.stringify(problem);
  const from = line.indexOf(json);
  const paths = [...leavesOf(problem)].flatMap(([path, v]) => (typeof v === "number" ? [path] : []));
  const numbers = from < 0 ? [] : [...json.matchAll(NUMBER_OF_JSON)].filter((m) => !m[0].startsWith('"'));
  // A sign is no part of a number of a text.
  const by = new Map(numbers.map((m, i) => [from + m.index + 1 + (m[0].startsWith("-") ? 1 : 0), paths[i]]));
  return numbered(line).numbers[0].map((n) => ({ ...n, fields: by.has(n.column) ? [by.get(n.column)!] : [] }));
}

const NUMBER_OF_JSON = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/g;

interface OfLine {
  kind: Segment["kind"];
  name: string;
  /** Sizes that the kernel is written for. */
  fixed: readonly string[];
  fields: Fields;
}

/** What is said of a number that no field makes. */
export function ownWords({ kind, name, fixed, fields }: OfLine): string {
  if (kind === "helper") return `the text of the helper ${name}`;
  const said = kind === "header" ? headers[name] : undefined;
  if (said !== undefined) return said;
  const sizes = fixed.map((path) => `${path}${fields[path] ? ` (${fields[path].from})` : ""}`);
  return `the kernel's own text${sizes.length ? `, which is written for one ${sizes.join(", one ")}` : ""}`;
}

/** By what a line of a header says. */
const headers: Readonly<Record<string, string>> = {
  "name and family": "part of a name",
  "op and place": "part of a name",
  origins: "part of a name",
  operands: "part of a name",
  floor: "the floor of one launch, or the sizes that it is for",
  cost: "what one launch moves and computes, or the sizes that it is for",
  "entry point": "a line of this text",
};
