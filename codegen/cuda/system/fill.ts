// Synthetic weights made where they will lie: the rules of runtime/synthetic.ts as one kernel, the same bytes.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { FILL_FORMS } from "../../../ir/system.ts";
import { cudaKernel, output, scalar, type Parameter } from "../text/kernel.ts";

const BLOCK = 256;
/** Elements a thread makes: enough to hide the launch, few enough to fill the machine. */
const EACH = 8;

/** Numbers of a launch, then of those of a part, then the step of values. */
const numbers = (more: readonly string[]): Parameter[] => [
  output("to", "f32"),
  ...["key", "start", "count", "form", "plus", ...more].map((name) => scalar(name, "i32")),
  scalar("step", "f32"),
];
const launch = { grid: [ceildiv("count", BLOCK * EACH), 1, 1], block: BLOCK, sharedBytes: 0 } satisfies KernelText["launch"];
const definitions = `constexpr int BLOCK = ${BLOCK}, EACH_THREAD = ${EACH};  // threads of a block, elements of a thread

__device__ __forceinline__ u32 mixed(u32 x) {
  x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}`;

/** Element `of` of a tensor to place `at` of the form that is asked for. */
const element = (of: string, at: string): string => `    const u32 h = mixed(mixed((u32)(${of})) ^ (u32)key);
    const int s = (int)(h >> 16) - 32768;
    const float value = __fadd_rn((float)plus, __fmul_rn((float)s, step));  // exact
    if (form == 0) to[${at}] = value;
    else if (form == 1) ((u16*)to)[${at}] = to_bf16(value);
    else if (form == 2) ((u32*)to)[${at}] = (u32)to_bf16(value) << 16;
    else if (form == 3) ((u8*)to)[${at}] = to_e4m3(__fmul_rn((float)s, 0.0078125f));
    else if (form == 4) to[${at}] = __fmul_rn(step, __fadd_rn(1.0f, __fmul_rn((float)(h >> 16), 3.814697265625e-06f)));
    else to[${at}] = __fmul_rn(step, h >> 31 ? 0.5f : 1.0f);`;

export const fillKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_fill",
    header: [
      "dsc_fill: synthetic weights: element i of a tensor is a function of (key, i), in 32-bit arithmetic (runtime/synthetic.ts)",
      `form: ${FILL_FORMS.map((f, i) => `${i} ${f}`).join(", ")}. step is the power of two that values are multiples of.`,
    ],
    params: numbers([]),
    dims: [],
    launch,
    definitions,
    body: `
  for (int e = 0; e < EACH_THREAD; e++) {
    const int j = (blockIdx.x * EACH_THREAD + e) * BLOCK + threadIdx.x;
    if (j >= count) return;
${element("start + j", "j")}
  }
`,
  });

export const fillPartKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_fill_part",
    header: [
      "dsc_fill_part: the same of a part of a matrix: runs of width elements, pitch apart in the tensor and apart in memory.",
      `form: ${FILL_FORMS.map((f, i) => `${i} ${f}`).join(", ")}. step is the power of two that values are multiples of.`,
    ],
    params: numbers(["width", "pitch", "apart"]),
    dims: [],
    launch,
    definitions,
    body: `
  for (int e = 0; e < EACH_THREAD; e++) {
    const int j = (blockIdx.x * EACH_THREAD + e) * BLOCK + threadIdx.x;
    if (j >= count) return;
    const int run = j / width, in_run = j % width;
    const i64 at = (i64)run * apart + in_run;
${element("start + run * pitch + in_run", "at")}
  }
`,
  });
