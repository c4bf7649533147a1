// bf16 wgmma for the attention kernels: 64 x n x 16 with f32 sums, B by rows of k (keys of scores) or by rows of n (values as
// the cache holds them), and their waits. Shares the fences and descriptors of fragments.ts when a kernel has no fp8 product.

/** One width of product a kernel issues; `lanes` says that B's rows run along k, so that the product needs it turned over. */
export interface Product {
  n: 16 | 32 | 64 | 128 | 256;
  b: "keys" | "lanes";
  /** A from four registers a thread, or from shared memory with rows along k, turned over; else its rows lie as B's keys do. */
  a?: "registers" | "lanes";
}

const base = `// Rows of 128 bytes, 128-byte swizzle, 8-row groups 1024 bytes apart; 16 columns further is 32 bytes further.
__device__ __forceinline__ u64 tile_descriptor(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
// The same bytes read across: k runs down the rows, n along them and on into the next 64-column chunk, CHUNK bytes further.
template <int CHUNK> __device__ __forceinline__ u64 turned_descriptor(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | ((u64)(CHUNK >> 4) << 16) | (64ull << 32) | (1ull << 62);
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
`;

const wrap = (items: string[], per: number): string[] =>
  Array.from({ length: Math.ceil(items.length / per) }, (_, i) => items.slice(i * per, (i + 1) * per).join(", "));

// An asm statement names every register of its sums; eight at a time keeps that readable.
const sums = `#define SUMS8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
`;
const held = (n: number): string => wrap(Array.from({ length: n / 16 }, (_, i) => `SUMS8(d, ${8 * i})`), 8).join(",\n      ");

/** Name of a product's function. */
const nameOf = ({ n, b, a }: Product): string => `wgmma_64x${n}x16${b === "lanes" ? "_turned" : ""}${a === "registers" ? "_held" : a ? "_across" : ""}`;

function product(p: Product): string {
  const count = p.n / 2;
  const names = wrap(Array.from({ length: count }, (_, i) => `%${i}`), 32);
  const list = names.map((l, i) => `    "${i === 0 ? "{" : " "}${l}${i === names.length - 1 ? "}, " : ","}"`).join("\n");
  const registers = p.a === "registers";
  const at = registers ? count + 4 : count + 1;
  const a = registers ? `{%${count}, %${count + 1}, %${count + 2}, %${count + 3}}` : `%${count}`;
  const turn = registers ? `${p.b === "lanes" ? 1 : 0}` : `${p.a === "lanes" ? 1 : 0}, ${p.b === "lanes" ? 1 : 0}`;
  return `template <int ADD> __device__ __forceinline__ void ${nameOf(p)}(float (&d)[${count}], ${registers ? "const u32 (&a)[4]" : "u64 a"}, u64 b) {
  asm volatile("{\\n.reg .pred add;\\nsetp.ne.b32 add, %${at + 1}, 0;\\n"
    "wgmma.mma_async.sync.aligned.m64n${p.n}k16.f32.bf16.bf16 "
${list}
    "${a}, %${at}, add, 1, 1, ${turn};\\n}"
    : ${held(p.n)}
    : ${registers ? `"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])` : `"l"(a)`}, "l"(b), "n"(ADD));
}
`;
}

const wait = (n: number): string => `template <int LATER> __device__ __forceinline__ void wgmma_wait(float (&d)[${n / 2}]) {
  asm volatile("wgmma.wait_group.sync.aligned %${n / 2};" : ${held(n)} : "n"(LATER) : "memory");
}
`;

/** The text of some products, each width's wait, and what they share. */
export function wgmmaBf16(products: readonly Product[]): string {
  const widths = [...new Set(products.map((p) => p.n))];
  const waits = "// Wait until at most LATER chains are in flight; naming the registers keeps the compiler from reading them earlier.\n";
  return [base, sums, ...products.map(product), waits, ...widths.map(wait)].join("");
}
