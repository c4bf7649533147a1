// A library of kernels (codegen/c/library.ts, codegen/tir/services.ts) through koffi: its launchers, and what it says of memory. Addresses
// are plain numbers; a double holds them all.
import koffi from "koffi";
import * as diagnostics from "../../diagnostics.ts";

/** What begins the name of a launcher. */
const LAUNCHER = "dsc_";

/** args, from, begin, end, scratch: the arguments of the kernel lie at args + from. */
type Launcher = (args: Float64Array, from: number, begin: number, end: number, scratch: number) => void;

type Advise = (at: number, bytes: number, advice: number) => number;
type AnySpecial = (at: number, words: number, exponent: number, one: number, carry: number, special: Float64Array) => void;

/** MADV_HUGEPAGE of Linux. */
const LARGE_PAGES = 14;
const PAGE = 4096;

export class NativeLibrary {
  readonly #library: ReturnType<typeof koffi.load>;
  readonly #advise: Advise | undefined;
  readonly #special: AnySpecial;
  readonly #answer = new Float64Array(new ArrayBuffer(8));

  /** Throws DSC5042 where the system does not load it. */
  constructor(path: string) {
    try {
      this.#library = koffi.load(path);
      this.#special = this.#library.func("dsc_any_special", "void", [
        "double",
        "double",
        "uint32_t",
        "uint32_t",
        "uint32_t",
        "double *",
      ]) as AnySpecial;
      if (process.platform === "linux")
        this.#advise = koffi.load("libc.so.6").func("int madvise(uint64_t at, uint64_t bytes, int advice)") as Advise;
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
    return Number(koffi.address(new Uint8Array(buffer, 0, 1)));
  }

  /** Asks for large pages. */
  largePages(at: number, bytes: number): void {
    const [from, to] = [Math.ceil(at / PAGE) * PAGE, Math.floor((at + bytes) / PAGE) * PAGE];
    if (from < to) this.#advise?.(from, to - from, LARGE_PAGES);
  }

  /** Whether an element of so many whole words is NaN or infinite. */
  anySpecial(at: number, words: number, m: { exponent: number; one: number; carry: number }): boolean {
    this.#special(at, words, m.exponent >>> 0, m.one >>> 0, m.carry >>> 0, this.#answer);
    return this.#answer[0] !== 0;
  }
}
