// The texts of a library of kernels: vectors.h, and library.c, which includes every kernel and gives each a launcher that takes its
// arguments as numbers in a row. An address is below 2^53, so a double holds it.
import type { KernelRecord } from "../../ir/artifact.ts";
import { nameOf } from "./expression.ts";
import { vectorsHeader } from "./vectors.ts";

/** What begins the name of a launcher; the kernel's name follows. */
const LAUNCHER = "dsc_";

const pointers = { f32: "float", bf16: "bf16", e4m3: "e4m3", i32: "int32_t" } as const;

/** What the runtime asks of a library beside its kernels (runtime/devices/native/library.ts). */
const services = `// Whether some element of so many 32-bit words has all bits of its exponent set: adding the lowest of them carries.
EXPORT void dsc_any_special(double at, double words, uint32_t exponent, uint32_t one, uint32_t carry, double *special) {
  const uint32_t *p = (const uint32_t *)(intptr_t)at;
  uint32_t found = 0;
  for (int64_t i = 0; i < (int64_t)words; i++) found |= (p[i] & exponent) + one;
  *special = (found & carry) != 0;
}
`;

/** A launcher: its arguments lie at args + from. */
function launcher(name: string, { entry, params, dims }: Pick<KernelRecord, "entry" | "params" | "dims">): string {
  const args = [
    ...params.map((p, i) => (p.kind === "buffer" ? `(${pointers[p.dtype]} *)(intptr_t)args[from + ${i}]` : "0")),
    ...dims.map((_, i) => `(int64_t)args[from + ${params.length + i}]`),
  ];
  const own = nameOf(entry);
  return [
    `#define ${own} kernel_${name}`,
    `#include "${name}.c"`,
    `#undef ${own}`,
    `EXPORT void ${LAUNCHER}${name}(const double *args, int64_t from, int64_t begin, int64_t end, char *scratch) {`,
    `  kernel_${name}(begin, end, scratch, ${args.join(", ")});`,
    "}",
  ].join("\n");
}

/** Every file that a library is made of beside the kernels' own, by path in the artifact. */
export function libraryFiles(
  kernels: Readonly<Record<string, KernelRecord>>,
  { lanes, matrix }: { lanes: number; matrix?: boolean },
): Map<string, string> {
  const text = [
    "// All kernels of this artifact, each with a launcher: args are addresses and sizes in the order of its parameters.",
    '#include "vectors.h"',
    "",
    '#define EXPORT __attribute__((visibility("default")))',
    services,
    ...Object.entries(kernels).map(([name, k]) => `${launcher(name, k)}\n`),
  ];
  return new Map([
    ["kernels/vectors.h", vectorsHeader(lanes, matrix)],
    ["kernels/library.c", text.join("\n")],
  ]);
}
