// A pass from outside as one is declared: its name, its fields, and its rules proved before anything runs.
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { unknownPass } from "../../passes/diagnostics.ts";
import { pluginShape, ruleRefuted } from "../../passes/plugin-diagnostics.ts";
import { deepFreeze } from "../../ir/freeze.ts";
import { counterexample, type Pass, type Rule } from "../../passes/index.ts";
import { BUDGET_S, timedOut, withinBudget } from "./plugin-gate.ts";
import { thrownAt, withoutExit } from "./plugin-blame.ts";
import { reasonOf } from "./plugin-module.ts";

/** A pass has a name of its own, in kebab-case. */
export function named(file: string, p: Pass): void {
  if (typeof p.name !== "string")
    throw new DiagnosticError(
      pluginShape({
        file,
        what: "exports no pass",
        problem: `its default export has ${p.name === undefined ? "no name" : `the name ${JSON.stringify(p.name)}`}`,
      }),
    );
  if (!/^[a-z][a-z0-9-]*$/.test(p.name))
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `names a pass ${JSON.stringify(p.name)}`,
        problem: `the name ${JSON.stringify(p.name)} is not in kebab-case`,
        help: `write ${kebab(p.name)}`,
      }),
    );
}

const kebab = (name: string): string => {
  const word = name
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "");
  return word === "" ? "my-pass" : word;
};

const keys = [
  "name",
  "summary",
  "rules",
  "equations",
  "steps",
  "options",
  "fire",
  "run",
  "whole",
  "planned",
  "promises",
  "before",
  "after",
  "hides",
  "plugin",
];

/** A pass as one is declared, its rules proved. */
export function checked(file: string, p: Pass, pipeline: readonly Pass[]): Pass {
  named(file, p);
  const say = (problem: string, help?: string): never => {
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `declares pass ${p.name} wrongly`,
        problem: `pass ${p.name} ${problem}`,
        help: help ?? "docs/plugins.md has a whole one",
      }),
    );
  };
  for (const k of Object.keys(p)) {
    const near = didYouMean(k, keys);
    if (!keys.includes(k))
      say(
        `has a field ${k}${near ? `; did you mean ${near}?` : ""}`,
        `fields of a pass: ${keys.filter((x) => x !== "plugin").join(", ")}`,
      );
  }
  if (typeof p.summary !== "string") say("has no summary", "summary: a sentence that dsc passes shows");
  for (const k of ["rules", "equations", "promises"] as const)
    if (p[k] !== undefined && !Array.isArray(p[k])) say(`has ${k} that are no list`);
  for (const k of ["run", "whole", "planned"] as const)
    if (p[k] !== undefined && typeof p[k] !== "function") say(`has a ${k} that is no function`);
  for (const k of ["run", "whole", "planned"] as const)
    if (p[k]?.constructor.name === "AsyncFunction")
      say(`has an async ${k}: a pass gives its result, not a Promise`, `leave async out`);
  if (p.fire !== undefined && p.fire !== "always" && p.fire !== "when-cheaper")
    say(`has fire ${JSON.stringify(p.fire)}`, 'fire is "always" or "when-cheaper"');
  if (!p.rules?.length && !p.run && !p.whole && !p.planned) say("has neither rules nor run nor whole nor planned");
  if (p.hides !== undefined && !Array.isArray(p.hides)) say("has hides that are no list of names", 'hides: ["pack-gate-up"]');
  const names = pipeline.map((x) => x.name);
  for (const h of p.hides ?? [])
    if (!names.includes(h))
      throw new DiagnosticError([
        pluginShape({ file, what: `hides a pass that is not there`, problem: `pass ${p.name} hides ${JSON.stringify(h)}` }),
        unknownPass({ name: String(h), near: didYouMean(String(h), names), names }),
      ]);
  for (const rule of [...(p.rules ?? []), ...(p.equations ?? [])]) {
    if (typeof rule?.sides !== "function" || typeof rule.left !== "function") say("has a rule that was not made with rule(...)");
    proveRule(file, p, rule);
  }
  return deepFreeze(p);
}

function proveRule(file: string, p: Pass, rule: Rule): void {
  let found: ReturnType<typeof counterexample>;
  try {
    found = withoutExit(() => withinBudget(() => counterexample(rule)));
  } catch (e) {
    const { notes, span } = thrownAt(e, file);
    const reason = timedOut(e) ? [`proving it did not end in ${BUDGET_S} s`] : reasonOf(e);
    throw new DiagnosticError(
      ruleRefuted(
        {
          file,
          pass: p.name,
          rule: rule.name,
          seed: 1,
          holes: Object.entries(rule.vars).map(([k, t]) => `${k} ${t}`),
          problem: [...reason, ...notes].join("; "),
        },
        span,
      ),
    );
  }
  if (found)
    throw new DiagnosticError(
      ruleRefuted({ file, pass: p.name, rule: rule.name, seed: found.seed, holes: found.holes, problem: found.problem }),
    );
}
