// The files of an artifact that are there to be read, not run: origins.json, ledger.json, problems.json, instead.json. Their bytes are
// those the manifest has digests of; here their form is checked, so that what prints them meets no surprise. What is wrong ends in DSC5003.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Instead, Problem } from "../../ir/kernel/catalogue.ts";
import type { Entry } from "../../passes/index.ts";
import { brokenFile } from "../../runtime/diagnostics.ts";
import { boolean, finite, list, map, maybe, members, oneOf, text, whole, wrong, type Check } from "../../runtime/schema.ts";
import { ORIGINS, type Origins } from "../analysis/origins.ts";

type Files = ReadonlyMap<string, Uint8Array>;

function parsed<T>(files: Files, name: string, check: Check): T {
  const bytes = files.get(name);
  if (!bytes) throw brokenFile({ path: name, why: "it is not among the files of the manifest" });
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (e) {
    throw brokenFile({ path: name, why: `it is not JSON: ${(e as Error).message}` });
  }
  try {
    check(value, "");
  } catch (e) {
    throw e instanceof DiagnosticError ? brokenFile({ path: name, why: e.diagnostics[0].notes.join("; ") }) : e;
  }
  return value as T;
}

/** What prints from a file: a value that its form let through and that says nothing is the file's fault, not a fault of dsc. */
export function printing<T>(name: string, print: () => T): T {
  try {
    return print();
  } catch (e) {
    throw e instanceof TypeError || e instanceof RangeError
      ? brokenFile({ path: name, why: `what it says makes no sense: ${e.message}` })
      : e;
  }
}

const cost = members({ bytes: finite, flops: finite, launches: finite }, true);
const entry = members(
  {
    pass: text,
    rule: text,
    site: text,
    at: maybe(text),
    outcome: oneOf("fired", "declined", "refused", "unmatched", "none"),
    count: whole(),
    reason: maybe(text),
    changes: maybe(text),
    delta: maybe(cost),
    together: maybe(boolean),
  },
  true,
);
/** The entries of ledger.json. */
export const ledgerOf = (files: Files): Entry[] => parsed(files, "ledger.json", list(entry));

const texts = list(text);
const node = members(
  { function: text, op: text, results: texts, line: text, row: whole(), tensors: texts, keys: texts, from: texts, rules: texts },
  true,
);
const launch = members({ kernel: text, site: text, op: text, node: maybe(whole()), fields: whole() }, true);
const leaf: Check = (v, at) => (["string", "boolean"].includes(typeof v) ? undefined : finite(v, at));
const field = members({ value: leaf, from: text, keys: texts }, true);
const run: Check = (v, at) => {
  list(() => undefined, 2, 4)(v, at);
  const [line, kind, name, ops] = v as unknown[];
  whole(1)(line, `${at}[0]`);
  oneOf("header", "helper", "definitions", "entry", "body", "statement")(kind, `${at}[1]`);
  if (name !== undefined && name !== null) text(name, `${at}[2]`);
  if (ops !== undefined) texts(ops, `${at}[3]`);
};
const size: Check = (v, at) =>
  typeof v === "object" && v !== null && !Array.isArray(v)
    ? members({ op: oneOf("add", "mul", "ceildiv", "div", "max", "min"), of: list(size) })(v, at)
    : typeof v === "number"
      ? finite(v, at)
      : text(v, at);
const tenant = members({ name: text, slot: whole(), bytes: size, first: whole(), last: whole() });
const parts = members(
  {
    schema: oneOf(ORIGINS),
    nodes: list(node),
    launches: list(launch),
    fields: list(map(field)),
    kernels: map(members({ lines: list(run) }, true)),
    functions: map(members({ buffers: list(tenant) }, true)),
    config: map(text),
    system: maybe(map(field)),
  },
  true,
);
/** Launches name nodes and fields by their places in the lists. */
const origins: Check = (v, at) => {
  parts(v, at);
  const { nodes, fields, launches } = v as Origins;
  for (const [i, { node: serves, fields: made }] of launches.entries()) {
    if (serves !== undefined && serves >= nodes.length)
      wrong(`${at}.launches[${i}].node`, serves, `a place among ${nodes.length} nodes`);
    if (made >= fields.length) wrong(`${at}.launches[${i}].fields`, made, `a place among ${fields.length} records of fields`);
  }
};
/** origins.json (compiler/analysis/origins.ts). */
export const originsOf = (files: Files): Origins => parsed(files, "origins.json", origins);

const value: Check = (v, at) => {
  if (Array.isArray(v)) return list(value)(v, at);
  if (typeof v === "object" && v !== null) return map(value)(v, at);
  if (typeof v === "number") return finite(v, at);
  return ["string", "boolean"].includes(typeof v)
    ? undefined
    : wrong(at, v, "a number, a text, true or false, a list or a record of such");
};
/** Problems of kernels by kernel name. */
export const problemsOf = (files: Files): Record<string, Problem> => parsed(files, "problems.json", map(map(value)));

/** Why other hand-written kernels do not run, by the kernel that does; none where no target has several. */
export const insteadOf = (files: Files): Record<string, readonly Instead[]> =>
  files.has("instead.json") ? parsed(files, "instead.json", map(list(members({ family: text, reason: text }, true)))) : {};
