// What a plug-in brings beside passes: its shape, and its names beside those that are taken.
import { archs } from "../../codegen/cuda/archs.ts";
import { emittersOf } from "../../codegen/cuda/native.ts";
import { families } from "../../codegen/kernels/index.ts";
import { DiagnosticError, didYouMean, type Diagnostic } from "../../ir/diagnostic.ts";
import { knownActivations } from "../../ir/activation.ts";
import { ops } from "../../ir/ops/index.ts";
import { pluginShape as shape } from "../../passes/plugin-diagnostics.ts";
import type { Brings } from "../plugin/brings.ts";
import { foundFunction } from "../plugin/library.ts";
import { API, type Plugin } from "../plugin/plugin.ts";

const pluginShape = (file: string, what: string, problem: string, help?: string): Diagnostic =>
  shape({ file, what, problem, help });

const fields = [
  "name",
  "version",
  "ops",
  "activations",
  "kernels",
  "natives",
  "functions",
  "schedules",
  "passes",
  "reports",
  "targets",
  "api",
] as const;

const HELP =
  "plugin({ name, ops, activations, kernels, natives, functions, schedules, passes, reports, targets }); docs/plugins.md has whole ones";

/** Refuses what is no plug-in by its shape, or was made for another version of dsc. */
export function pluginShapes(file: string, p: Plugin): void {
  const say = (what: string, problem: string, help = HELP): never => {
    throw new DiagnosticError(pluginShape(file, what, problem, help));
  };
  if (p.api !== API)
    say(
      `is made for another dsc`,
      `it was made for plug-in API ${String(p.api)}, and this dsc has ${API}`,
      "install the version of dsc that it was made for",
    );
  if (typeof p.name !== "string" || !/^[a-z][a-z0-9-]*$/.test(p.name))
    say(`is named ${JSON.stringify(p.name)}`, "a plug-in has a name of its own, in kebab-case");
  for (const k of Object.keys(p)) {
    const near = didYouMean(k, fields);
    if (!(fields as readonly string[]).includes(k))
      say(`brings ${k}`, `there is nothing of that name to bring${near ? `; did you mean ${near}?` : ""}`);
  }
  for (const k of ["ops", "activations", "kernels", "functions", "schedules", "passes", "reports", "targets"] as const)
    if (p[k] !== undefined && !Array.isArray(p[k])) say(`brings ${k} that are no list`, `${k}: [...]`);
  const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
  if (p.natives !== undefined && !isRecord(p.natives)) say("brings natives that are no record", "natives: { sm_90: [...] }");
  const bad = (list: readonly unknown[] | undefined, has: (v: unknown) => boolean): number =>
    (list ?? []).findIndex((v) => !has(v));
  const made: [string, number, string][] = [
    ["ops", bad(p.ops, (v) => typeof v === "function" && "op" in v), "made with op(...) or fused(...)"],
    [
      "activations",
      bad(p.activations, (v) => isRecord(v) && typeof v.value === "function" && typeof v.tile === "function"),
      "made with activation(...)",
    ],
    [
      "kernels",
      bad(p.kernels, (v) => isRecord(v) && typeof v.match === "function" && typeof v.kernel === "function"),
      "made with family(...)",
    ],
    [
      "natives",
      bad(
        Object.values(p.natives ?? {}).flat(),
        (v) => isRecord(v) && typeof v.match === "function" && typeof v.emit === "function",
      ),
      "made with native(...)",
    ],
    [
      "functions",
      bad(p.functions, (v) => isRecord(v) && typeof v.pass === "function" && typeof v.library === "string"),
      "made with libraryFunction(...)",
    ],
    [
      "schedules",
      bad(
        p.schedules,
        (v) =>
          isRecord(v) && typeof v.native === "string" && Array.isArray(v.rows) && isRecord(v.schedule) && isRecord(v.problem),
      ),
      "made with schedule(...)",
    ],
    [
      "reports",
      bad(
        p.reports,
        (v) => isRecord(v) && typeof v.name === "string" && (typeof v.graph === "function" || typeof v.plan === "function"),
      ),
      "{ name, summary, graph or plan }",
    ],
    [
      "targets",
      bad(p.targets, (v) => isRecord(v) && typeof v.name === "string" && isRecord(v.machine) && Array.isArray(v.natives)),
      "an architecture: { name, machine, natives, batchInvariant }",
    ],
  ];
  for (const [k, at, how] of made) if (at >= 0) say(`brings ${k} of another kind`, `number ${at + 1} of its ${k} is not ${how}`);
}

/** What plug-ins bring so far with one more; names that are taken are refused. */
export function joined(file: string, digest: string, p: Plugin, before: Brings): Brings {
  const { words, kernels } = before;
  const ownOps = (p.ops ?? []).map((o) => o.op);
  const natives = Object.fromEntries(
    [...new Set([...Object.keys(kernels.natives), ...Object.keys(p.natives ?? {})])].map((arch) => [
      arch,
      [...(p.natives?.[arch] ?? []), ...(kernels.natives[arch] ?? [])],
    ]),
  );
  const allArchs = [...archs, ...kernels.archs, ...(p.targets ?? [])];
  const texts = [
    ...Object.keys(families),
    ...archs.flatMap((a) => emittersOf(a.natives).map((n) => n.family)),
    ...kernels.families.map((f) => f.name),
    ...Object.values(kernels.natives).flatMap((list) => emittersOf(list).map((n) => n.family)),
    ...kernels.functions.map((f) => f.name),
  ];
  free(
    file,
    "op",
    ownOps.map((o) => o.name),
    [...ops.map((o) => o.name), ...words.ops.map((o) => o.name)],
  );
  free(
    file,
    "activation",
    (p.activations ?? []).map((a) => a.name),
    [...knownActivations(), ...words.activations.map((a) => a.name)],
  );
  const ownTexts = [
    ...(p.kernels ?? []).map((f) => f.name),
    ...Object.values(p.natives ?? {}).flatMap((l) => emittersOf(l).map((n) => n.family)),
    ...(p.functions ?? []).map((f) => f.name),
  ];
  free(file, "kernel", ownTexts, texts);
  free(
    file,
    "target",
    (p.targets ?? []).map((a) => a.name),
    [...archs, ...kernels.archs].map((a) => a.name),
  );
  free(
    file,
    "plug-in",
    [p.name],
    before.files.map((f) => f.name),
  );
  const stranger = Object.keys(p.natives ?? {}).find((arch) => !allArchs.some((a) => a.name === arch));
  if (stranger !== undefined)
    throw new DiagnosticError(
      pluginShape(
        file,
        `brings natives of ${stranger}`,
        `the architectures are ${allArchs.map((a) => a.name).join(", ")}`,
        "write natives: { sm_90: [...] }",
      ),
    );
  return {
    words: { ops: [...words.ops, ...ownOps], activations: [...words.activations, ...(p.activations ?? [])] },
    kernels: {
      families: [...(p.kernels ?? []), ...kernels.families],
      natives,
      schedules: [...kernels.schedules, ...(p.schedules ?? [])],
      archs: [...kernels.archs, ...(p.targets ?? [])],
      functions: [...(p.functions ?? []).map((f) => foundFunction(file, f)), ...kernels.functions],
    },
    held: before.held,
    files: [...before.files, { name: p.name, ...(p.version === undefined ? {} : { version: p.version }), file, digest }],
  };
}

/** Refuses names that are there already, and one that is not written as they are. */
function free(file: string, what: string, own: readonly string[], taken: readonly string[]): void {
  const twice = own.find((n, i) => taken.includes(n) || own.indexOf(n) !== i);
  if (twice !== undefined)
    throw new DiagnosticError(
      pluginShape(
        file,
        `takes a name that is taken: ${twice}`,
        `there is ${/^[aeiou]/.test(what) ? "an" : "a"} ${what} ${twice} already`,
        `give the ${what} another name`,
      ),
    );
  const odd = own.find((n) => typeof n !== "string" || !/^[a-z][a-z0-9_-]*$/.test(n));
  if (odd !== undefined)
    throw new DiagnosticError(
      pluginShape(
        file,
        `names ${what} ${JSON.stringify(odd)}`,
        "names are small letters, digits and _",
        `give the ${what} another name`,
      ),
    );
}
