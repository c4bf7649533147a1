// dsc inspect OUT KERNEL --line N: what a line of a kernel's text is, and where it came from. --op, --key, --tensor: the launches and
// kernels of an op, a config key or a tensor, and of one kernel its lines.
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { targetOf } from "../../../codegen/target.ts";
import type { Manifest } from "../../../ir/artifact.ts";
import { linesOf, type KernelLines, type Line, type LineOrigin } from "../../analysis/lines.ts";
import { plannedFrom } from "../../analysis/planned.ts";
import { optionsFor } from "../../analysis/roofline.ts";
import { originsOf, problemsOf } from "../../artifact/side-files.ts";
import { badValue, notFound } from "../../diagnostics.ts";
import type { Fields } from "../../analysis/fields.ts";
import type { Origins } from "../../analysis/origins.ts";
import { isNamed } from "../../analysis/tensor-name.ts";
import type { Read } from "./artifact.ts";

/** The lines of a kernel with their origins. */
function kernelLines({ manifest, files, text }: Pick<Read, "manifest" | "files" | "text">, kernel: string): KernelLines {
  const file = { ...manifest.system, ...manifest.kernels }[kernel].text;
  const target = known(manifest, text) ? targetOf(manifest.target, optionsFor(plannedFrom(manifest, text))) : undefined;
  return linesOf(
    { kernel, manifest, text: text(file), problem: problemsOf(files)[kernel], ...(target ? { target } : {}) },
    originsOf(files),
  );
}

/** Whether the kernels of an artifact can be printed here: those of plug-ins are not known. */
function known(manifest: Manifest, text: Read["text"]): boolean {
  try {
    plannedFrom(manifest, text);
    return true;
  } catch (e) {
    if (e instanceof DiagnosticError && manifest.options.plugins !== undefined) return false;
    throw e;
  }
}

export function tellLine(read: Read, kernel: string, line: number): void {
  const { lines } = kernelLines(read, kernel);
  if (!Number.isInteger(line) || line < 1 || line > lines.length)
    throw new DiagnosticError(
      badValue(
        `--line ${line}: the text of ${kernel} has lines 1 to ${lines.length}`,
        "dsc inspect OUT KERNEL prints it",
        "--line",
      ),
    );
  const found = lines[line - 1];
  read.say(
    found.origins.map(({ op, keys, tensors, rule, ...more }) => ({ op, keys, tensors, rule, ...named(found), ...more })),
    () => printLine(kernel, found),
  );
}

const named = ({ kind, name, computes }: Line): object => ({
  kind,
  ...(name === undefined ? {} : { [members[kind] ?? "name"]: name }),
  ...(computes ? { computes } : {}),
});
const members: Readonly<Partial<Record<Line["kind"], string>>> = {
  header: "says",
  helper: "helper",
  body: "role",
  statement: "statement",
};

const kinds: Readonly<Record<Line["kind"], string>> = {
  header: "of the comment above the kernel:",
  helper: "the helper",
  definitions: "constants and functions of this kernel",
  entry: "the entry point",
  body: "the kernel's body:",
  statement: "of the tile program's",
};

function printLine(kernel: string, l: Line): string {
  const kind = l.name === undefined ? kinds[l.kind].replace(/:$/, "") : `${kinds[l.kind]} ${l.name}`;
  const out = [`${kernel}, line ${l.line}: ${kind}`, `  ${l.text.trim()}`];
  if (l.computes) out.push(`  computes ${l.computes.join(", ")}`);
  for (const o of l.origins) {
    out.push(`op ${o.op}, at ${shortList(o.sites)}`, `  ${o.graph}`);
    for (const c of o.constants) out.push(`  ${c.text.padEnd(8)} ${c.from}`);
    if (o.keys.length) out.push(`  config   ${o.keys.join(", ")}${o.of === "op" ? " (of the op)" : ""}`);
    for (const t of o.tensors) out.push(`  tensor   ${t}`);
    for (const r of o.rules) out.push(`  rule     ${r}`);
  }
  return `${out.join("\n")}\n`;
}

const MOST = 3;
const shortList = (list: readonly string[]): string =>
  list.length > MOST ? `${list.slice(0, MOST).join(", ")} and ${list.length - MOST} more` : list.join(", ");

/** What is looked for, and how a launch or a line has it. */
export interface Wanted {
  op?: string;
  key?: string;
  tensor?: string;
}

interface Found {
  kernel: string;
  site: string;
  op: string;
  graph: string;
  /** Fields of the kernel's problem that are made of the key. */
  fields?: Record<string, { value: number | string | boolean; from: string }>;
  tensors: string[];
  rules: string[];
}

/** Launches of an op, a key or a tensor, everywhere. */
export function tellWanted({ files, say }: Read, w: Wanted, out: string): void {
  const o = originsOf(files);
  check(o, w, out);
  const found = o.launches.flatMap((l): Found[] => {
    const node = l.node === undefined ? undefined : o.nodes[l.node];
    if (!node) return [];
    const fields = w.key === undefined ? undefined : madeOf(o.fields[l.fields], w.key);
    if (w.op !== undefined && l.op !== w.op && node.op !== w.op) return [];
    if (w.tensor !== undefined && !node.tensors.some((t) => isNamed(t, w.tensor!))) return [];
    if (w.key !== undefined && !node.keys.includes(w.key) && !Object.keys(fields!).length) return [];
    const { tensors, rules, line } = node;
    return [{ kernel: l.kernel, site: l.site, op: l.op, graph: line, ...(fields ? { fields } : {}), tensors, rules }];
  });
  say(found, () => printFound(found));
}

/** Lines of one kernel that an op, a key or a tensor is in. */
export function tellLines(read: Read, kernel: string, w: Wanted, out: string): void {
  check(originsOf(read.files), w, out);
  const { lines } = kernelLines(read, kernel);
  const has = (o: LineOrigin): boolean =>
    (w.op === undefined || o.op.split(" of ").includes(w.op)) &&
    (w.key === undefined || (o.of === "line" && o.keys.includes(w.key))) &&
    (w.tensor === undefined || (o.of === "line" && o.tensors.some((t) => isNamed(t, w.tensor!))));
  const found = lines
    .filter((l) => l.kind !== "header" && l.kind !== "helper")
    .flatMap((l) => {
      const of = l.origins.find(has);
      return of
        ? [{ line: l.line, text: l.text, ...named(l), op: of.op, keys: of.keys, tensors: of.tensors, rule: of.rule }]
        : [];
    });
  read.say(found, () => found.map((l) => `${String(l.line).padStart(5)}  ${l.text}\n`).join("") || "no line of it\n");
}

const madeOf = (fields: Fields, key: string): NonNullable<Found["fields"]> =>
  Object.fromEntries(
    Object.entries(fields).flatMap(([k, { value, from, keys }]) => (keys.includes(key) ? [[k, { value, from }]] : [])),
  );

/** Refuses what no launch has, with what is near. */
function check(o: Origins, { op, key, tensor }: Wanted, out: string): void {
  const refuse = (what: string, wanted: string, all: Iterable<string>): never => {
    throw new DiagnosticError(notFound({ what: `${what} ${wanted}`, where: out, word: wanted, known: [...new Set(all)] }));
  };
  if (op !== undefined && !o.launches.some((l) => l.op === op) && !o.nodes.some((n) => n.op === op))
    refuse("op", op, [...o.launches.map((l) => l.op), ...o.nodes.map((n) => n.op)]);
  const keys = [...o.nodes.flatMap((n) => n.keys), ...o.fields.flatMap((f) => Object.values(f).flatMap((x) => x.keys))];
  if (key !== undefined && !keys.includes(key)) refuse("config key", key, keys);
  if (tensor !== undefined && !o.nodes.some((n) => n.tensors.some((t) => isNamed(t, tensor))))
    refuse(
      "tensor",
      tensor,
      o.nodes.flatMap((n) => n.tensors.map((t) => t.replace(/ \(.*$/, "")).flatMap((t) => [t, ...t.split(".").slice(-2, -1)])),
    );
}

function printFound(found: readonly Found[]): string {
  const by = new Map<string, Found[]>();
  for (const f of found) by.set(f.kernel, [...(by.get(f.kernel) ?? []), f]);
  return [...by]
    .map(([kernel, all]) => {
      const fields = Object.entries(all[0].fields ?? {}).map(([k, f]) => `  ${k} = ${String(f.value)}: ${f.from}`);
      return [
        `${kernel} (${all[0].op}) at ${shortList([...new Set(all.map((f) => f.site))])}`,
        `  ${all[0].graph}`,
        ...fields,
        "",
      ].join("\n");
    })
    .join("");
}
