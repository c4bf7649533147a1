// All that can be known of a plug-in before it is used: its types, that it loads, what it brings held to its ops, its rules
// proved, and its passes proved on small models of both kinds, FP8 and bf16.
import { statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { compile, defaults } from "../compile.ts";
import { loadPlugins } from "../driver/plugins.ts";
import type { Pass } from "../../passes/index.ts";
import { typeErrors } from "./type-check.ts";

/** One line of what was found. */
export interface Finding {
  what: string;
  says: string;
  proved: boolean;
}

/** What is known of a plug-in: findings, warnings, and what TypeScript says of it. */
export interface Checked {
  findings: Finding[];
  warnings: Diagnostic[];
  /** Of the types; nothing else was tried where there are any. */
  errors: Diagnostic[];
}

const examples = fileURLToPath(
  new URL(import.meta.url.includes("/dist/") ? "../../../examples/" : "../../examples/", import.meta.url),
);

/** The models that a plug-in is proved on unless another is named: R1 is FP8, the printed model bf16. */
const models = ["deepseek-r1", "printed-model"].map((m) => path.join(examples, m, "config.json"));

/** Checks a plug-in's file or package. Throws what loading or proving it finds. */
export async function checkPlugin(file: string, src?: string, options: Readonly<Record<string, string>> = {}): Promise<Checked> {
  const errors = /\.[cm]?tsx?$/.test(file) && statSync(file, { throwIfNoEntry: false })?.isFile() ? await typeErrors(file) : [];
  if (errors.length) return { findings: [], warnings: [], errors };
  const { pipeline, brings } = await loadPlugins(undefined, [file], { config: false, cards: true });
  const own = pipeline.filter((p) => p.plugin);
  const findings: Finding[] = [
    ...(errors.length === 0 && /\.[cm]?tsx?$/.test(file) ? [{ what: "types", says: "hold", proved: true }] : []),
    ...brings.held.map(({ what, says, proved }) => ({ what, says, proved })),
    ...own.flatMap(rulesOf),
  ];
  const warnings: Diagnostic[] = [];
  for (const model of src === undefined ? models : [src]) {
    const c = compile(model, { ...defaults, shrink: true, brings, passOptions: options }, pipeline);
    const full = path.resolve(model);
    const name = path.basename(path.basename(full) === "config.json" ? path.dirname(full) : full, ".json");
    findings.push(...c.proofs.map((p) => ({ what: `pass ${p.pass} on ${name}, made small`, says: p.says, proved: p.proved })));
    warnings.push(
      ...c.warnings.filter((w) => w.code === "DSC3003" && !warnings.some((o) => o.title.split(":")[0] === w.title.split(":")[0])),
    );
  }
  return { findings, warnings, errors };
}

const rulesOf = (p: Pass): Finding[] =>
  [...(p.rules ?? []), ...(p.equations ?? [])].map((r) => ({
    what: `rule "${r.name}" of ${p.name}`,
    says: "its sides are equal",
    proved: true,
  }));
