// The page of one op, derived from its declaration, a rule or model that uses it, and the choosers of the targets.
import { targets } from "../../ir/artifact.ts";
import { familiesOf } from "../../codegen/choose.ts";
import { isComposed } from "../../codegen/parts.ts";
import type { AttrKind, AttrValue } from "../../ir/attr.ts";
import type { Op } from "../../ir/op.ts";
import { everyNode, printFunc } from "../../ir/print.ts";
import { instanceOf, sideOf, standard } from "../../passes/index.ts";

/** Ops that become strides, calls or loops: no kernel is needed. */
const planned: Readonly<Record<string, string>> = {
  weight: "a place in memory",
  param: "a place in memory",
  call: "a call of another function's steps",
  reshape: "strides, or a copy where strides cannot say it",
  split: "strides",
  map_sequences: "a loop over sequences",
  map_experts: "sort, gather, a loop over experts, combine",
  stack: "placement: bytes are read where they belong",
  pad: "placement: bytes are read where they belong",
  join_rows: "placement: bytes are read where they belong",
  join_experts: "placement: bytes are read where they belong",
};

/** Which targets serve an op, and with what. */
export function kernelsFor(o: Op): { targets: string[]; how: string } {
  if (o.name in planned) return { targets: ["plan"], how: `planned: ${planned[o.name]}` };
  if (isComposed(o.name))
    return {
      targets: [...targets],
      how: "the kernels of its parts, one after another; cuda may have a native kernel of the whole (dsc why OUT kernels)",
    };
  if (o.traits.meets) return { targets: ["cpu"], how: "ranks: what joins them runs it between launches (runtime/ranks)" };
  const names = familiesOf(o.name).map((f) => f.name);
  if (!names.length) return { targets: [], how: "no kernel: a pass has to replace it" };
  const family = `tile ${names.length > 1 ? "families" : "family"} ${names.join(" and ")}`;
  return {
    targets: [...targets],
    how: `${family}: lowered for cpu, printed for cuda and triton; cuda may have a native kernel for a problem (dsc why OUT kernels)`,
  };
}

const kindOf = (k: AttrKind<AttrValue>): string =>
  `${k.choices?.join(" | ") ?? k.kind}${k.initial === undefined ? ", required" : ` = ${String(k.initial)}`}`;

export const opFacts = (o: Op): Record<string, unknown> => ({
  name: o.name,
  summary: o.summary,
  ins: o.signature.ins,
  outs: o.signature.outs,
  attrs: Object.fromEntries(Object.entries(o.attrs).map(([k, v]) => [k, kindOf(v)])),
  reference: o.reference !== undefined,
  kernels: kernelsFor(o),
});

export function printOp(o: Op): string {
  const camel = o.name.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
  const lines = [`${o.name}: ${o.summary}`, ""];
  const section = (title: string, rows: readonly [string, string][]): void => {
    const width = Math.max(0, ...rows.map(([k]) => k.length)) + 2;
    if (rows.length) lines.push(title, ...rows.map(([k, v]) => `  ${k.padEnd(width)}${v}`));
  };
  section("operands (? may be left out, ... any number)", Object.entries(o.signature.ins));
  section(
    "attributes",
    Object.entries(o.attrs).map(([k, v]) => [k, kindOf(v)]),
  );
  section(
    "results",
    Object.entries(o.signature.outs).map(([k, v]) => [k, v === "[..] a" ? "computed from the operands" : v]),
  );
  if (o.ins.length)
    lines.push(
      "",
      `builder: ${camel}({ ` +
        `${[...Object.keys(o.signature.ins).map((k) => k.replace(/\?|\.\.\./g, "")), ...Object.keys(o.attrs)].join(", ")} ` +
        "})",
    );
  const line = example(o);
  if (line) lines.push(`text:    ${line}`);
  lines.push(
    "",
    `kernels: ${kernelsFor(o).how}`,
    `reference: ${o.reference ? "in float64, dsc verify and every test of a kernel judge by it" : "the interpreter itself"}`,
  );
  return lines.join("\n");
}

/** A line of text with this op, from a rule that uses it. */
function example(o: Op): string | undefined {
  for (const r of standard.flatMap((p) => [...(p.rules ?? []), ...(p.equations ?? [])]))
    for (const side of ["from", "to"] as const) {
      const f = sideOf(instanceOf(r, 1), side);
      if (!everyNode(f).some((n) => n.op === o)) continue;
      return printFunc(f)
        .split("\n")
        .find((l) => l.includes(` = ${o.name} `))
        ?.trim()
        .replace(/ +:/, " :");
    }
  return undefined;
}
