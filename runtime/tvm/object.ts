// Counted objects of tvm-ffi. Each of ours owns one reference, and gives it back when it is disposed of or collected.
import { disposed } from "./diagnostics.ts";
import { textAt } from "./error.ts";
import { library, viewAt } from "./library.ts";

/** References that are held now: what a soak looks at. */
let held = 0;
/** How many references to foreign objects this process holds. */
export const heldReferences = (): number => held;

const registry = new FinalizationRegistry<number>((address) => giveBack(address));

function giveBack(address: number): void {
  library().c.TVMFFIObjectDecRef(address);
  held--;
}

/** An object of a kind that has no class of its own here, and what all others are. */
export class TvmObject {
  /** Its kind's number; `typeKey` is its name. */
  readonly kind: number;
  #address: number;

  /** Takes over one reference. */
  constructor(kind: number, address: number) {
    this.kind = kind;
    this.#address = address;
    held++;
    registry.register(this, address, this);
  }

  get address(): number {
    if (this.#address === 0) throw disposed({ what: `an object of kind ${this.kind}` });
    return this.#address;
  }

  /** Such as "ffi.Module" or "ir.IRModule". */
  get typeKey(): string {
    return typeKeyOf(this.kind);
  }

  /** Gives the reference back now; V8 does not see how much memory lies behind it. */
  dispose(): void {
    if (this.#address === 0) return;
    registry.unregister(this);
    const address = this.#address;
    this.#address = 0;
    giveBack(address);
  }
}

const keys = new Map<number, string>();

function typeKeyOf(kind: number): string {
  const known = keys.get(kind);
  if (known !== undefined) return known;
  const info = Number(library().c.TVMFFIGetTypeInfo(kind));
  // The name of a kind is a pair of pointer and size behind its number and depth.
  const key = info ? textAt(viewAt(info, 72), 8) : `kind ${kind}`;
  keys.set(kind, key);
  return key;
}

/** Makes our object of a reference to theirs, by kind. */
export type Wrap = (kind: number, address: number) => TvmObject;
