// Pairs of 16-bit numbers in a register, words of eight bf16, and approximations of a softmax.
import { device, type Entry } from "./entry.ts";

export const pack: readonly Entry[] = [
  device({
    is: "u32 pack_bf16(float low, float high)",
    does: `u32 v; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;`,
    host: "return as_bf16(low) | (u32)as_bf16(high) << 16;",
  }),
  device({ is: "float low_bf16(u32 pair)", does: "return __uint_as_float(pair << 16);" }),
  device({ is: "float high_bf16(u32 pair)", does: "return __uint_as_float(pair & 0xffff0000u);" }),
  device({
    doc: `The leading bf16 of eight f32; what they leave stays in v. An f32 is the sum of three bf16, so f32 activations go through the
same products three times and lose nothing.`,
    is: "uint4 split_bf16(float (&v)[8])",
    does: `u32 out[4];
#pragma unroll
for (int i = 0; i < 4; i++) {
  out[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
  v[2 * i] -= low_bf16(out[i]);
  v[2 * i + 1] -= high_bf16(out[i]);
}
return make_uint4(out[0], out[1], out[2], out[3]);`,
  }),
  device({
    doc: "Eight bf16 of 16 bytes.",
    is: "void widen_bf16(uint4 from, float (&v)[8])",
    does: `const u32 pairs[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
for (int i = 0; i < 4; i++) {
  v[2 * i] = __uint_as_float(pairs[i] << 16);
  v[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
}`,
  }),
  device({
    doc: "Eight bf16 to 16 bytes.",
    is: "uint4 narrow_bf16(const float (&v)[8])",
    does: "return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));",
  }),
  device({
    is: "u32 pack_f16(float low, float high)",
    does: `u32 v; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;`,
    host: "_Float16 v[2] = {(_Float16)low, (_Float16)high}; u32 w; memcpy(&w, v, 4); return w;",
  }),
  device({
    is: "float2 unpack_f16(u32 v)",
    does: `float2 f;
asm("{\\n.reg .f16 a, b;\\nmov.b32 {a, b}, %2;\\ncvt.f32.f16 %0, a;\\ncvt.f32.f16 %1, b;\\n}" : "=f"(f.x), "=f"(f.y) : "r"(v));
return f;`,
    host: "_Float16 h[2]; memcpy(h, &v, 4); return {(float)h[0], (float)h[1]};",
  }),
  device({ is: "float minus_infinity()", does: "return __int_as_float(0xff800000);" }),
  device({
    is: "float ex2_approx(float x)",
    does: `float v; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v;`,
    host: "return exp2f(x);",
  }),
  device({
    is: "float rcp_approx(float x)",
    does: `float v; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v;`,
    host: "return 1 / x;",
  }),
  device({
    doc: "Orders like the float.",
    is: "u32 ordered_bits(float v)",
    does: "const u32 bits = __float_as_uint(v);\nreturn bits & 0x80000000u ? ~bits : bits | 0x80000000u;",
  }),
];
