// The GPUs there are figures of, by name.
import type { Gpu } from "../../../ir/machine.ts";
import { b200 } from "./b200.ts";
import { h100 } from "./h100.ts";
import { h200 } from "./h200.ts";

export const gpus: Readonly<Record<string, Gpu>> = { h200, h100, b200 };
