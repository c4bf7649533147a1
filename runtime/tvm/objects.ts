// Functions, modules and containers of tvm-ffi, each a counted object.
import { kinds, wordAt } from "./abi.ts";
import { invoke } from "./call.ts";
import { noFunction } from "./diagnostics.ts";
import { check } from "./error.ts";
import { byteArray, library } from "./library.ts";
import { TvmObject } from "./object.ts";
import { TvmTensor } from "./tensor.ts";
import type { Argument, Result } from "./value.ts";

/** A function of a library, or one of ours that a library may call. */
export class TvmFunction extends TvmObject {
  constructor(address: number) {
    super(kinds.function, address);
  }

  /** Calls it; throws a TvmError of the kind and message that it raises. */
  call(...args: Argument[]): Result {
    return invoke(this.address, args, wrap);
  }
}

/** Makes our object of a reference to theirs. */
export function wrap(kind: number, address: number): TvmObject {
  switch (kind) {
    case kinds.function:
      return new TvmFunction(address);
    case kinds.tensor:
      return new TvmTensor(address);
    case kinds.array:
      return new TvmArray(address);
    case kinds.map:
      return new TvmMap(address);
    case kinds.module:
      return new TvmModule(address);
    default:
      return new TvmObject(kind, address);
  }
}

const known = new Map<string, TvmFunction>();

/** A function of the library's table, by name; undefined where it has none. */
export function globalFunction(name: string): TvmFunction | undefined {
  const found = known.get(name);
  if (found) return found;
  const keep: unknown[] = [];
  const out = new DataView(new ArrayBuffer(8));
  check(library().c.TVMFFIFunctionGetGlobal(byteArray(name, keep), out));
  const address = wordAt(out, 0);
  keep.length = 0;
  if (address === 0) return undefined;
  const f = new TvmFunction(address);
  known.set(name, f);
  return f;
}

/** Forgets a name, whose function was replaced. */
export const forget = (name: string): boolean => known.delete(name);

/** Calls a function of the table. Throws DSC5705 where there is none. */
export function callGlobal(name: string, ...args: Argument[]): Result {
  const f = globalFunction(name);
  if (!f) throw noFunction({ name, where: "the table of global functions" });
  return f.call(...args);
}

/** An immutable list. */
export class TvmArray extends TvmObject {
  constructor(address: number) {
    super(kinds.array, address);
  }

  get length(): number {
    return Number(callGlobal("ffi.ArraySize", this));
  }

  /** An entry; the library raises an IndexError where there is none. */
  at(i: number): Result {
    return callGlobal("ffi.ArrayGetItem", this, i);
  }

  *[Symbol.iterator](): Generator<Result> {
    const { length } = this;
    for (let i = 0; i < length; i++) yield this.at(i);
  }
}

/** An immutable map, in the order its entries were given. */
export class TvmMap extends TvmObject {
  constructor(address: number) {
    super(kinds.map, address);
  }

  get size(): number {
    return Number(callGlobal("ffi.MapSize", this));
  }

  has(key: Argument): boolean {
    return callGlobal("ffi.MapCount", this, key) !== 0;
  }

  /** The value of a key; the library raises a KeyError where there is none. */
  get(key: Argument): Result {
    return callGlobal("ffi.MapGetItem", this, key);
  }

  *entries(): Generator<[Result, Result]> {
    // The iterator is a function: 0 gives the key, 1 the value, 2 goes on and says whether there is more.
    let left = this.size;
    const step = callGlobal("ffi.MapForwardIterFunctor", this) as TvmFunction;
    try {
      for (; left > 0; left--) {
        yield [step.call(0), step.call(1)];
        step.call(2);
      }
    } finally {
      step.dispose();
    }
  }

  [Symbol.iterator](): Generator<[Result, Result]> {
    return this.entries();
  }
}

/** A loaded library, or code that a compiler made. */
export class TvmModule extends TvmObject {
  constructor(address: number) {
    super(kinds.module, address);
  }

  /** A function that it exports (as __tvm_ffi_NAME), or that it imports. Throws DSC5705. */
  get(name: string): TvmFunction {
    const f = callGlobal("ffi.ModuleGetFunction", this, name, true);
    if (!(f instanceof TvmFunction)) throw noFunction({ name, where: "the module" });
    return f;
  }

  has(name: string): boolean {
    return callGlobal("ffi.ModuleImplementsFunction", this, name, true) === true;
  }

  /** What it says of a function, where it says anything. */
  doc(name: string): string | undefined {
    return (callGlobal("ffi.ModuleGetFunctionDoc", this, name, true) as string | null) ?? undefined;
  }

  /** The types of a function as JSON, where it says them. */
  metadata(name: string): string | undefined {
    return (callGlobal("ffi.ModuleGetFunctionMetadata", this, name, true) as string | null) ?? undefined;
  }
}

const modules = new Map<string, TvmModule>();

/** The module of a library's file, loaded once. Throws a TvmError where it cannot be loaded. */
export function loadedModule(file: string): TvmModule {
  let module = modules.get(file);
  if (!module) modules.set(file, (module = callGlobal("ffi.ModuleLoadFromFile", file) as TvmModule));
  return module;
}
