// A library of kernels of the processor as one C file: every kernel of an artifact of target c behind a function of tvm-ffi's ABI, which
// checks what it is given and runs all grid cells on the thread of its caller. It needs libc alone.
import type { CpuFacts, KernelRecord } from "../../ir/artifact.ts";
import { nameOf } from "../c/expression.ts";
import { described, documented, head, listed, takeArguments } from "./arguments.ts";
import { call } from "./call.ts";
import { cSize } from "./size.ts";

export interface HostExported {
  name: string;
  record: KernelRecord;
  /** What the kernel's text says of it, in lines. */
  doc: string;
}

/** Refuses machines without the instructions. Compilers know levels of x86-64 by name since gcc 12 and clang 17. */
const levelOf = (processor: string): string => processor.replace(/-amx$/, "");

const checked = ({ processor }: Pick<CpuFacts, "processor">): string => `
static void can_run(Call *call) {
#if defined(__x86_64__) && (__clang_major__ >= 17 || (!defined(__clang__) && __GNUC__ >= 12))
  if (!__builtin_cpu_supports("${levelOf(processor)}"))
    fail(call, "RuntimeError", "it is compiled for ${processor}, and this processor lacks some of it");
#endif
}

/* Scratch of one call; a kernel that has none gets none. */
static char *scratch_of(Call *call, size_t bytes) {
  char *const p = call->failed || !bytes ? 0 : aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (bytes && !p) fail(call, "MemoryError", "there is no memory for %zu bytes of scratch", bytes);
  return p;
}
`;

const types = { f32: "float", bf16: "bf16", e4m3: "e4m3", i32: "int32_t" } as const;

function launcher({ name, record, doc }: HostExported): string {
  const { entry, params, dims, cells = 1, scratchBytes = 0 } = record;
  const own = nameOf(entry);
  const buffers = params.map((p) => (p.kind === "buffer" ? `(${types[p.dtype]} *)${p.name}` : "0"));
  return `#define ${own} kernel_${name}
#include "${name}.c"
#undef ${own}
${documented(doc)}
__attribute__((visibility("default"))) ${head(name)}
${takeArguments(name, record, "DEVICE_CPU")}
  can_run(&call);
  char *const dsc_scratch = scratch_of(&call, ${scratchBytes});
  if (!call.failed) kernel_${name}(0, ${cSize(cells)}, dsc_scratch, ${[...buffers, ...dims].join(", ")});
  free(dsc_scratch);
  return call.failed ? -1 : 0;
}
#pragma GCC visibility push(default)
${described(name, record, doc)}#pragma GCC visibility pop
`;
}

/** `note` opens the file; texts of the kernels and vectors.h lie beside it. Only the functions of the ABI are seen. */
export function hostLibrary(kernels: readonly HostExported[], cpu: Pick<CpuFacts, "processor">, note: string): string {
  return `/* ${note} */
#include "vectors.h"
#include <stdlib.h>
${call}${checked(cpu)}
${kernels.map(launcher).join("\n")}
#pragma GCC visibility push(default)
${listed(kernels.map((k) => k.name))}`;
}
