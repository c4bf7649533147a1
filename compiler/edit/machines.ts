// What trials of an artifact's kernels run on here: the target itself where it is, else what stands in for it.
import type { Manifest } from "../../ir/artifact.ts";
import type { Machine } from "./machine.ts";
import { onCpu } from "./on-cpu.ts";

/** Why there is none, and what is needed. */
export interface NoMachine {
  why: string;
  needs: string;
}

export async function machineFor(m: Manifest): Promise<Machine | NoMachine> {
  if (m.target === "cpu") return onCpu;
  return { why: "there is no GPU", needs: "a GPU, or a C++ compiler" };
}
