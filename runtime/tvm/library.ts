// The loaded libtvm_ffi: its entry points, one library a process.
import koffi from "koffi";
import { setWord } from "./abi.ts";
import { noLibrary, otherVersion } from "./diagnostics.ts";
import { candidates } from "./find.ts";

type Fn = (...args: never[]) => number;

/** Entry points; addresses and sizes go as numbers, buffers of ours as they are. */
const signatures = {
  TVMFFIGetVersion: "void TVMFFIGetVersion(void *out)",
  TVMFFIFunctionGetGlobal: "int TVMFFIFunctionGetGlobal(void *name, void *out)",
  TVMFFIFunctionSetGlobal: "int TVMFFIFunctionSetGlobal(void *name, uint64_t f, int replace)",
  TVMFFIFunctionCall: "int TVMFFIFunctionCall(uint64_t f, uint64_t args, int32_t n, uint64_t result)",
  TVMFFIFunctionCreate: "int TVMFFIFunctionCreate(uint64_t self, void *call, void *deleter, void *out)",
  TVMFFIObjectIncRef: "int TVMFFIObjectIncRef(uint64_t object)",
  TVMFFIObjectDecRef: "int TVMFFIObjectDecRef(uint64_t object)",
  TVMFFIErrorMoveFromRaised: "void TVMFFIErrorMoveFromRaised(void *out)",
  TVMFFIErrorSetRaisedFromCStr: "void TVMFFIErrorSetRaisedFromCStr(void *kind, void *message)",
  TVMFFIAnyViewToOwnedAny: "int TVMFFIAnyViewToOwnedAny(uint64_t view, uint64_t out)",
  TVMFFIGetTypeInfo: "uint64_t TVMFFIGetTypeInfo(int32_t kind)",
  TVMFFIEnvSetStream: "int TVMFFIEnvSetStream(int32_t type, int32_t id, uint64_t stream, void *before)",
  TVMFFIEnvGetStream: "uint64_t TVMFFIEnvGetStream(int32_t type, int32_t id)",
} as const;

export type Entries = Record<keyof typeof signatures, (...args: (number | bigint | ArrayBufferView | object | null)[]) => number>;

export interface Library {
  path: string;
  version: string;
  c: Entries;
}

let opened: Library | undefined;

/** The library of this process; opened when first asked for. Throws DSC5701 and DSC5702. */
export function library(): Library {
  return (opened ??= open(candidates()));
}

/** Opens the library that another thread, or another process, has found: the first of these that can be. */
export const useLibrary = (...paths: readonly string[]): void => void (opened ??= open(paths));

/** Held, for a library that nothing refers to is closed when garbage is collected. */
const global = new Map<string, unknown>();

/** Opens a library whose symbols others take for granted, TVM's runtime for one. The process's handlers of signals stay. */
export function openGlobally(path: string): void {
  if (global.has(path)) return;
  const restore = keepTrapHandler();
  try {
    global.set(path, koffi.load(path, { global: true }));
  } finally {
    restore();
  }
}

function open(paths: readonly string[]): Library {
  const tried: string[] = [];
  for (const path of paths) {
    const restore = keepTrapHandler();
    try {
      // Its symbols are global, for libraries that leave them undefined: those that export launchers without a link to it.
      const loaded = koffi.load(path, { global: true });
      const c = Object.fromEntries(Object.entries(signatures).map(([name, s]) => [name, loaded.func(s) as unknown as Fn]));
      return checked(path, c as unknown as Entries);
    } catch (e) {
      if ((e as { code?: string }).code === "DSC5702") throw e;
      tried.push(`${path}: ${(e as Error).message.split("\n")[0].slice(0, 160)}`);
    } finally {
      restore();
    }
  }
  throw noLibrary({ tried });
}

function checked(path: string, c: Entries): Library {
  const parts = new Uint32Array(new ArrayBuffer(12));
  c.TVMFFIGetVersion(parts);
  const version = parts.join(".");
  if (parts[0] !== 0 || parts[1] !== 1) throw otherVersion({ library: path, version });
  return { path, version, c };
}

const SIGSEGV = 11;

/**
 * Loading the library replaces the process's handler of SIGSEGV by one that prints a backtrace and dies. V8's is there for
 * WebAssembly: an access out of bounds is a fault that it turns into an exception. This gives back what was there.
 */
function keepTrapHandler(): () => void {
  if (process.platform !== "linux") return () => {};
  const sigaction = koffi.load("libc.so.6").func("int sigaction(int signal, void *act, void *old)") as (
    ...a: unknown[]
  ) => number;
  const before = new Uint8Array(new ArrayBuffer(256));
  sigaction(SIGSEGV, null, before);
  return () => void sigaction(SIGSEGV, before, null);
}

/** The address of memory of ours. It has an ArrayBuffer of its own, which the garbage collector does not move. */
export const addressOf = (v: ArrayBufferView): number => Number(koffi.address(v));

/** Memory of others as bytes, without a copy. */
export const memoryAt = (address: number, bytes: number): ArrayBuffer => koffi.view(address, bytes);
export const viewAt = (address: number, bytes: number): DataView => new DataView(memoryAt(address, bytes));

/** A name or a text as the ABI's pair of pointer and size; `keep` holds the bytes for as long as the call runs. */
export function byteArray(text: string | Uint8Array, keep: unknown[]): Uint8Array {
  const given = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const bytes = new Uint8Array(new ArrayBuffer(Math.max(1, given.length)));
  bytes.set(given);
  const pair = new DataView(new ArrayBuffer(16));
  setWord(pair, 0, addressOf(bytes));
  setWord(pair, 8, given.length);
  const out = new Uint8Array(pair.buffer);
  keep.push(bytes, out);
  return out;
}
