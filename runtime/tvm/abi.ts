// tvm-ffi's stable C ABI as bytes: what kinds of values there are, and where fields lie (c_api.h of 0.1). A value is 16 bytes: its kind
// (i32), a length or zero (u32), and 8 bytes that hold it or point to it. Addresses are plain numbers; all are below 2^53.

/** Kinds of values; those from `object` on are pointers to counted objects. */
export const kinds = Object.freeze({
  none: 0,
  int: 1,
  bool: 2,
  float: 3,
  pointer: 4,
  dtype: 5,
  device: 6,
  tensorView: 7,
  cString: 8,
  byteArray: 9,
  smallString: 11,
  smallBytes: 12,
  object: 64,
  string: 65,
  bytes: 66,
  error: 67,
  function: 68,
  shape: 69,
  tensor: 70,
  array: 71,
  map: 72,
  module: 73,
});

/** Bytes of a value, and where its parts are. */
export const VALUE = 16;
export const PAYLOAD = 8;
/** Every object begins with its counts, kind and deleter. */
export const HEADER = 24;

/** DLTensor: 48 bytes. */
export const dlTensor = Object.freeze({ data: 0, device: 8, axes: 16, dtype: 20, shape: 24, strides: 32, offset: 40, bytes: 48 });

/** DLPack's device types that have names here; others are given as they are numbered. */
export const devices = Object.freeze({ cpu: 1, cuda: 2, cuda_host: 3 });
/** A kind of device, as DLPack numbers them. */
export type DeviceName = keyof typeof devices;

/** Element types by name: DLPack's code, and bits. */
const elementTypes = {
  int8: [0, 8],
  int16: [0, 16],
  int32: [0, 32],
  int64: [0, 64],
  uint8: [1, 8],
  uint16: [1, 16],
  uint32: [1, 32],
  uint64: [1, 64],
  float16: [2, 16],
  float32: [2, 32],
  float64: [2, 64],
  bfloat16: [4, 16],
  bool: [6, 8],
  float8_e4m3fn: [10, 8],
} as const;
/** A dtype by name: float32, bfloat16, int64. */
export type DTypeName = keyof typeof elementTypes;
export const dtypes: Readonly<Record<DTypeName, readonly [code: number, bits: number]>> = Object.freeze(elementTypes);
const dtypeNames = Object.freeze(Object.keys(elementTypes) as DTypeName[]);

/** The name of an element type, or its parts where it has none here. */
export const dtypeNameOf = (code: number, bits: number): DTypeName | undefined =>
  dtypeNames.find((n) => dtypes[n][0] === code && dtypes[n][1] === bits);

/** A pointer or a count of 8 bytes. */
export const wordAt = (v: DataView, at: number): number => v.getUint32(at, true) + v.getUint32(at + 4, true) * 2 ** 32;
export function setWord(v: DataView, at: number, word: number): void {
  v.setUint32(at, word >>> 0, true);
  v.setUint32(at + 4, Math.floor(word / 2 ** 32), true);
}
