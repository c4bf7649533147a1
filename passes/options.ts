// Options of passes: declared like attributes of an op, given as "pass.key" or, where only one pass has the key, as "key".
import { attrProblem, parseAttrs, type AttrKind, type AttrValue } from "../ir/attr.ts";
import { DiagnosticError, didYouMean } from "../ir/diagnostic.ts";
import { badOption, unknownOption } from "./diagnostics.ts";
import type { Pass } from "./pass.ts";

/** Every option of a pipeline as "pass.key". */
const keysOf = (passes: readonly Pass[]): string[] =>
  passes.flatMap((p) => Object.keys(p.options ?? {}).map((k) => `${p.name}.${k}`));

/** Refuses keys that no pass declares and values that do not fit; `passes` is the whole pipeline, not only what runs. */
export function checkOptions(passes: readonly Pass[], given: Readonly<Record<string, string>>): void {
  const known = keysOf(passes);
  for (const [key, text] of Object.entries(given)) {
    const full = known.find((k) => k === key || (!key.includes(".") && k.endsWith(`.${key}`)));
    if (full === undefined) throw new DiagnosticError(unknownOption({ key, near: didYouMean(key, known), known }));
    const [name, option] = [full.slice(0, full.lastIndexOf(".")), full.slice(full.lastIndexOf(".") + 1)];
    const kind = passes.find((p) => p.name === name)!.options![option];
    const problem = attrProblem(kind, valueOf(kind, text));
    if (problem) throw new DiagnosticError(badOption({ key: full, value: text, problem }));
  }
}

/** The options of one pass: what is given, else what it declares. */
export function optionsOf(p: Pass, given: Readonly<Record<string, string>>): Record<string, AttrValue> {
  return Object.fromEntries(
    Object.entries(p.options ?? {}).flatMap(([k, kind]): [string, AttrValue][] => {
      const text = given[`${p.name}.${k}`] ?? given[k];
      const value = text === undefined ? kind.initial : valueOf(kind, text);
      return value === undefined ? [] : [[k, value]];
    }),
  );
}

function valueOf(kind: AttrKind<AttrValue>, text: string): AttrValue {
  if (kind.kind === "word") return text;
  return parseAttrs(`v = ${text}`)?.v ?? text;
}
