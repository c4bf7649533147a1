// A library of kernels (codegen/c/library.ts) through koffi: its launchers, and what it says of memory. Addresses are plain numbers; a
// double holds them all.
import koffi from "koffi";
import * as diagnostics from "../../diagnostics.ts";

/** What begins the name of a launcher. */
const LAUNCHER = "dsc_";

/** args, from, begin, end, scratch: the arguments of the kernel lie at args + from. */
type Launcher = (args: Float64Array, from: number, begin: number, end: number, scratch: number) => void;

type AddressOf = (p: Uint8Array) => number;
type LargePages = (at: number, bytes: number) => void;
type AnySpecial = (at: number, words: number, exponent: number, one: number, carry: number) => number;

export class NativeLibrary {
  readonly #library: ReturnType<typeof koffi.load>;
  readonly #address: AddressOf;
  readonly #pages: LargePages;
  readonly #special: AnySpecial;

  /** Throws DSC5042 where the system does not load it. */
  constructor(path: string) {
    try {
      this.#library = koffi.load(path);
      this.#address = this.#library.func("dsc_address", "double", ["void *"]) as AddressOf;
      this.#pages = this.#library.func("dsc_large_pages", "void", ["double", "double"]) as LargePages;
      this.#special = this.#library.func("dsc_any_special", "int", [
        "double",
        "double",
        "uint32_t",
        "uint32_t",
        "uint32_t",
      ]) as AnySpecial;
    } catch (e) {
      throw diagnostics.badKernel({ kernel: "library", why: (e as Error).message });
    }
  }

  /** The launcher of a kernel; throws where the library has none. */
  launcher(kernel: string): Launcher {
    return this.#library.func(`${LAUNCHER}${kernel}`, "void", [
      "const double *",
      "int64_t",
      "int64_t",
      "int64_t",
      "uint64_t",
    ]) as Launcher;
  }

  addressOf(buffer: SharedArrayBuffer): number {
    return this.#address(new Uint8Array(buffer, 0, 1));
  }

  largePages(at: number, bytes: number): void {
    this.#pages(at, bytes);
  }

  /** Whether an element of so many whole words is NaN or infinite. */
  anySpecial(at: number, words: number, m: { exponent: number; one: number; carry: number }): boolean {
    return this.#special(at, words, m.exponent >>> 0, m.one >>> 0, m.carry >>> 0) !== 0;
  }
}
