// Types and macros of kernels. Nothing needs a header, so NVRTC and nvcc take the same text.
import { declaration, device, type Entry } from "./entry.ts";

export const types: readonly Entry[] = [
  declaration("u8", "typedef unsigned char u8;"),
  declaration("u16", "typedef unsigned short u16;"),
  declaration("u32", "typedef unsigned int u32;"),
  declaration("u64", "typedef unsigned long long u64;"),
  declaration("i64", "typedef long long i64;"),
  declaration("TensorMap", "struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap, opaque", { machine: true }),
  declaration(
    "EACH",
    '#define EACH(i, count) _Pragma("unroll") for (int i = 0; i < count; i++)  // over registers, which have no addresses',
  ),
];

/** Shared addresses are 32-bit in every other entry. */
export const addresses: readonly Entry[] = [
  device({ is: "u32 shared_address(const void* p)", does: "return (u32)__cvta_generic_to_shared(p);", host: null }),
  device({
    doc: "The place of 16 bytes, a chunk, of a row of 128 in a tile that TMA swizzled.",
    is: "u32 swizzle_128b(u32 tile, int row, int chunk)",
    does: "return tile + row * 128 + ((chunk ^ (row & 7)) * 16);",
  }),
];
