// The architectures kernels can be compiled for. Adding one is a folder beside sm90, a machine in arch/ and a line here.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { unknownArch } from "../diagnostics.ts";
import type { Arch } from "./native.ts";
import { sm90 } from "./sm90/natives.ts";
import { sm100 } from "./sm100/natives.ts";

export const archs: readonly Arch[] = [sm90, sm100];

/**
 * One of them, or of those that plug-ins brought, as --arch names it, or as an artifact names what its kernels were compiled for; the
 * first where nothing is said.
 */
export function archOf(name: string = archs[0].name, brought: readonly Arch[] = []): Arch {
  const all = [...archs, ...brought];
  const found = all.find((a) => a.name === name || a.machine.arch === name);
  if (!found) throw new DiagnosticError(unknownArch({ name, known: all.map((a) => a.name) }));
  return found;
}
