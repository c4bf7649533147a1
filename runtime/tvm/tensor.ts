// Tensors of both sides as DLPack has them, without copies: ours over typed arrays or device memory, theirs as objects.
import {
  devices,
  dlTensor,
  dtypeNameOf,
  dtypes,
  HEADER,
  kinds,
  setWord,
  wordAt,
  type DeviceName,
  type DTypeName,
} from "./abi.ts";
import { whole } from "../arguments.ts";
import { cannotPass, notSeen } from "./diagnostics.ts";
import { addressOf, memoryAt, viewAt } from "./library.ts";
import { TvmObject } from "./object.ts";

type NumberArray =
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

/** Elements of a type lie in arrays of this kind; types that JavaScript has no numbers of as their bits. */
const arrays: Readonly<Record<DTypeName, new (buffer: ArrayBuffer, at: number, length: number) => NumberArray>> = {
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  bfloat16: Uint16Array,
  bool: Uint8Array,
  float8_e4m3fn: Uint8Array,
};

/** Where a tensor's bytes lie. */
export interface Device {
  type: DeviceName | number;
  id: number;
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A tensor of ours: memory of a typed array, or an address on a device. It is lent to a call; a library that keeps it has to copy. */
export class Tensor {
  readonly shape: readonly number[];
  readonly dtype: DTypeName;
  readonly data: ArrayBufferView | number;
  /** The DLTensor that calls are given, and what it points to. */
  readonly struct: number;
  /** What the struct points to, for as long as this is there. */
  protected readonly kept: readonly unknown[];

  /**
   * `data`: a typed array with room for the shape (a SharedArrayBuffer is as good), or an address; `device`: where an address is,
   * the CPU unless said. Memory of Node is not aligned to 64 bytes: a kernel that asks for it needs an address of its own.
   */
  constructor(
    data: ArrayBufferView | number,
    shape: readonly number[],
    dtype: DTypeName,
    device: Device = { type: "cpu", id: 0 },
  ) {
    const [code, bits] = dtypes[dtype];
    if (shape.some((n) => !Number.isSafeInteger(n) || n < 0))
      throw cannotPass({ what: `a tensor [${shape.join(", ")}]`, why: "sizes are whole numbers", help: "see to its shape" });
    const bytes = (product(shape) * bits) / 8;
    if (typeof data !== "number" && data.byteLength < bytes)
      throw cannotPass({
        what: `a tensor [${shape.join(", ")}] of ${dtype}`,
        why: `it takes ${bytes} bytes, and the array has ${data.byteLength}`,
        help: "see to its shape",
      });
    const dims = new BigInt64Array(new ArrayBuffer(Math.max(8, 8 * shape.length)));
    dims.set(shape.map(BigInt));
    const v = new DataView(new ArrayBuffer(dlTensor.bytes));
    setWord(v, dlTensor.data, typeof data === "number" ? data : addressOf(owned(data)));
    v.setInt32(dlTensor.device, typeof device.type === "number" ? device.type : devices[device.type], true);
    v.setInt32(dlTensor.device + 4, device.id, true);
    v.setInt32(dlTensor.axes, shape.length, true);
    v.setUint8(dlTensor.dtype, code);
    v.setUint8(dlTensor.dtype + 1, bits);
    v.setUint16(dlTensor.dtype + 2, 1, true);
    setWord(v, dlTensor.shape, addressOf(dims));
    const struct = new Uint8Array(v.buffer);
    this.kept = [data, dims, struct];
    this.struct = addressOf(struct);
    this.shape = [...shape];
    this.dtype = dtype;
    this.data = data;
  }
}

/** Small typed arrays may lie in the heap and move; asking for their buffer moves them out once and for all. */
function owned(data: ArrayBufferView): ArrayBufferView {
  void data.buffer;
  return data;
}

/** What an ArrayBuffer can have, and more than any alignment. */
const MOST_BYTES = 2 ** 32;

/**
 * Memory of ours that begins at a multiple of some bytes, as libraries may ask for: TVM's virtual machine of 64. Throws DSC5039 for what
 * are no numbers of bytes.
 */
export function aligned(bytes: number, to = 64): Uint8Array<ArrayBuffer> {
  whole("aligned", "bytes", bytes, 0, MOST_BYTES);
  whole("aligned", "to", to, 1, MOST_BYTES);
  const room = new ArrayBuffer(bytes + to);
  const at = addressOf(new Uint8Array(room));
  return new Uint8Array(room, (to - (at % to)) % to, bytes);
}

/** Views of foreign memory keep the tensor that owns it. */
const owners = new WeakMap<ArrayBuffer, TvmTensor>();

/** A tensor of theirs. */
export class TvmTensor extends TvmObject {
  constructor(address: number) {
    super(kinds.tensor, address);
  }

  get #struct(): DataView {
    return viewAt(this.address + HEADER, dlTensor.bytes);
  }

  get shape(): number[] {
    const v = this.#struct;
    return words(wordAt(v, dlTensor.shape), v.getInt32(dlTensor.axes, true));
  }

  get device(): Device {
    const v = this.#struct;
    const type = v.getInt32(dlTensor.device, true);
    const name = (Object.keys(devices) as DeviceName[]).find((n) => devices[n] === type);
    return { type: name ?? type, id: v.getInt32(dlTensor.device + 4, true) };
  }

  get dtype(): DTypeName | undefined {
    const v = this.#struct;
    return v.getUint16(dlTensor.dtype + 2, true) === 1
      ? dtypeNameOf(v.getUint8(dlTensor.dtype), v.getUint8(dlTensor.dtype + 1))
      : undefined;
  }

  /** Where its first element lies, on its device. */
  get dataAddress(): number {
    const v = this.#struct;
    return wordAt(v, dlTensor.data) + wordAt(v, dlTensor.offset);
  }

  /** Its elements where they lie, without a copy: good until `dispose`, for the array keeps the tensor. bf16, f16 and FP8 are their bits.
   * Throws DSC5706. */
  view(): NumberArray {
    const { dtype, shape, device } = this;
    if (device.type !== "cpu" && device.type !== "cuda_host")
      throw notSeen({ what: "a tensor", why: `it is on device ${device.type} ${device.id}` });
    if (dtype === undefined) throw notSeen({ what: "a tensor", why: "its element type has no name here" });
    if (!this.contiguous) throw notSeen({ what: "a tensor", why: "it is strided" });
    const count = product(shape);
    const buffer = count === 0 ? new ArrayBuffer(0) : memoryAt(this.dataAddress, (count * dtypes[dtype][1]) / 8);
    owners.set(buffer, this);
    return new arrays[dtype](buffer, 0, count);
  }

  get contiguous(): boolean {
    const v = this.#struct;
    const strides = wordAt(v, dlTensor.strides);
    if (strides === 0) return true;
    const { shape } = this;
    let step = 1;
    const given = words(strides, shape.length);
    for (let i = shape.length - 1; i >= 0; i--) {
      if (shape[i] !== 1 && given[i] !== step) return false;
      step *= shape[i];
    }
    return true;
  }
}

/** A list of i64 in their memory. */
const words = (address: number, count: number): number[] =>
  count === 0 ? [] : Array.from(new BigInt64Array(memoryAt(address, 8 * count)), Number);
