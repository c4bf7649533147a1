// Kernels whose warps have roles: producers copy, consumers multiply, others do what is left.
import { indented } from "./lines.ts";
import { when } from "../../text.ts";

/** A branch for each role: by the condition on the warp, the last without one where all other warps have it. */
export const roles = (...branches: readonly (readonly [condition: string | null, text: string])[]): string =>
  branches.map(([condition, text]) => `${when(condition, `if (${condition}) `)}{\n${indented(text)}\n}`).join(" else ");
