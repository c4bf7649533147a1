// The ledger of R1: an entry for every rule in every function, at values by the names the graph is printed with, and costs that
// add up to what the cost model says of the whole function.
import path from "node:path";
import { expect, test } from "vitest";
import { costOfFunc } from "../../ir/cost.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { standard } from "../../passes/index.ts";

const { outcome } = compile(path.resolve(import.meta.dirname, "../../examples/deepseek-r1"), defaults);
const { entries } = outcome.ledger;
const functions = [...outcome.snapshots[0].module.funcs.keys()];

test("every rule of every pass has an entry in every function, fired or with a reason", () => {
  for (const p of standard)
    for (const rule of [...(p.rules ?? []), ...(p.equations ?? [])].map((r) => r.name))
      for (const f of functions)
        expect(
          entries.some((e) => e.pass === p.name && e.rule === rule && e.site === f),
          `${p.name}: ${rule} in ${f}`,
        ).toBe(true);
  for (const e of entries)
    expect(e.outcome === "fired" ? e.count > 0 : (e.reason ?? "").length > 10, JSON.stringify(e)).toBe(true);
});

test("steps that are no equation have theirs", () => {
  for (const p of standard)
    for (const step of Object.keys(p.steps ?? {}))
      expect(
        entries.some((e) => e.pass === p.name && e.rule === step),
        `${p.name}: ${step}`,
      ).toBe(true);
});

test("launches of the firings are those of the function before and after the pass", () => {
  for (const [i, { pass, module }] of outcome.snapshots.entries()) {
    if (i === 0 || pass === "absorb-mla" || pass === "load") continue;
    for (const f of functions) {
      const before = costOfFunc(outcome.snapshots[i - 1].module.funcs.get(f)!);
      const after = costOfFunc(module.funcs.get(f)!);
      const fired = entries.filter((e) => e.pass === pass && e.site === f && e.outcome === "fired");
      // Firings found together carry the same, whole difference.
      const whole = fired.find((e) => e.together);
      const rules = fired.filter((e) => !e.together);
      const sum = rules.reduce((n, e) => n + e.delta!.launches, 0) + (whole?.delta!.launches ?? 0);
      expect(sum, `${pass} in ${f}`).toBe(after.launches - before.launches);
    }
  }
});

test("a site is named as it is printed", () => {
  const entry = entries.find(
    (e) => e.rule === "add, normalise, keep the row and its codes" && e.site === "decode/moe_layer" && e.outcome === "fired",
  );
  expect(entry).toMatchObject({ at: "z", count: 1, delta: { launches: -2 } });
});
