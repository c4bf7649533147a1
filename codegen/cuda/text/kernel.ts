// A CUDA kernel from its parts. What the C++ signature, the launch record and the text have in common is said once: parameters with
// their types, launch bounds, and the device functions of the table (codegen/cuda/ptx) that the text calls.
import type { KernelText, Launch, Param } from "../../../ir/kernel/catalogue.ts";
import type { Size } from "../../../ir/size.ts";
import { entriesFor } from "../ptx/index.ts";
import { unmarked, type Marked } from "./marks.ts";
import { Sections } from "../../sections.ts";
import { when } from "../../text.ts";

type Buffer = Extract<Param, { kind: "buffer" }>;
type Map = Extract<Param, { kind: "tensormap" }>;

/** A parameter of a kernel: its record, and its declaration in C++. */
export interface Parameter {
  record: Param;
  declaration: string;
}

const cTypes = { f32: "float", bf16: "u16", e4m3: "u8", i32: "int" } as const;

export interface BufferOptions {
  /**
   * Whether nothing else refers to its memory, which is so unless said otherwise. The compiler may move loads of such a buffer that
   * no one writes past the wait for the kernel before: a buffer that it writes, read by plain loads before and after, is not.
   */
  restrict?: boolean;
}

const buffer = (
  name: string,
  dtype: Buffer["dtype"],
  access: Buffer["access"],
  { restrict = true }: BufferOptions,
): Parameter => ({
  record: { kind: "buffer", name, dtype, access },
  declaration: `${when(access === "in", "const ")}${cTypes[dtype]}* ${when(restrict, "__restrict__ ")}${name}`,
});

/** A buffer that is read. */
export const input = (name: string, dtype: Buffer["dtype"], options: BufferOptions = {}): Parameter =>
  buffer(name, dtype, "in", options);
/** A buffer that is written. */
export const output = (name: string, dtype: Buffer["dtype"], options: BufferOptions = {}): Parameter =>
  buffer(name, dtype, "out", options);
/** A buffer that is read and written. */
export const inout = (name: string, dtype: Buffer["dtype"], options: BufferOptions = {}): Parameter =>
  buffer(name, dtype, "inout", options);

/** A number given with every launch. */
export const scalar = (name: string, dtype: "i32" | "f32"): Parameter => ({
  record: { kind: "scalar", name, dtype },
  declaration: `${cTypes[dtype]} ${name}`,
});

/** A TMA descriptor over the buffer `of`: dimensions and box innermost first, strides in bytes of all but the innermost. */
export const tensorMap = (name: string, map: Omit<Map, "kind" | "name" | "swizzle">): Parameter => ({
  record: { kind: "tensormap", name, ...map, swizzle: 128 },
  declaration: `const __grid_constant__ TensorMap ${name}`,
});

/** The parts of a CUDA kernel. */
export interface CudaKernel {
  name: string;
  /** Lines of the comment that the text opens with: op and shapes, schedule, floor under the time. */
  header: readonly string[];
  /** In launch order; dims as int and a workspace follow them. */
  params: readonly Parameter[];
  dims: readonly string[];
  /** `blocksPerSM`: of how many blocks' registers a multiprocessor must have room. */
  launch: Launch & { blocksPerSM?: number };
  /** Scratch that the launcher zeroes once: its C++ type, and its size. */
  workspace?: { type: string; bytes: Size };
  /** Constants, types and device functions of this kernel alone. */
  definitions: string;
  /** Statements. */
  body: string;
}

/** Names in brackets, broken before the 125th column. */
function wrapped(open: string, items: readonly string[]): string {
  const lines = [open];
  for (const [i, item] of items.entries()) {
    const next = item + (i < items.length - 1 ? ", " : "");
    if (lines.at(-1)!.length + next.length > 125 && lines.at(-1)!.trim() !== "") lines.push("    ");
    lines.push(lines.pop()! + next);
  }
  return lines.map((l) => l.trimEnd()).join("\n");
}

/** A CUDA kernel from its parts: signature, launch record and text. */
export function cudaKernel(k: CudaKernel): KernelText {
  const { blocksPerSM, ...launch } = k.launch;
  const taken = [
    ...k.params.map((p) => p.declaration),
    ...k.dims.map((d) => `int ${d}`),
    ...(k.workspace ? [`${k.workspace.type}* __restrict__ workspace`] : []),
  ];
  const bounds = [launch.block, ...(blocksPerSM === undefined ? [] : [blocksPerSM])].join(", ");
  const defined = unmarked(k.definitions.trim());
  const definitions = defined.map((l) => l.line).join("\n");
  const head = `extern "C" __global__ void __launch_bounds__(${bounds})\n${wrapped(`${k.name}(`, taken)}) {`;
  const owned = unmarked(k.body.replace(/^\n|\n$/g, ""));
  const body = owned.map((l) => l.line).join("\n");
  const text = new Sections().add(
    "header",
    k.header.map((l) => `// ${l}`),
    "summary",
  );
  text.add("header", "", "summary");
  for (const e of entriesFor([definitions, head, body].join("\n"))) text.add("helper", e.text, e.name);
  const own = (kind: "definitions" | "body", { line, role, op }: Marked): void =>
    void text.add(kind, [line], role, op === undefined ? [] : [op]);
  for (const l of [{ line: "" }, ...defined, { line: "" }]) own("definitions", l);
  text.add("entry", head);
  for (const l of owned) own("body", l);
  text.add("entry", "}");
  return {
    name: k.name,
    language: "cuda",
    source: text.toString(),
    segments: text.segments,
    params: k.params.map((p) => p.record),
    dims: [...k.dims],
    launch,
    ...(k.workspace ? { workspaceBytes: k.workspace.bytes } : {}),
  };
}
