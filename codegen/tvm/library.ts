// A library of launchers as one C file: every CUDA kernel of an artifact behind a function of tvm-ffi's ABI, machine code inside.
import type { KernelRecord } from "../../ir/artifact.ts";
import { listed } from "./arguments.ts";
import { call } from "./call.ts";
import { driver } from "./driver.ts";
import { launcher } from "./launcher.ts";

export interface Exported {
  name: string;
  record: KernelRecord;
  /** What the kernel's text says of it, in lines. */
  doc: string;
  /** The file with its machine code, as the assembler finds it. */
  binary: string;
}

/** `note` opens the file. Symbols of the machine code are local; only the functions of the ABI are seen. */
export function library(kernels: readonly Exported[], note: string): string {
  return `/* ${note} */
${call}${driver}
${kernels.map(image).join("")}
#pragma GCC visibility push(default)
${kernels.map((k) => launcher(k.name, k.record, k.doc)).join("\n")}
${listed(kernels.map((k) => k.name))}`;
}

function image({ name, record, binary }: Exported): string {
  const { sharedBytes, cluster = [0, 0, 0] } = record.launch!;
  return `__asm__(".section .rodata\\n.balign 64\\nimage_${name}: .incbin \\"${binary}\\"\\n.byte 0\\n.previous");
extern const unsigned char image_${name}[] __attribute__((visibility("hidden")));
static Kernel kernel_${name} = {"${record.entry}", image_${name}, ${sharedBytes}, {${cluster.join(", ")}}, 0, 0};
`;
}
