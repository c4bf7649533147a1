// Kernels written for sm_100a, the way those of sm_90a lie in ../sm90: none yet, so that every op is a printed tile program.
import { b200 } from "../arch/b200.ts";
import type { Arch } from "../native.ts";

export const sm100: Arch = { name: "sm_100", machine: b200, natives: [], batchInvariant: new Map() };
