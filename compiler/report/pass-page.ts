// The page of one pass, derived from its declaration: options, what its steps look for, and every rule as two graphs over the
// same holes, with their cost at two sizes. Letters of the sizes are those of the rule's holes.
import { costOfFunc, type Cost } from "../../ir/cost.ts";
import { instanceOf, printSide, sideOf } from "../../passes/instance.ts";
import type { Pass, Rule } from "../../passes/index.ts";
import { flops, size } from "./summary.ts";

/** One row of one sequence over a long prefix, and a prompt: what decides for or against most rules. */
const places: Readonly<Record<string, Record<string, number>>> = {
  "one row": { T: 1, t: 1, s: 4096, r: 512, h: 128, n: 128, v: 128, w: 512, d: 64, k: 2048, m: 576, e: 8, p: 4096 },
  "a prompt of 4096": {
    T: 4096,
    t: 4096,
    s: 4096,
    r: 512,
    h: 128,
    n: 128,
    v: 128,
    w: 512,
    d: 64,
    k: 2048,
    m: 576,
    e: 8,
    p: 4096,
  },
};

export function printPassPage(p: Pass): string {
  const lines = [`${p.name}: ${p.summary}`];
  if (p.plugin) lines.push(`from ${p.plugin.file}, sha256 ${p.plugin.digest.slice(0, 16)}`);
  for (const [key, kind] of Object.entries(p.options ?? {}))
    lines.push(
      `option ${p.name}.${key}: ` +
        `${kind.choices?.join(", ") ?? kind.kind}${kind.initial === undefined ? "" : `; ${String(kind.initial)} unless said`}`,
    );
  if (p.fire === "when-cheaper") lines.push("kept only where the whole function costs fewer FLOPs");
  for (const [name, what] of Object.entries(p.steps ?? {})) lines.push("", `step "${name}": looks for ${what}`);
  for (const r of p.rules ?? []) lines.push("", ...rulePage(r, "rule"));
  for (const r of p.equations ?? []) lines.push("", ...rulePage(r, "equation"));
  return lines.join("\n");
}

function rulePage(r: Rule, word: string): string[] {
  const small = instanceOf(r, 1);
  const lines = [
    `${word} "${r.name}": looks for ${r.lookedFor()}`,
    `  ${Object.entries(r.vars)
      .map(([k, t]) => `${k} ${t}`)
      .join(", ")}`,
  ];
  if (r.within) lines.push(`  both sides agree up to one step of ${r.within}`);
  if (r.changes) lines.push(`  changes the function: ${r.changes.why}`);
  for (const side of ["from", "to"] as const)
    lines.push(
      ...printSide(small, side)
        .split("\n")
        .map((l) => `    ${l}`),
    );
  for (const [what, sizes] of Object.entries(places)) lines.push(`  ${what}: ${costs(r, sizes)}`);
  return lines;
}

/** Both sides at these sizes; sizes a rule fixes for itself (sorted rows are tokens times slots) stay in proportion. */
function costs(r: Rule, sizes: Record<string, number>): string {
  const own: Record<string, number> =
    r.sizes?.r !== undefined && r.sizes.T !== undefined ? { r: (sizes.T * r.sizes.r) / r.sizes.T, k: r.sizes.k ?? 2 } : {};
  // Holes are only shapes here: nothing is filled or run.
  const i = instanceOf(r, 0, { ...sizes, ...own });
  const cost = (side: "from" | "to"): Cost => costOfFunc(sideOf(i, side), { B: 1, ...sizes, ...own });
  const [a, b] = [cost("from"), cost("to")];
  const words = (c: Cost): string => `${flops(c.flops)}, ${size(c.bytes)}, ${c.launches} launch${c.launches === 1 ? "" : "es"}`;
  return `${words(a)} become ${words(b)}`;
}
