// Every diagnostic's long form: one table for `dsc explain`, for docs/diagnostics.md and for the test that holds both to the code.
import * as ofCpu from "../../codegen/cpu/diagnostics.ts";
import * as ofCuda from "../../codegen/cuda/printed/diagnostics.ts";
import * as ofNatives from "../../codegen/cuda/sm90/diagnostics.ts";
import * as ofTargets from "../../codegen/diagnostics.ts";
import * as ofOnnx from "../../codegen/onnx/diagnostics.ts";
import * as ofRelax from "../../codegen/relax/diagnostics.ts";
import * as ofTriton from "../../codegen/triton/diagnostics.ts";
import { codesIn, type Form } from "../../ir/diagnostic.ts";
import * as ofGraphs from "../../ir/diagnostics.ts";
import * as ofTilePrograms from "../../ir/kernel/diagnostics.ts";
import * as ofPasses from "../../passes/diagnostics.ts";
import * as ofPlugins from "../../passes/plugin-diagnostics.ts";
import * as ofCommands from "../diagnostics.ts";
import * as ofConfigs from "../frontend/diagnostics.ts";
import * as ofTheRuntime from "../../runtime/diagnostics.ts";
import * as ofTheCard from "../../runtime/devices/cuda/diagnostics.ts";
import * as ofTvm from "../../runtime/tvm/diagnostics.ts";

/** What `dsc explain CODE` and docs/diagnostics.md say about a code. */
export type Entry = Pick<Form<never>, "name" | "means" | "example" | "fix">;

/** The files that hold codes. */
const modules = [
  ofGraphs,
  ofTilePrograms,
  ofPasses,
  ofPlugins,
  ofTargets,
  ofCpu,
  ofCuda,
  ofNatives,
  ofRelax,
  ofTriton,
  ofOnnx,
  ofConfigs,
  ofTheRuntime,
  ofTheCard,
  ofTvm,
  ofCommands,
];

/** The long form of every code, in their order. */
export const entries: ReadonlyMap<string, Entry> = new Map(
  modules
    .flatMap(codesIn)
    .map(({ code, form: { name, means, example, fix } }) => [code, { name, means, example, fix }] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1)),
);

/** What the first digit of a code says it is about. */
const sections: Readonly<Record<string, string>> = {
  1: "Configs",
  2: "The graph and tile programs",
  3: "Passes",
  4: "Targets and kernels",
  5: "Artifacts, checkpoints, devices",
  6: "The command line",
  9: "Faults of dsc or of a plug-in",
};

/** The long form for a terminal. */
export function explained(code: string, e: Entry): string {
  const indent = (text: string): string =>
    text
      .split("\n")
      .map((l) => `  ${l}`)
      .join("\n");
  return [
    `${code}: ${e.name}`,
    "",
    indent(wrap(e.means)),
    "",
    "For example:",
    indent(e.example),
    "",
    "What to do:",
    indent(wrap(e.fix)),
  ].join("\n");
}

/** docs/diagnostics.md. */
export function page(): string {
  const out = [
    "# Diagnostics",
    "",
    "<!-- Made by npm run docs from the diagnostics.ts of every folder. Edit there. -->",
    "",
    "Every failure has a code that does not change, says where it is, why it was expected otherwise and what to try.",
    "`dsc explain CODE` prints what stands here. Codes: 1xxx configs, 2xxx the graph, 3xxx passes, 4xxx targets, 5xxx the runtime,",
    "6xxx the command line, 9xxx faults of dsc or of a plug-in. Lines that begin with `$` can be run in a checkout.",
  ];
  for (const [digit, title] of Object.entries(sections)) {
    out.push("", `## ${title}`);
    for (const [code, e] of entries)
      if (code.startsWith(`DSC${digit}`))
        out.push("", `### ${code}: ${e.name}`, "", e.means, "", ...e.example.split("\n").map((l) => `    ${l}`), "", e.fix);
  }
  return out.join("\n") + "\n";
}

/** Lines of at most 100 columns. */
function wrap(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    if (lines.length === 0 || lines.at(-1)!.length + word.length > 98) lines.push(word);
    else lines[lines.length - 1] += ` ${word}`;
  }
  return lines.join("\n");
}
