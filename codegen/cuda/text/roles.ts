// Kernels whose warps have roles: producers copy, consumers multiply, others do what is left.
import { indented } from "./lines.ts";
import { role } from "./marks.ts";
import { when } from "../../text.ts";

/** A branch for each role: its name, the condition on the warp (none of the last, which all other warps have), and what it does. */
export const roles = (...branches: readonly (readonly [name: string, condition: string | null, text: string])[]): string =>
  branches
    .map(([name, condition, text]) => `${when(condition, `if (${condition}) `)}{\n${role(name, indented(text))}\n}`)
    .join(" else ");
