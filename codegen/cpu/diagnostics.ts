// What the CPU lowering refuses, by name. A tile program that reaches it has passed its own checks, so these are rare.
import { didYouMean, place, thrown } from "../../ir/diagnostic.ts";
import { undeclaredBuffer, withoutGrid } from "../tile-diagnostics.ts";

export const unboundName = thrown<{ name: string; known: string[] }>("DSC4201", {
  name: "CPU lowering: a name without a value",
  means: "An index expression names nothing in scope.",
  example: "load x[j, ...] inside grid i",
  fix: "Use a name in scope; the note lists them.",
  at: ({ name }) => [place(name)],
  short: ({ name, known }) => {
    const near = didYouMean(name, known);
    return {
      title: `the tile program uses ${name} before it has a value`,
      notes: [`in scope: ${known.join(", ") || "nothing"}`],
      help: near ? `did you mean ${near}?` : "give it a value first: an axis of the grid, a loop, a scalar or a dim",
    };
  },
});

export const unknownBuffer = undeclaredBuffer("DSC4202", "CPU lowering");

export const undefinedTile = thrown<{ kernel: string; name: string }>("DSC4203", {
  name: "CPU lowering: a tile read before it is written",
  means: "Tiles have no value until a load, fill or map gives them one.",
  example: "acc += part without acc = 0 before",
  fix: "Fill or load it first.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, name }) => ({
    title: `kernel ${kernel}: tile ${name} is read before it is written`,
    help: "load it, fill it or compute it first",
  }),
});

export const needsGrid = withoutGrid("DSC4204", "CPU lowering");
