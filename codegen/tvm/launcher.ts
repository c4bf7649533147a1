// The launcher of one CUDA kernel as a function of tvm-ffi's ABI, in C: `__tvm_ffi_NAME` checks what it is given and launches,
// `__tvm_ffi__metadata_NAME` and `__tvm_ffi__doc_NAME` say what it takes.
import type { BufferView, KernelRecord } from "../../ir/artifact.ts";
import { boundBuffers, type Param } from "../../ir/kernel/catalogue.ts";
import { printSize } from "../../ir/size.ts";
import { cSize } from "./size.ts";

type Buffer = Extract<Param, { kind: "buffer" }>;
type TensorMap = Extract<Param, { kind: "tensormap" }>;
type DType = Buffer["dtype"];

/** An argument of a launcher, in its order: buffers as the kernel binds them, scalars, then run-time sizes. */
export type Argument =
  | { kind: "tensor"; name: string; dtype: DType; access: Buffer["access"]; view?: BufferView }
  | { kind: "number"; name: string }
  | { kind: "size"; name: string };

const typeNames: Readonly<Record<DType, string>> = { f32: "float32", bf16: "bfloat16", e4m3: "float8_e4m3fn", i32: "int32" };
/** CUtensorMapDataType. */
const mapTypes: Readonly<Record<TensorMap["dtype"], number>> = { e4m3: 0, bf16: 9, f32: 7 };
/** CUtensorMapSwizzle. */
const swizzles = { 0: 0, 32: 1, 64: 2, 128: 3 } as const;

export function argumentsOf(k: KernelRecord): Argument[] {
  const buffers = boundBuffers(k.params).map((name): Argument => {
    const { dtype, access } = bufferOf(k.params, name);
    return { kind: "tensor", name, dtype, access, ...(k.views?.[name] ? { view: k.views[name] } : {}) };
  });
  const scalars = k.params.filter((p) => p.kind === "scalar").map(({ name }): Argument => ({ kind: "number", name }));
  return [...buffers, ...scalars, ...k.dims.map((name): Argument => ({ kind: "size", name }))];
}

/** A buffer that a kernel knows by a tensor map alone is read. */
function bufferOf(params: readonly Param[], name: string): Pick<Buffer, "dtype" | "access"> {
  const plain = params.find((p): p is Buffer => p.kind === "buffer" && p.name === name);
  const map = params.find((p): p is TensorMap => p.kind === "tensormap" && p.of === name);
  return plain ?? { dtype: map!.dtype, access: "in" };
}

function argumentInWords(a: Argument): string {
  if (a.kind !== "tensor") return `${a.name}: ${{ size: "int", number: "float" }[a.kind]}`;
  const shape = a.view && `[${a.view.shape.map(printSize).join(", ")}]`;
  return [`${a.name}: ${typeNames[a.dtype]}`, shape, a.access.replace(/^in$/, "")].filter(Boolean).join(" ");
}

/** "add(a: float32 [n], b: float32 [n], y: float32 [n] out, n: int)" */
export const signatureOf = (name: string, k: KernelRecord): string =>
  `${name}(${argumentsOf(k).map(argumentInWords).join(", ")})`;

/** As tvm-ffi describes the type of a function. */
function schemaOf(args: readonly Argument[]): object {
  const types = { tensor: "Tensor", number: "float", size: "int" } as const;
  return { type: "ffi.Function", args: [{ type: "None" }, ...args.map((a) => ({ type: types[a.kind] }))] };
}

const cString = (text: string): string => JSON.stringify(text).replaceAll("?", "\\?");
const list = (type: string, items: readonly string[]): string => `(const ${type}[]){${items.join(", ")}}`;

function takes(a: Argument, at: number): string {
  if (a.kind === "size") return `  const int64_t ${a.name} = size_at(&call, ${at}, "${a.name}");`;
  if (a.kind === "number") return `  float ${a.name} = number_at(&call, ${at}, "${a.name}");`;
  const view = a.view
    ? `${a.view.shape.length}, ${list("int64_t", a.view.shape.map(cSize))}, ${list("int64_t", a.view.strides.map(cSize))}`
    : "-1, 0, 0";
  return `  void *${a.name} = tensor_at(&call, ${at}, "${a.name}", ${a.dtype.toUpperCase()}, DEVICE_CUDA, ${view});`;
}

const encodes = (p: TensorMap): string =>
  `  TensorMap ${p.name};
  encode(&call, &${p.name}, ${mapTypes[p.dtype]}, ${p.of}, ${p.dims.length}, ${list("uint64_t", p.dims.map(cSize))}, ${list(
    "uint64_t",
    [...p.strides.map(cSize), "0"],
  )}, ${list("uint32_t", p.box.map(String))}, ${swizzles[p.swizzle]});`;

/** The C of a kernel's three functions; `doc` is what its text says of it. */
export function launcher(name: string, k: KernelRecord, doc: string): string {
  const args = argumentsOf(k);
  // Sizes first: shapes are made of them.
  const order = [...args.keys()].toSorted(
    (a, b) => Number(args[a].kind === "tensor") - Number(args[b].kind === "tensor") || a - b,
  );
  const { grid, block, nulls = 0 } = k.launch!;
  const usesSMs = JSON.stringify([grid, k.workspaceBytes ?? 0]).includes('"SMs"');
  const pointers = [
    ...k.params.map((p) => `&${p.name}`),
    ...k.dims.map((d) => `&(int){(int)${d}}`),
    ...Array<string>(nulls).fill("&(void *){0}"),
    ...(k.workspaceBytes === undefined ? [] : ["&workspace"]),
  ];
  const space = k.workspaceBytes === undefined ? "0, 0" : `&workspace, ${cSize(k.workspaceBytes)}`;
  return `/* ${doc
    .split("\n")
    .map((l) => l.replaceAll("*/", "* /"))
    .join("\n   ")} */
int __tvm_ffi_${name}(void *self, const Value *args, int32_t count, Value *result) {
  Call call = begin(${cString(signatureOf(name, k))}, args, count, ${args.length});
${order.map((i) => takes(args[i], i)).join("\n")}
${[
  ...(usesSMs ? ["  const int64_t SMs = multiprocessors(&call);"] : []),
  ...k.params.filter((p) => p.kind === "tensormap").map(encodes),
  ...(k.workspaceBytes === undefined ? [] : ["  void *workspace = 0;"]),
]
  .map((l) => `${l}\n`)
  .join("")}  void *params[] = {${pointers.join(", ")}};
  return launch(&call, &kernel_${name}, ${grid.map(cSize).join(", ")}, ${block}, params, ${space});
}
int __tvm_ffi__metadata_${name}(void *self, const Value *args, int32_t count, Value *result) {
  return text_result(${cString(JSON.stringify({ type_schema: JSON.stringify(schemaOf(args)) }))}, result);
}
int __tvm_ffi__doc_${name}(void *self, const Value *args, int32_t count, Value *result) {
  return text_result(${cString(`${signatureOf(name, k)}\n\n${doc}`)}, result);
}
`;
}
