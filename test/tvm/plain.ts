// Calls of a library of tvm-ffi's ABI with nothing but koffi: what a program without libtvm_ffi does.
import koffi from "koffi";

/** An argument of a call: a tensor, a size or nothing. */
export type Given =
  | {
      at: number;
      dtype: readonly [code: number, bits: number];
      shape: readonly number[];
      strides?: readonly number[];
      device?: number;
    }
  | number
  | null;

/** A call by the ABI alone. */
export class Plain {
  readonly #library: ReturnType<typeof koffi.load>;
  readonly #error: () => string;

  constructor(file: string) {
    this.#library = koffi.load(file);
    this.#error = this.#library.func("dsc_last_error", "const char *", []) as () => string;
  }

  /** The message of what is wrong, or nothing. */
  call(name: string, given: readonly Given[]): string | undefined {
    const kept: unknown[] = [];
    const args = Buffer.alloc(16 * given.length + 16);
    for (const [i, g] of given.entries()) {
      if (typeof g === "number") {
        args.writeInt32LE(1, 16 * i);
        args.writeBigInt64LE(BigInt(g), 16 * i + 8);
      } else if (g !== null) {
        const shape = BigInt64Array.from(g.shape, BigInt);
        const tensor = Buffer.alloc(48);
        tensor.writeBigUInt64LE(BigInt(g.at), 0);
        tensor.writeInt32LE(g.device ?? 2, 8);
        tensor.writeInt32LE(g.shape.length, 16);
        tensor.writeUInt8(g.dtype[0], 20);
        tensor.writeUInt8(g.dtype[1], 21);
        tensor.writeUInt16LE(1, 22);
        tensor.writeBigUInt64LE(BigInt(koffi.address(shape)), 24);
        if (g.strides) {
          const strides = BigInt64Array.from(g.strides, BigInt);
          tensor.writeBigUInt64LE(BigInt(koffi.address(strides)), 32);
          kept.push(strides);
        }
        kept.push(shape, tensor);
        args.writeInt32LE(7, 16 * i);
        args.writeBigUInt64LE(BigInt(koffi.address(tensor)), 16 * i + 8);
      }
    }
    const f = this.#library.func(`__tvm_ffi_${name}`, "int", ["void *", "void *", "int", "void *"]);
    const failed = f(null, args, given.length, Buffer.alloc(16)) as number;
    return kept.length >= 0 && failed ? this.#error() : undefined;
  }
}
