// The launcher of one CUDA kernel as a function of tvm-ffi's ABI, in C: `__tvm_ffi_NAME` checks what it is given and launches.
import type { KernelRecord } from "../../ir/artifact.ts";
import type { Param } from "../../ir/kernel/catalogue.ts";
import { described, documented, head, list, takeArguments } from "./arguments.ts";
import { cSize } from "./size.ts";

type TensorMap = Extract<Param, { kind: "tensormap" }>;
/** CUtensorMapDataType. */
const mapTypes: Readonly<Record<TensorMap["dtype"], number>> = { e4m3: 0, bf16: 9, f32: 7 };
/** CUtensorMapSwizzle. */
const swizzles = { 0: 0, 32: 1, 64: 2, 128: 3 } as const;

const encodes = (p: TensorMap): string =>
  `  TensorMap ${p.name};
  encode(&call, &${p.name}, ${mapTypes[p.dtype]}, ${p.of}, ${p.dims.length}, ${list("uint64_t", p.dims.map(cSize))}, ${list(
    "uint64_t",
    [...p.strides.map(cSize), "0"],
  )}, ${list("uint32_t", p.box.map(String))}, ${swizzles[p.swizzle]});`;

/** The C of a kernel's three functions; `doc` is what its text says of it. */
export function launcher(name: string, k: KernelRecord, doc: string): string {
  const { grid, block, nulls = 0 } = k.launch!;
  const usesSMs = JSON.stringify([grid, k.workspaceBytes ?? 0]).includes('"SMs"');
  const pointers = [
    ...k.params.map((p) => `&${p.name}`),
    ...k.dims.map((d) => `&(int){(int)${d}}`),
    ...Array<string>(nulls).fill("&(void *){0}"),
    ...(k.workspaceBytes === undefined ? [] : ["&workspace"]),
  ];
  const space = k.workspaceBytes === undefined ? "0, 0" : `&workspace, ${cSize(k.workspaceBytes)}`;
  return `${documented(doc)}
${head(name)}
${takeArguments(name, k, "DEVICE_CUDA")}
${[
  ...(usesSMs ? ["  const int64_t SMs = multiprocessors(&call);"] : []),
  ...k.params.filter((p) => p.kind === "tensormap").map(encodes),
  ...(k.workspaceBytes === undefined ? [] : ["  void *workspace = 0;"]),
]
  .map((l) => `${l}\n`)
  .join("")}  void *params[] = {${pointers.join(", ")}};
  return launch(&call, &kernel_${name}, ${grid.map(cSize).join(", ")}, ${block}, params, ${space});
}
${described(name, k, doc)}`;
}
