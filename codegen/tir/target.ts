// TVM as a target: the same loops over vectors that are printed as C (codegen/c/target.ts), as TIR. TVM compiles them in a process of its
// own and is not there when they run (compiler/tvm/library.ts).
import { factsOf, loopsTarget, type Printing } from "../c/target.ts";
import type { TargetBackend } from "../backend.ts";
import type { Families } from "../choose.ts";
import { families } from "../kernels/index.ts";
import type { Heading } from "../sections.ts";
import type { Processor } from "../loops/processor.ts";
import { lowerToTir } from "./lower.ts";
import { printScript } from "./script.ts";
import { services } from "./services.ts";

/** What begins the name under which a kernel is exported. */
export const EXPORTED = "dsc_";

/** Architectures as LLVM names them. */
const archs = { x64: "x86_64", arm64: "aarch64" } as const;
const systems: Readonly<Partial<Record<NodeJS.Platform, string>>> = { darwin: "apple-darwin" };

/** TVM's target for a processor. */
export const targetFor = ({ name, arch }: Processor): Record<string, string> => ({
  kind: "llvm",
  mtriple: `${archs[arch]}-${systems[process.platform] ?? "unknown-linux-gnu"}`,
  mcpu: arch === "x64" ? name : "generic",
});

/** Whether it multiplies and adds at once. */
export const fuses = ({ arch, requires }: Processor): boolean => arch === "arm64" || requires.includes("fma");

const about = [
  "What the runtime asks of the library beside its kernels. Kernels lie beside this file, one each, and are exported as dsc_NAME:",
  "arguments of a launch are 64-bit floats in a row from `first` on, addresses and sizes in the order of the kernel's parameters;",
  "grid cells begin .. end are one thread's, and so is the memory at `scratch`.",
];

const heading = about.map((line): Heading => ["summary", line]);

const inTir = (processor: Processor): Printing => ({
  target: "tvm",
  textType: "py",
  print(loops, kernel, head) {
    const tir = lowerToTir(loops, kernel, fuses(processor));
    return { text: printScript(tir, head), tir };
  },
  library() {
    const target = targetFor(processor);
    return {
      files: new Map([["kernels/library.tvmscript", printScript(services[0], heading).toString()]]),
      facts: factsOf(processor, [`-mtriple=${target.mtriple}`, `-mcpu=${target.mcpu}`]),
      tvm: { services, target },
    };
  },
});

/** Throws a diagnostic for activations that are not f32. */
export const tvmTarget = (
  options: { activations: "f32" | "bf16"; processor: Processor },
  among: Families = families,
): TargetBackend => loopsTarget(options, among, inTir(options.processor));
