// Functions of JavaScript as function objects. A library may call one on the thread that made it only, while a call of ours runs.
import koffi from "koffi";
import { VALUE, wordAt } from "./abi.ts";
import { ownedResult } from "./call.ts";
import { check, TvmError } from "./error.ts";
import { library, viewAt } from "./library.ts";
import { TvmFunction, wrap } from "./objects.ts";
import { read, type Argument, type Result } from "./value.ts";

const SafeCall = koffi.proto("int TvmSafeCall(uint64_t self, uint64_t args, int32_t n, uint64_t result)");
const Deleter = koffi.proto("void TvmDeleter(uint64_t self)");

/** What is registered with koffi, by the number that the library gives back when the last reference goes. */
const live = new Map<number, () => void>();
let next = 1;
let deleter: unknown;

const zeroEnded = (text: string): Uint8Array => new Uint8Array([...new TextEncoder().encode(text.replaceAll("\0", "")), 0]);

/** The body that the library calls. What is thrown is raised there, under its name. */
const safeCall =
  (f: (...args: Result[]) => Argument) =>
  (_self: unknown, args: number | bigint, n: number, result: number | bigint): number => {
    try {
      const given = n === 0 ? undefined : viewAt(Number(args), n * VALUE);
      ownedResult(f(...Array.from({ length: n }, (_, i) => read(given!, i * VALUE, false, wrap))), Number(result));
      return 0;
    } catch (e) {
      const { name, message } = e instanceof Error ? e : new TvmError("RuntimeError", String(e), "");
      library().c.TVMFFIErrorSetRaisedFromCStr(zeroEnded(name), zeroEnded(message));
      return -1;
    }
  };

/** A function object that calls `f`; it lives until the last reference to it goes, on either side. */
export function callback(f: (...args: Result[]) => Argument): TvmFunction {
  const { c } = library();
  deleter ??= koffi.register((self: number | bigint) => live.get(Number(self))?.(), koffi.pointer(Deleter));
  const id = next++;
  const registered = koffi.register(safeCall(f), koffi.pointer(SafeCall));
  live.set(id, () => {
    live.delete(id);
    // Not while it may still be on the stack.
    setImmediate(() => koffi.unregister(registered));
  });
  const out = new DataView(new ArrayBuffer(8));
  check(c.TVMFFIFunctionCreate(id, registered as unknown as object, deleter as object, out));
  return new TvmFunction(wordAt(out, 0));
}
