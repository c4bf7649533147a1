// The processor that kernels of loops are compiled for: the one that was asked for, or what this machine is.
import { processorOf, processors, type Processor } from "../../codegen/loops/processor.ts";
import { inLibrary } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { machineFlags } from "../../runtime/devices/native/flags.ts";
import { badValue } from "../diagnostics.ts";
import type { CompileOptions } from "./options.ts";

/** For targetOf; nothing for targets that have none. Throws DSC6001 for a name that is none. */
export function processorFor({ target, arch }: Pick<CompileOptions, "target" | "arch">): { processor?: Processor } {
  if (!inLibrary(target)) return {};
  const known = processors.filter((p) => target === "c" || !p.matrix);
  const processor = arch === undefined ? thisProcessor(target === "c") : known.find((p) => p.name === arch);
  if (processor) return { processor };
  const names = known.map((p) => p.name).join(", ");
  throw new DiagnosticError(
    arch === undefined
      ? badValue(
          `kernels in a library are for processors of x64 and arm64, and this is ${process.arch}`,
          "use --target cpu",
          "--target",
        )
      : badValue(`--arch ${arch}: there is no such processor`, `give one of ${names}, or leave it out`, "--arch"),
  );
}

/** What this machine is, with registers of tiles where they are asked for; undefined where kernels of loops are for none like it. */
export const thisProcessor = (matrix = false): Processor | undefined => processorOf(process.arch, machineFlags(), matrix);
