// Synthetic weights made where they will lie: the rules of runtime/synthetic.ts as one kernel, the same bytes. It is the only
// kernel that no artifact brings.
import type { FillJob } from "../../device.ts";
import type { Form } from "../../synthetic.ts";
import type { LaunchText } from "./kernel.ts";

const forms: readonly Form[] = ["f32", "bf16", "bf16-in-f32", "e4m3", "scale", "scale-ue8m0"];
const BLOCK = 256;
/** Elements a thread makes: enough to hide the launch, few enough to fill the machine. */
const EACH = 8;

export const fillSource = `// Synthetic weights: element i of a tensor is a function of (key, i), in 32-bit arithmetic; see runtime/synthetic.ts.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

__device__ __forceinline__ u32 mixed(u32 x) {
  x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}
// To nearest even; no value here is NaN.
__device__ __forceinline__ u16 to_bf16(float x) {
  const u32 bits = __float_as_uint(x);
  return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
// To nearest even. Below 2^-6 the grid is uniform: adding 2^14 aligns its step with the last bit.
__device__ __forceinline__ u8 to_e4m3(float x) {
  const float a = fabsf(x);
  const u32 bits = __float_as_uint(a);
  const u32 normal = ((bits + 0x7ffffu + ((bits >> 20) & 1u)) >> 20) - 960u;
  const u32 small = __float_as_uint(__fadd_rn(a, 16384.0f)) - 0x46800000u;
  return (u8)((a < 0.015625f ? small : normal) | ((__float_as_uint(x) >> 24) & 0x80u));
}

constexpr int BLOCK = ${BLOCK}, EACH = ${EACH};  // threads of a block, elements of a thread

// form: ${forms.map((f, i) => `${i} ${f}`).join(", ")}. step is the power of two that values are multiples of.
extern "C" __global__ void __launch_bounds__(BLOCK)
dsc_fill(void* __restrict__ to, int key, int start, int count, int form, int plus, float step) {
  for (int e = 0; e < EACH; e++) {
    const int j = (blockIdx.x * EACH + e) * BLOCK + threadIdx.x;
    if (j >= count) return;
    const u32 h = mixed(mixed((u32)(start + j)) ^ (u32)key);
    const int s = (int)(h >> 16) - 32768;
    const float value = __fadd_rn((float)plus, __fmul_rn((float)s, step));  // exact
    if (form == 0) ((float*)to)[j] = value;
    else if (form == 1) ((u16*)to)[j] = to_bf16(value);
    else if (form == 2) ((u32*)to)[j] = (u32)to_bf16(value) << 16;
    else if (form == 3) ((u8*)to)[j] = to_e4m3(__fmul_rn((float)s, 0.0078125f));
    else if (form == 4) ((float*)to)[j] = __fmul_rn(step, __fadd_rn(1.0f, __fmul_rn((float)(h >> 16), 3.814697265625e-06f)));
    else ((float*)to)[j] = __fmul_rn(step, h >> 31 ? 0.5f : 1.0f);
  }
}
`;

export const fillText: LaunchText = {
  name: "dsc_fill",
  params: [
    { kind: "buffer", name: "to", dtype: "f32", access: "out" },
    ...(["key", "start", "count", "form", "plus"] as const).map((name) => ({ kind: "scalar", name, dtype: "i32" }) as const),
    { kind: "scalar", name: "step", dtype: "f32" },
  ],
  dims: [],
  launch: { grid: [{ op: "ceildiv", of: ["count", BLOCK * EACH] }, 1, 1], block: BLOCK, sharedBytes: 0 },
};

/** The scalars of a job. */
export function fillScalars({ recipe, start, count }: FillJob): Record<string, number> {
  const scale = recipe.form === "scale" || recipe.form === "scale-ue8m0";
  return {
    key: recipe.key | 0,
    start,
    count,
    form: forms.indexOf(recipe.form),
    plus: recipe.plus,
    step: 2 ** (recipe.exponent - (scale ? 8 : 15)),
  };
}
