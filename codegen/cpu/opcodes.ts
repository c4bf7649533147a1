// The WebAssembly instructions we use: opcode, operand and result types, kind of immediate. One table serves the binary
// encoder, the text printer and the type check of the expression builder. No relaxed SIMD: Node 20 does not have it.

export type ValType = "i32" | "f32" | "f64" | "v128";

/** Immediates: none; "mem" = align + offset; "lane"; "mem lane" = both; "const"; "shuffle" = 16 lane numbers. */
export type Immediate = "none" | "mem" | "lane" | "mem lane" | "const" | "shuffle";

export interface Opcode {
  /** Opcode, prefix byte first. */
  bytes: readonly number[];
  ins: readonly ValType[];
  out: ValType | null;
  imm: Immediate;
  /** log2 of the access width, for loads and stores: the natural alignment. */
  align: number;
}

const table: Record<string, Opcode> = {};

function define(
  names: string,
  first: number,
  prefix: number | null,
  ins: ValType[],
  out: ValType | null,
  imm: Immediate = "none",
  align = 0,
): void {
  names.split(" ").forEach((name, i) => {
    const code = first + i;
    if (name === "-") return;
    const bytes = prefix === null ? [code] : code < 128 ? [prefix, code] : [prefix, (code & 0x7f) | 0x80, code >> 7];
    table[name] = { bytes, ins, out, imm, align };
  });
}

const [i, f, d, v] = ["i32", "f32", "f64", "v128"] as const;
define("i32.load", 0x28, null, [i], i, "mem", 2);
define("f32.load", 0x2a, null, [i], f, "mem", 2);
define("i32.load8_s i32.load8_u", 0x2c, null, [i], i, "mem", 0);
define("i32.load16_s i32.load16_u", 0x2e, null, [i], i, "mem", 1);
define("i32.store", 0x36, null, [i, i], null, "mem", 2);
define("f32.store", 0x38, null, [i, f], null, "mem", 2);
define("i32.store8", 0x3a, null, [i, i], null, "mem", 0);
define("i32.store16", 0x3b, null, [i, i], null, "mem", 1);
define("i32.const", 0x41, null, [], i, "const");
define("f32.const", 0x43, null, [], f, "const");
define("i32.eqz", 0x45, null, [i], i);
define("i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u", 0x46, null, [i, i], i);
define("f32.eq f32.ne f32.lt f32.gt f32.le f32.ge", 0x5b, null, [f, f], i);
define("i32.clz i32.ctz", 0x67, null, [i], i);
define(
  "i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u",
  0x6a,
  null,
  [i, i],
  i,
);
define("f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt", 0x8b, null, [f], f);
define("f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign", 0x92, null, [f, f], f);
define("f64.add f64.sub f64.mul f64.div", 0xa0, null, [d, d], d);
define("f32.convert_i32_s f32.convert_i32_u", 0xb2, null, [i], f);
define("f32.demote_f64", 0xb6, null, [d], f);
define("f64.promote_f32", 0xbb, null, [f], d);
define("i32.reinterpret_f32", 0xbc, null, [f], i);
define("f32.reinterpret_i32", 0xbe, null, [i], f);
define("i32.trunc_sat_f32_s i32.trunc_sat_f32_u", 0, 0xfc, [f], i);

const simd = (names: string, first: number, ins: ValType[], out: ValType | null, imm: Immediate = "none", align = 0): void =>
  define(names, first, 0xfd, ins, out, imm, align);
simd("v128.load", 0, [i], v, "mem", 4);
simd("v128.load8x8_s v128.load8x8_u v128.load16x4_s v128.load16x4_u v128.load32x2_s v128.load32x2_u", 1, [i], v, "mem", 3);
simd("v128.load8_splat", 7, [i], v, "mem", 0);
simd("v128.load16_splat", 8, [i], v, "mem", 1);
simd("v128.load32_splat", 9, [i], v, "mem", 2);
simd("v128.store", 11, [i, v], null, "mem", 4);
simd("v128.const", 12, [], v, "const");
simd("i8x16.shuffle", 13, [v, v], v, "shuffle");
simd("i8x16.swizzle", 14, [v, v], v);
simd("i8x16.splat i16x8.splat i32x4.splat", 15, [i], v);
simd("f32x4.splat", 19, [f], v);
simd("i32x4.extract_lane", 27, [v], i, "lane");
simd("i32x4.replace_lane", 28, [v, i], v, "lane");
simd("f32x4.extract_lane", 31, [v], f, "lane");
simd("f32x4.replace_lane", 32, [v, f], v, "lane");
simd("i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u", 55, [v, v], v);
simd("f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge", 65, [v, v], v);
simd("v128.not", 77, [v], v);
simd("v128.and v128.andnot v128.or v128.xor", 78, [v, v], v);
simd("v128.bitselect", 82, [v, v, v], v);
simd("v128.any_true", 83, [v], i);
simd("v128.store32_lane", 90, [i, v], null, "mem lane", 2);
simd("v128.store64_lane", 91, [i, v], null, "mem lane", 3);
simd("v128.load32_zero", 92, [i], v, "mem", 2);
simd("v128.load64_zero", 93, [i], v, "mem", 3);
simd("i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u", 101, [v, v], v);
simd("f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest", 103, [v], v);
simd("i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u", 133, [v, v], v);
simd("i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u", 135, [v], v);
simd("i16x8.shl i16x8.shr_s i16x8.shr_u", 139, [v, i], v);
simd("i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u", 167, [v], v);
simd("i32x4.shl i32x4.shr_s i32x4.shr_u", 171, [v, i], v);
simd("i32x4.add", 174, [v, v], v);
simd("i32x4.sub", 177, [v, v], v);
simd("i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u", 181, [v, v], v);
simd("f32x4.abs f32x4.neg - f32x4.sqrt", 224, [v], v);
simd("f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax", 228, [v, v], v);
simd("i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u", 248, [v], v);

/** Every instruction by its text-format name. */
export const opcodes: Readonly<Record<string, Opcode>> = table;
