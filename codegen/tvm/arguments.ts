// What a launcher takes and says of itself, in C and in words: `__tvm_ffi__metadata_NAME` and `__tvm_ffi__doc_NAME` give it to callers.
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
export const list = (type: string, items: readonly string[]): string => `(const ${type}[]){${items.join(", ")}}`;

function takes(a: Argument, at: number, device: string): string {
  if (a.kind === "size") return `  const int64_t ${a.name} = size_at(&call, ${at}, "${a.name}");`;
  if (a.kind === "number") return `  float ${a.name} = number_at(&call, ${at}, "${a.name}");`;
  const view = a.view
    ? `${a.view.shape.length}, ${list("int64_t", a.view.shape.map(cSize))}, ${list("int64_t", a.view.strides.map(cSize))}`
    : "-1, 0, 0";
  return `  void *${a.name} = tensor_at(&call, ${at}, "${a.name}", ${a.dtype.toUpperCase()}, ${device}, ${view});`;
}

/** Reads and checks what a call was given; each argument becomes a variable of its name. */
export function takeArguments(name: string, k: KernelRecord, device: "DEVICE_CPU" | "DEVICE_CUDA"): string {
  const args = argumentsOf(k);
  // Sizes first: shapes are made of them.
  const order = [...args.keys()].toSorted(
    (a, b) => Number(args[a].kind === "tensor") - Number(args[b].kind === "tensor") || a - b,
  );
  return [
    `  Call call = begin(${cString(signatureOf(name, k))}, dsc_args, dsc_count, ${args.length});`,
    ...order.map((i) => takes(args[i], i, device)),
  ].join("\n");
}

/** What begins a launcher: its parameters have names that no argument has. */
export const head = (name: string): string =>
  `int __tvm_ffi_${name}(void *dsc_self, const Value *dsc_args, int32_t dsc_count, Value *dsc_result) {`;

/** What a kernel's text says of it, as a comment. */
export const documented = (doc: string): string =>
  `/* ${doc
    .split("\n")
    .map((l) => l.replaceAll("*/", "* /"))
    .join("\n   ")} */`;

/** The functions that give callers a kernel's type and its text. */
export const described = (name: string, k: KernelRecord, doc: string): string =>
  `int __tvm_ffi__metadata_${name}(void *self, const Value *args, int32_t count, Value *result) {
  return text_result(${cString(JSON.stringify({ type_schema: JSON.stringify(schemaOf(argumentsOf(k))) }))}, result);
}
int __tvm_ffi__doc_${name}(void *self, const Value *args, int32_t count, Value *result) {
  return text_result(${cString(`${signatureOf(name, k)}\n\n${doc}`)}, result);
}
`;

/** The function that lists the kernels of a library. */
export const listed = (names: readonly string[]): string =>
  `int __tvm_ffi_dsc_kernels(void *self, const Value *args, int32_t count, Value *result) {
  return text_result(${JSON.stringify(JSON.stringify(names))}, result);
}
`;
