// Synthetic weights made where they will lie: the rules of runtime/synthetic.ts as one kernel, the same bytes.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { FILL_FORMS } from "../../../ir/system.ts";
import { cudaKernel, output, scalar } from "../text/kernel.ts";

const BLOCK = 256;
/** Elements a thread makes: enough to hide the launch, few enough to fill the machine. */
const EACH = 8;

export const fillKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_fill",
    header: [
      "dsc_fill: synthetic weights: element i of a tensor is a function of (key, i), in 32-bit arithmetic (runtime/synthetic.ts)",
      `form: ${FILL_FORMS.map((f, i) => `${i} ${f}`).join(", ")}. step is the power of two that values are multiples of.`,
    ],
    params: [
      output("to", "f32"),
      ...["key", "start", "count", "form", "plus"].map((name) => scalar(name, "i32")),
      scalar("step", "f32"),
    ],
    dims: [],
    launch: { grid: [ceildiv("count", BLOCK * EACH), 1, 1], block: BLOCK, sharedBytes: 0 },
    definitions: `constexpr int BLOCK = ${BLOCK}, EACH_THREAD = ${EACH};  // threads of a block, elements of a thread

__device__ __forceinline__ u32 mixed(u32 x) {
  x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}`,
    body: `
  for (int e = 0; e < EACH_THREAD; e++) {
    const int j = (blockIdx.x * EACH_THREAD + e) * BLOCK + threadIdx.x;
    if (j >= count) return;
    const u32 h = mixed(mixed((u32)(start + j)) ^ (u32)key);
    const int s = (int)(h >> 16) - 32768;
    const float value = __fadd_rn((float)plus, __fmul_rn((float)s, step));  // exact
    if (form == 0) to[j] = value;
    else if (form == 1) ((u16*)to)[j] = to_bf16(value);
    else if (form == 2) ((u32*)to)[j] = (u32)to_bf16(value) << 16;
    else if (form == 3) ((u8*)to)[j] = to_e4m3(__fmul_rn((float)s, 0.0078125f));
    else if (form == 4) to[j] = __fmul_rn(step, __fadd_rn(1.0f, __fmul_rn((float)(h >> 16), 3.814697265625e-06f)));
    else to[j] = __fmul_rn(step, h >> 31 ? 0.5f : 1.0f);
  }
`,
  });
