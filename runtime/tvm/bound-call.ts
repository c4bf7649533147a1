// A call of a library's function as an artifact records it, made ready once: tensors over given addresses, sizes put in at every call.
import { evaluate, type Dims, type Size } from "../../ir/size.ts";
import type { LibraryArg, LibraryCall } from "../../ir/library-call.ts";
import { dlTensor, dtypes, kinds, PAYLOAD, setWord, VALUE, type DTypeName } from "./abi.ts";
import { check, TvmError } from "./error.ts";
import { addressOf, library, openGlobally } from "./library.ts";
import { loadedModule, type TvmFunction } from "./objects.ts";
import type { Device } from "./tensor.ts";
import { deviceNumber, giveBackResult } from "./value.ts";

const names: Readonly<Record<string, DTypeName>> = { f32: "float32", bf16: "bfloat16", e4m3: "float8_e4m3fn", i32: "int32" };

/** Writes sizes of one argument that depend on the dims of a launch. */
type Sized = (dims: Dims) => void;

export class BoundCall {
  readonly #call: LibraryCall;
  readonly #function: TvmFunction;
  readonly #dims: readonly string[];
  /** The values of the call behind room for its result. */
  readonly #values: DataView;
  readonly #address: number;
  /** Of tensors, in their order. */
  readonly #structs: DataView[] = [];
  readonly #aligned: number[] = [];
  readonly #sized: Sized[] = [];
  /** What the values point to. */
  readonly #kept: unknown[] = [];

  /** Opens the library. `dims`: names of the sizes that `run` is given. Throws a TvmError, DSC5701 and DSC5705. */
  constructor(call: LibraryCall, dims: readonly string[], device: Device) {
    [this.#call, this.#dims] = [call, dims];
    library();
    for (const file of call.before ?? []) openGlobally(file);
    this.#function = loadedModule(call.library).get(call.function);
    const bytes = new Uint8Array(new ArrayBuffer((call.args.length + 1) * VALUE));
    this.#values = new DataView(bytes.buffer);
    this.#address = addressOf(bytes);
    for (const [i, a] of call.args.entries()) this.#write(a, (i + 1) * VALUE, device);
  }

  #write(a: LibraryArg, at: number, device: Device): void {
    const v = this.#values;
    const put = (kind: number, word: number): void => {
      v.setInt32(at, kind, true);
      setWord(v, at + PAYLOAD, word);
    };
    if (a.kind === "tensor") put(kinds.tensorView, this.#tensor(a, device));
    else if (a.kind === "int") this.#size(a.value, v, at + PAYLOAD, () => put(kinds.int, 0));
    else if (a.kind === "float") {
      put(kinds.float, 0);
      v.setFloat64(at + PAYLOAD, a.value, true);
    } else if (a.kind === "bool") put(kinds.bool, a.value ? 1 : 0);
    else if (a.kind === "text") {
      const text = new Uint8Array([...new TextEncoder().encode(a.value.replaceAll("\0", "")), 0]);
      this.#kept.push(text);
      put(kinds.cString, addressOf(text));
    } else put(kinds.none, 0);
  }

  /** A size of 8 bytes: now where it is a number, at every call where it is not. */
  #size(size: Size, v: DataView, at: number, begin: () => void = () => {}): void {
    begin();
    if (typeof size === "number") setWord(v, at, size);
    else this.#sized.push((dims) => setWord(v, at, evaluate(size, dims)));
  }

  #tensor({ dtype, shape, strides }: Extract<LibraryArg, { kind: "tensor" }>, device: Device): number {
    const axes = shape.length;
    const room = new Uint8Array(new ArrayBuffer(dlTensor.bytes + 16 * axes));
    const v = new DataView(room.buffer);
    const at = addressOf(room);
    const [code, bits] = dtypes[names[dtype]];
    v.setInt32(dlTensor.device, deviceNumber(device), true);
    v.setInt32(dlTensor.device + 4, device.id, true);
    v.setInt32(dlTensor.axes, axes, true);
    v.setUint8(dlTensor.dtype, code);
    v.setUint8(dlTensor.dtype + 1, bits);
    v.setUint16(dlTensor.dtype + 2, 1, true);
    setWord(v, dlTensor.shape, at + dlTensor.bytes);
    setWord(v, dlTensor.strides, at + dlTensor.bytes + 8 * axes);
    for (const [i, s] of shape.entries()) this.#size(s, v, dlTensor.bytes + 8 * i);
    for (const [i, s] of strides.entries()) this.#size(s, v, dlTensor.bytes + 8 * (axes + i));
    this.#structs.push(v);
    this.#aligned.push(this.#call.align ?? bits / 8);
    this.#kept.push(room);
    return at;
  }

  /** One call, its tensors at these addresses. Throws a TvmError of the kind that the function raises. */
  run(addresses: readonly number[], dims: readonly number[]): void {
    for (const [i, v] of this.#structs.entries()) {
      if (addresses[i] % this.#aligned[i] !== 0)
        throw new TvmError("ValueError", `tensor ${i} does not begin at a multiple of ${this.#aligned[i]} bytes`, "");
      setWord(v, dlTensor.data, addresses[i]);
    }
    if (this.#sized.length) {
      const known: Record<string, number> = {};
      for (const [i, d] of this.#dims.entries()) known[d] = dims[i];
      for (const write of this.#sized) write(known);
    }
    this.#values.setInt32(0, kinds.none, true);
    check(library().c.TVMFFIFunctionCall(this.#function.address, this.#address + VALUE, this.#call.args.length, this.#address));
    giveBackResult(this.#values, 0);
  }
}
