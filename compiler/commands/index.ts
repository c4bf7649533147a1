// Every command by name, in the order help lists them. A command is loaded when it is the one asked for: compiling needs no
// runtime, and a summary needs no compiler.
import type { CommandModule } from "yargs";
import type { Command } from "../argv.ts";

type Loader = () => Promise<unknown>;

const loaders: Readonly<Record<string, Loader>> = {
  summary: async () => (await import("./summary.ts")).summary,
  compile: async () => (await import("./compile.ts")).compileCommand,
  run: async () => (await import("./run.ts")).run,
  eval: async () => (await import("./eval.ts")).evalCommand,
  opt: async () => (await import("./opt.ts")).opt,
  inspect: async () => (await import("./inspect.ts")).inspect,
  kernel: async () => (await import("./kernel.ts")).kernelCommand,
  bench: async () => (await import("./bench.ts")).bench,
  profile: async () => (await import("./profile.ts")).profile,
  diff: async () => (await import("./diff.ts")).diff,
  report: async () => (await import("./report.ts")).reportCommand,
  plan: async () => (await import("./plan.ts")).planCommand,
  tune: async () => (await import("./tune.ts")).tune,
  why: async () => (await import("./why.ts")).why,
  graph: async () => (await import("./graph.ts")).graph,
  bisect: async () => (await import("./bisect.ts")).bisectCommand,
  ablate: async () => (await import("./ablate.ts")).ablateCommand,
  passes: async () => (await import("./passes.ts")).passesCommand,
  ops: async () => (await import("./ops.ts")).opsCommand,
  plugin: async () => (await import("./plugin.ts")).pluginCommand,
  verify: async () => (await import("./verify.ts")).verifyCommand,
  export: async () => (await import("./export.ts")).exportCommand,
  weights: async () => (await import("./weights.ts")).weights,
  explain: async () => (await import("./explain.ts")).explainCommand,
  doctor: async () => (await import("./doctor.ts")).doctorCommand,
  completion: async () => (await import("./completion.ts")).completionOf(loadCommands),
};

export const commandNames: readonly string[] = Object.keys(loaders);

/** The command of that name, or none. */
export const loadCommand = async (name: string): Promise<(Command & CommandModule) | undefined> =>
  Object.hasOwn(loaders, name) ? ((await loaders[name]()) as Command & CommandModule) : undefined;

export const loadCommands = (): Promise<(Command & CommandModule)[]> =>
  Promise.all(commandNames.map(async (name) => (await loadCommand(name))!));
