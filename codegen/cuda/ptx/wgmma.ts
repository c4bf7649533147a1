// wgmma: products of 64 rows by n columns that a warpgroup's tensor cores do, operands described in shared memory. Sums of a
// thread, n / 2 of them: row lane / 4 of its warp's sixteen (+ 8 in the second pair of four), columns 2 (lane % 4) and + 1 of
// every eight.
import { declaration, device, type Entry } from "./entry.ts";
import { when } from "../../text.ts";

const wrap = (items: readonly string[], per: number): string[] =>
  Array.from({ length: Math.ceil(items.length / per) }, (_, i) => items.slice(i * per, (i + 1) * per).join(", "));

/** Widths that the instruction has. */
const widths = Array.from({ length: 32 }, (_, i) => 8 * (i + 1));

/** How an operand lies: K-major (rows of k), MN-major (rows of the other axis), or in registers. */
type Layout = "k" | "mn" | "registers";

interface Product {
  n: number;
  type: "e4m3" | "bf16";
  a?: Layout;
  b?: Layout;
}

/** An asm statement names every register of its sums; four at a time keeps that readable. */
const sums = declaration("SUMS4", '#define SUMS4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])');
const named = (n: number): string =>
  wrap(
    Array.from({ length: n / 8 }, (_, i) => `SUMS4(d, ${4 * i})`),
    6,
  ).join(",\n      ");

const SUFFIX_OF_A = { k: "", mn: "_amn", registers: "_areg" } as const;
const suffix = (a: Layout, b: Layout): string => `${SUFFIX_OF_A[a]}${when(b === "mn", "_bmn")}`;

function instruction({ n, type, a = "k", b = "k" }: Product): Entry {
  const count = n / 2;
  const k = type === "bf16" ? 16 : 32;
  const list = wrap(
    Array.from({ length: count }, (_, i) => `%${i}`),
    20,
  );
  const d = `    "{${list.join(',"\n    " ')}}, "`;
  const registers = a === "registers";
  const at = count + (registers ? 4 : 1);
  const first = registers ? `{${[0, 1, 2, 3].map((i) => `%${count + i}`).join(", ")}}` : `%${count}`;
  const transposed = [...(registers ? [] : [a]), b].map((l) => (l === "mn" ? ", 1" : ", 0")).join("");
  const layout = type === "bf16" ? transposed : "";
  // Known when compiled for e4m3: given at run time the same constant makes the assembler choose other registers.
  const known = type === "e4m3";
  const operand = registers ? "const u32 (&a)[4]" : "u64 a";
  const operands = `float (&d)[${count}], ${operand}, u64 b`;
  const source = registers ? [0, 1, 2, 3].map((i) => `"r"(a[${i}])`).join(", ") : '"l"(a)';
  const add = known ? '"n"(ADD)' : '"r"(add)';
  const name = `wgmma_m64n${n}k${k}_${type}${suffix(a, b)}`;
  return device({
    is: known ? `template <int ADD> void ${name}(${operands})` : `void ${name}(${operands}, int add)`,
    does: `asm volatile("{\\n.reg .pred add;\\nsetp.ne.b32 add, %${at + 1}, 0;\\n"
  "wgmma.mma_async.sync.aligned.m64n${n}k${k}.f32.${type}.${type} "
${d.replaceAll(/^ {2}/gm, "")}
  "${first}, %${at}, add, 1, 1${layout};\\n}"
  : ${named(n).replaceAll("\n      ", "\n    ")}
  : ${source}, "l"(b), ${add});`,
    host: hostProduct({ n, type, a, b }),
  });
}

const hostProduct = ({ n, type, a, b }: Required<Product>): string => {
  if (type === "e4m3") return `product_e4m3<${n}>(d, a, b, ADD);`;
  return a === "registers"
    ? `product_held<${n}>(d, a, b, ${b === "mn"}, add);`
    : `product_bf16<${n}>(d, a, b, ${b === "mn"}, ${a === "mn"}, add);`;
};

/** 32 bytes of k further, as descriptors count. */
const plus = (i: number): string => (i === 0 ? "" : ` + ${2 * i}`);

/** One step of a ring's stage: 128 bytes of k of either operand, four instructions; the first overwrites unless `add`. */
const steps: readonly Entry[] = widths.flatMap((n) => [
  device({
    doc: "One step of 128 columns: four wgmma, the first overwrites. Longer chains would lose bits: the adder keeps about 14.",
    is: `void wgmma_m64n${n}k128_e4m3(float (&part)[${n / 2}], u64 a, u64 b)`,
    does: [
      "wgmma_fence();",
      ...[0, 1, 2, 3].map((i) => `wgmma_m64n${n}k32_e4m3<${Math.min(i, 1)}>(part, a${plus(i)}, b${plus(i)});`),
      "wgmma_commit_group();",
    ].join("\n"),
    host: `__syncwarp(); step_e4m3<${n}>(part, a, b);`,
  }),
  device({
    doc: "One step of 64 columns; the first step of a sum overwrites it.",
    is: `void wgmma_m64n${n}k64_bf16(float (&sum)[${n / 2}], u64 a, u64 b, int add)`,
    does: [
      "wgmma_fence();",
      ...[0, 1, 2, 3].map((i) => `wgmma_m64n${n}k16_bf16(sum, a${plus(i)}, b${plus(i)}, ${i === 0 ? "add" : 1});`),
      "wgmma_commit_group();",
    ].join("\n"),
    host: `__syncwarp(); for (int i = 0; i < 4; i++) product_bf16<${n}>(sum, a + 2 * i, b + 2 * i, false, false, i || add);`,
  }),
]);

export const wgmma: readonly Entry[] = [
  device({
    doc: "K-major: rows of 128 bytes, 128-byte swizzle, 8-row groups 1024 bytes apart; 32 bytes further is the next product's k.",
    is: "u64 descriptor_k_major(u32 address)",
    does: "return (u64)((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);",
    host: "return (u64)(address >> 4) | 1ull << 16 | 64ull << 32;",
  }),
  device({
    doc: `MN-major, the same bytes read across: k runs down the rows, n along them and on into the next 64-column chunk, CHUNK bytes
further.`,
    is: "template <int CHUNK> u64 descriptor_mn_major(u32 address)",
    does: "return (u64)((address & 0x3FFFF) >> 4) | ((u64)(CHUNK >> 4) << 16) | (64ull << 32) | (1ull << 62);",
    host: "return (u64)(address >> 4) | (u64)(CHUNK >> 4) << 16 | 64ull << 32;",
  }),
  device({
    doc: `Without swizzle: eight rows of 16 bytes side by side, the next 16 bytes of all rows LEADING bytes further. Where there are fewer
than eight rows what lies behind them is read in their place, and their columns of the product are not looked at.`,
    is: "template <int LEADING, int STRIDE> u64 descriptor_no_swizzle(u32 address)",
    does: "return (u64)((address & 0x3FFFF) >> 4) | ((u64)(LEADING / 16) << 16) | ((u64)(STRIDE / 16) << 32);",
    host: `if (address % 16) fail("rows do not begin at 16 bytes");
return (u64)(address >> 4) | (u64)(LEADING / 16) << 16 | (u64)(STRIDE / 16) << 32;`,
  }),
  // A warp takes these together: none of its lanes is still at a barrier before them.
  device({ is: "void wgmma_fence()", does: `asm volatile("wgmma.fence.sync.aligned;" ::: "memory");`, host: "__syncwarp();" }),
  device({ is: "void wgmma_commit_group()", does: `asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");`, host: "" }),
  device({
    doc: "Waits until at most LATER groups are in flight. Only then are the registers named, so that nothing reads them earlier.",
    is: "template <int LATER, int COUNT> void wgmma_wait_group(float (&d)[COUNT])",
    does: `asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(LATER) : "memory");
#pragma unroll
for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i]) :: "memory");`,
    host: "__syncwarp();",
  }),
  sums,
  ...widths.map((n) =>
    device({
      doc: "As wgmma_wait_group, and names the registers in the wait itself: loops whose sums stay in flight from turn to turn.",
      is: `template <int LATER> void wgmma_wait_group_n${n}(float (&d)[${n / 2}])`,
      does: `asm volatile("wgmma.wait_group.sync.aligned %${n / 2};"
  : ${named(n).replaceAll("\n      ", "\n    ")}
  : "n"(LATER) : "memory");`,
      host: "__syncwarp();",
    }),
  ),
  ...widths.flatMap((n) => [instruction({ n, type: "e4m3" }), instruction({ n, type: "bf16" })]),
  ...[16, 32, 64, 128].flatMap((n) => [
    instruction({ n, type: "bf16", b: "mn" }),
    instruction({ n, type: "bf16", a: "mn" }),
    instruction({ n, type: "bf16", a: "registers", b: "mn" }),
  ]),
  instruction({ n: 24, type: "bf16", a: "mn" }),
  instruction({ n: 256, type: "bf16", a: "registers", b: "mn" }),
  ...steps,
  device({
    doc: "One step of 128 columns by eight rows without swizzle: x moves on by two times 16 columns, LEADING bytes each.",
    is: "template <int LEADING> void wgmma_m64n8k128_e4m3_no_swizzle(float (&part)[4], u64 w, u64 x)",
    does: `wgmma_fence();
wgmma_m64n8k32_e4m3<0>(part, w, x);
wgmma_m64n8k32_e4m3<1>(part, w + 2, x + 2 * (LEADING / 16));
wgmma_m64n8k32_e4m3<1>(part, w + 4, x + 4 * (LEADING / 16));
wgmma_m64n8k32_e4m3<1>(part, w + 6, x + 6 * (LEADING / 16));
wgmma_commit_group();`,
    host: "__syncwarp(); step_no_swizzle(part, w, x);",
  }),
  device({
    doc: "Registers go from the warps that copy to those that multiply; every warp of a warpgroup says so.",
    is: "template <int COUNT> void setmaxnreg_dec()",
    does: `asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT));`,
    host: "",
  }),
  device({
    is: "template <int COUNT> void setmaxnreg_inc()",
    does: `asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT));`,
    host: "",
  }),
];
