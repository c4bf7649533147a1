// Values as the ABI passes them: JavaScript's into 16 bytes, and back.
import { devices, dtypeNameOf, dtypes, HEADER, kinds, PAYLOAD, setWord, wordAt, type DTypeName } from "./abi.ts";
import { keyOf, shown, whole } from "../arguments.ts";
import { badArgument } from "../diagnostics.ts";
import { cannotPass } from "./diagnostics.ts";
import { bytesAt, textAt } from "./error.ts";
import { addressOf, byteArray, library, viewAt } from "./library.ts";
import { TvmObject, type Wrap } from "./object.ts";
import { Tensor, type Device } from "./tensor.ts";

/** A number that is real for the callee though it is whole here. */
export class Float {
  readonly value: number;
  /** Throws DSC5039 for what is no number. */
  constructor(value: number) {
    if (typeof value !== "number") throw badArgument({ call: "float", seen: `value is ${shown(value)}`, wanted: "a number" });
    this.value = value;
  }
}

/** An address for a callee that takes one as it is. */
export class Pointer {
  readonly address: number;
  /** Throws DSC5039 for what is no address. */
  constructor(address: number) {
    this.address = whole("pointer", "address", address, 0);
  }
}

/** An element type as a value of its own. */
export class DType {
  readonly name: DTypeName;
  /** Throws DSC5039 for a name that is none. */
  constructor(name: DTypeName) {
    this.name = keyOf("dtype", "name", name, dtypes);
  }
}

/** A device as a value of its own. */
export class DeviceValue {
  readonly device: Device;
  /** Throws DSC5039 for a kind of device that is none. */
  constructor({ type, id }: Device) {
    if (typeof type !== "number") keyOf("device", "type", type, devices);
    this.device = { type: typeof type === "number" ? whole("device", "type", type, 1) : type, id: whole("device", "id", id, 0) };
  }
}

/** A kind of device as DLPack numbers it. */
export const deviceNumber = ({ type }: Device): number => (typeof type === "number" ? type : devices[type]);

/** What goes into a call. Whole numbers are ints, others floats; strings end at no NUL; lists and maps are made by array() and map(). */
export type Argument =
  | null
  | undefined
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | Tensor
  | TvmObject
  | Float
  | Pointer
  | DType
  | DeviceValue;

const SMALLEST = -(2n ** 63n);
const LARGEST = 2n ** 63n - 1n;

/** Writes an argument; `keep` holds what it points to until the call has ended. */
export function write(v: DataView, at: number, a: Argument, keep: unknown[]): void {
  v.setUint32(at + 4, 0, true);
  const set = (kind: number, word: number): void => {
    v.setInt32(at, kind, true);
    setWord(v, at + PAYLOAD, word);
  };
  switch (typeof a) {
    case "number":
      if (Number.isSafeInteger(a)) {
        v.setInt32(at, kinds.int, true);
        v.setUint32(at + PAYLOAD, a >>> 0, true);
        v.setInt32(at + PAYLOAD + 4, Math.floor(a / 2 ** 32), true);
      } else writeFloat(v, at, a);
      return;
    case "bigint":
      if (a < SMALLEST || a > LARGEST) throw cannotPass({ what: String(a), why: "an int has 64 bits", help: "pass it as text" });
      v.setInt32(at, kinds.int, true);
      v.setBigInt64(at + PAYLOAD, a, true);
      return;
    case "boolean":
      return set(kinds.bool, a ? 1 : 0);
    case "undefined":
      return set(kinds.none, 0);
    case "string":
      return set(kinds.cString, addressOf(cString(a, keep)));
    case "object":
      return a === null ? set(kinds.none, 0) : writeObject(v, at, a, keep, set);
    default:
      throw cannotPass({ what: `a ${typeof a}`, why: "it has no form there", help: "a function becomes one by callback()" });
  }
}

function writeFloat(v: DataView, at: number, value: number): void {
  v.setInt32(at, kinds.float, true);
  v.setFloat64(at + PAYLOAD, value, true);
}

function writeObject(
  v: DataView,
  at: number,
  a: Exclude<Argument, null | undefined | number | bigint | boolean | string>,
  keep: unknown[],
  set: (kind: number, word: number) => void,
): void {
  if (a instanceof Tensor) {
    keep.push(a);
    set(kinds.tensorView, a.struct);
  } else if (a instanceof TvmObject) {
    keep.push(a);
    set(a.kind, a.address);
  } else if (a instanceof Uint8Array) set(kinds.byteArray, addressOf(byteArray(a, keep)));
  else if (a instanceof Float) writeFloat(v, at, a.value);
  else if (a instanceof Pointer) set(kinds.pointer, a.address);
  else if (a instanceof DType) {
    set(kinds.dtype, 0);
    const [code, bits] = dtypes[a.name];
    v.setUint8(at + PAYLOAD, code);
    v.setUint8(at + PAYLOAD + 1, bits);
    v.setUint16(at + PAYLOAD + 2, 1, true);
  } else if (a instanceof DeviceValue) {
    const { type, id } = a.device;
    v.setInt32(at, kinds.device, true);
    v.setInt32(at + PAYLOAD, deviceNumber({ type, id }), true);
    v.setInt32(at + PAYLOAD + 4, id, true);
  } else
    throw cannotPass({ what: "an object", why: "it is none of tvm-ffi's", help: "lists become one by array(), maps by map()" });
}

const encoder = new TextEncoder();

function cString(text: string, keep: unknown[]): Uint8Array {
  if (text.includes("\0"))
    throw cannotPass({ what: JSON.stringify(text), why: "a C string ends at its first NUL", help: "pass its bytes" });
  const bytes = new Uint8Array(new ArrayBuffer(3 * text.length + 1));
  encoder.encodeInto(text, bytes);
  keep.push(bytes);
  return bytes;
}

/** What comes out of a call: ints past 2^53 are bigint; addresses, types and devices are as they went in. */
export type Result = null | number | bigint | boolean | string | Uint8Array | TvmObject | Pointer | DType | DeviceValue;

/** Reads a value. `owned`: its reference is taken over (results); else one is added (arguments of a callback). */
export function read(v: DataView, at: number, owned: boolean, wrap: Wrap): Result {
  const kind = v.getInt32(at, true);
  switch (kind) {
    case kinds.none:
      return null;
    case kinds.int: {
      const n = v.getInt32(at + PAYLOAD + 4, true) * 2 ** 32 + v.getUint32(at + PAYLOAD, true);
      return Number.isSafeInteger(n) ? n : v.getBigInt64(at + PAYLOAD, true);
    }
    case kinds.bool:
      return v.getUint8(at + PAYLOAD) !== 0;
    case kinds.float:
      return v.getFloat64(at + PAYLOAD, true);
    case kinds.smallString:
      return new TextDecoder().decode(small(v, at));
    case kinds.smallBytes:
      return small(v, at);
    case kinds.dtype: {
      const name = dtypeNameOf(v.getUint8(at + PAYLOAD), v.getUint8(at + PAYLOAD + 1));
      return name === undefined ? new Pointer(wordAt(v, at + PAYLOAD)) : new DType(name);
    }
    case kinds.device: {
      const [type, id] = [v.getInt32(at + PAYLOAD, true), v.getInt32(at + PAYLOAD + 4, true)];
      return new DeviceValue({ type: type === devices.cpu ? "cpu" : type === devices.cuda ? "cuda" : type, id });
    }
    case kinds.byteArray:
      return bytesAt(viewAt(wordAt(v, at + PAYLOAD), 16), 0);
    case kinds.cString:
      return cStringAt(wordAt(v, at + PAYLOAD));
    default:
      return kind >= kinds.object ? readObject(kind, wordAt(v, at + PAYLOAD), owned, wrap) : new Pointer(wordAt(v, at + PAYLOAD));
  }
}

const small = (v: DataView, at: number): Uint8Array =>
  new Uint8Array(v.buffer, v.byteOffset + at + PAYLOAD, v.getUint32(at + 4, true)).slice();

function readObject(kind: number, address: number, owned: boolean, wrap: Wrap): Result {
  const { c } = library();
  if (kind === kinds.string || kind === kinds.bytes) {
    const cell = viewAt(address + HEADER, 16);
    const out = kind === kinds.string ? textAt(cell, 0) : bytesAt(cell, 0);
    if (owned) c.TVMFFIObjectDecRef(address);
    return out;
  }
  if (!owned) c.TVMFFIObjectIncRef(address);
  return wrap(kind, address);
}

function cStringAt(address: number): string {
  let n = 0;
  for (; viewAt(address + n, 1).getUint8(0) !== 0; n++);
  return n === 0 ? "" : new TextDecoder().decode(new Uint8Array(viewAt(address, n).buffer.slice(0)));
}

/** Gives back the reference of a result that nobody wants. */
export function giveBackResult(v: DataView, at: number): void {
  if (v.getInt32(at, true) >= kinds.object) library().c.TVMFFIObjectDecRef(wordAt(v, at + PAYLOAD));
}
