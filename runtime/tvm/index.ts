// Public entry dsc/tvm: libraries that speak tvm-ffi's C ABI from Node, and Node's functions from them. The library is found, never
// bundled: DSC_TVM names it or its folder, DSC_PYTHON a Python that has it (pip install apache-tvm-ffi).
import { shown } from "../arguments.ts";
import { badArgument } from "../diagnostics.ts";
import { wordAt } from "./abi.ts";
import { callback } from "./callback.ts";
import { noFunction, noTvm } from "./diagnostics.ts";
import { check } from "./error.ts";
import { findTvm } from "./find.ts";
import { byteArray, library, openGlobally } from "./library.ts";
import { callGlobal, forget, globalFunction, TvmArray, TvmFunction, TvmMap, TvmModule } from "./objects.ts";
import type { Device } from "./tensor.ts";
import { deviceNumber, DeviceValue, DType, Float, Pointer, type Argument, type Result } from "./value.ts";

export { DiagnosticError } from "../../ir/diagnostic.ts";
export type { DeviceName, DTypeName } from "./abi.ts";
export { callback } from "./callback.ts";
export { TvmError } from "./error.ts";
export { heldReferences, TvmObject } from "./object.ts";
export { TvmArray, TvmFunction, TvmMap, TvmModule } from "./objects.ts";
export { aligned, Tensor, TvmTensor, type Device } from "./tensor.ts";
export { DeviceValue, DType, Float, Pointer, type Argument, type Result } from "./value.ts";

/** Where the library was found, and its version. Opens it; throws DSC5701 and DSC5702. */
export function about(): { path: string; version: string } {
  const { path, version } = library();
  return { path, version };
}

/** A library (.so) with functions exported as __tvm_ffi_NAME. Throws a TvmError where it cannot be loaded. */
export const loadModule = (file: string): TvmModule => callGlobal("ffi.ModuleLoadFromFile", file) as TvmModule;

/**
 * Opens TVM's own runtime, which libraries take for granted that TVM compiled: virtual machines of Relax, parallel loops. Gives what was
 * found. Throws DSC5707 where there is none.
 */
export function loadTvm(): { folder: string; version?: string } {
  const found = findTvm();
  if (!found) throw noTvm({});
  library();
  for (const file of found.libraries) openGlobally(file);
  const { folder, version } = found;
  return { folder, ...(version === undefined ? {} : { version }) };
}

/** A function of the table that all libraries of the process share. Throws DSC5705. */
export function func(name: string): TvmFunction {
  const f = globalFunction(name);
  if (!f) throw noFunction({ name, where: "the table of global functions" });
  return f;
}

/** Whether the table has a function of this name. */
export const has = (name: string): boolean => globalFunction(name) !== undefined;

/** Calls a function of the table. */
export const call = (name: string, ...args: Argument[]): Result => callGlobal(name, ...args);

/** Names of the table, sorted. */
export function names(): string[] {
  const list = callGlobal("ffi.FunctionListGlobalNamesFunctor") as TvmFunction;
  const count = Number(list.call(-1));
  const out = Array.from({ length: count }, (_, i) => list.call(i) as string);
  list.dispose();
  return out.sort();
}

/** Puts a function of ours into the table, in the place of one that is there. */
export function register(name: string, f: (...args: Result[]) => Argument): TvmFunction {
  const made = callback(f);
  const keep: unknown[] = [];
  check(library().c.TVMFFIFunctionSetGlobal(byteArray(name, keep), made.address, 1));
  keep.length = 0;
  forget(name);
  return made;
}

/** A list of theirs. Throws DSC5039 for what is no array. */
export function array(items: readonly Argument[]): TvmArray {
  if (!Array.isArray(items)) throw badArgument({ call: "array", seen: `items is ${shown(items)}`, wanted: "an array" });
  return callGlobal("ffi.Array", ...(items as readonly Argument[])) as TvmArray;
}

/** A map of theirs. Throws DSC5039 for what has no pairs. */
export function map(entries: Iterable<readonly [Argument, Argument]>): TvmMap {
  const given: unknown = entries;
  const pairs = typeof given === "object" && given !== null && Symbol.iterator in given ? [...entries] : undefined;
  if (!pairs?.every((pair) => Array.isArray(pair) && pair.length === 2))
    throw badArgument({ call: "map", seen: `entries is ${shown(entries)}`, wanted: "pairs: a Map, or an array of [key, value]" });
  return callGlobal("ffi.Map", ...pairs.flat()) as TvmMap;
}

/** A float argument, where a whole number would be an int. */
export const float = (value: number): Float => new Float(value);
/** An opaque pointer argument. */
export const pointer = (address: number): Pointer => new Pointer(address);
/** A dtype argument. */
export const dtype = (name: DType["name"]): DType => new DType(name);
/** A device argument. */
export const device = (type: Device["type"], id = 0): DeviceValue => new DeviceValue({ type, id });

/** The stream that launches of this thread go to, as an address; 0 is the default one. */
export const currentStream = (at: Device): number => Number(library().c.TVMFFIEnvGetStream(deviceNumber(at), at.id));

/** Runs `body` with launches on another stream of a device. */
export function withStream<T>(at: Device, stream: number, body: () => T): T {
  const { c } = library();
  const before = new DataView(new ArrayBuffer(8));
  check(c.TVMFFIEnvSetStream(deviceNumber(at), at.id, stream, before));
  try {
    return body();
  } finally {
    check(c.TVMFFIEnvSetStream(deviceNumber(at), at.id, wordAt(before, 0), null));
  }
}
