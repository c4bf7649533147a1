// What can be completed: commands, their options, and what may stand after an option or at a place of a command's line.
import { ops } from "../../ir/ops/index.ts";
import { standard } from "../../passes/index.ts";
import { entries } from "../explain/index.ts";
import { nameOf, type Command } from "../argv.ts";
import { declaredBy } from "../taking.ts";

export interface CommandWords {
  name: string;
  describe: string;
  options: { name: string; describe: string; takesValue: boolean; values: readonly string[] }[];
  /** By place after the command, from 1. */
  places: Readonly<Record<number, readonly string[]>>;
  /** The place that takes a kernel of the artifact before it. */
  kernelAt?: number;
}

/** Options whose value may be several names with commas. */
export const lists: readonly string[] = ["passes"];

export function wordsOf(commands: readonly Command[]): CommandWords[] {
  const passes = standard.map((p) => p.name);
  const places: Readonly<Record<string, Record<number, readonly string[]>>> = {
    why: { 2: [...passes, "kernels"] },
    passes: { 1: passes },
    ops: { 1: ops.map((o) => o.name) },
    explain: { 1: [...entries.keys()] },
    help: { 1: commands.map(nameOf) },
  };
  const values: Readonly<Record<string, readonly string[]>> = {
    after: ["frontend", ...passes],
    passes: ["all", "none", ...passes],
  };
  const all = commands.map((c): CommandWords => {
    const { options: known, descriptions: described } = declaredBy(c.builder);
    const positional = [...c.command.matchAll(/[<[](\w+)/g)].map((m) => m[1]);
    const names = Object.keys(known.key).filter(
      (k) => !/[A-Z]/.test(k) && k.length > 1 && !positional.includes(k) && k !== "version",
    );
    const chosen = (of: string): readonly string[] => known.choices[of]?.map(String) ?? values[of] ?? [];
    return {
      name: nameOf(c),
      describe: c.describe,
      options: names.map((name) => ({
        name,
        describe: described[name]?.replace(/^__yargsString__:/, "") ?? "",
        takesValue: !known.boolean.includes(name),
        values: chosen(name),
      })),
      places: {
        ...Object.fromEntries(positional.flatMap((p, i) => (chosen(p).length ? [[i + 1, chosen(p)]] : []))),
        ...places[nameOf(c)],
      },
      ...(["inspect", "kernel"].includes(nameOf(c)) ? { kernelAt: positional.indexOf("name") + 1 } : {}),
    };
  });
  return [
    ...all,
    { name: "help", describe: "the help of a command", options: [], places: places.help },
    { name: "version", describe: "the version of dsc", options: [], places: {} },
  ];
}
