// What a traced kernel's text gains: every warp keeps when it began, when the kernel before had ended for it and when it left, and
// adds the times to its block's row. A warp finds its launch from how many warps have left, read at its start and used at its end, so
// that nothing waits for it; the adds return nothing either. 5 us of a step of 500.
import type { Edit } from "./models.ts";

/** Rows a kernel keeps: launches since they were cleared times blocks. */
export const ROWS = 65536;
/** Of a row: begin and wait are the least of the block's, kept as the largest of their complements; end is the largest; warps that left, and the multiprocessor above. */
export const ROW_BYTES = 16;

const text = `
// Traced: a row a block and launch of nanoseconds, lower 32 bits.
struct TraceRow { unsigned begin, waited, end, warps; };
extern "C" __device__ unsigned trace_left;
extern "C" __device__ TraceRow trace_rows[${ROWS}];
__device__ __forceinline__ unsigned trace_clock() { unsigned t; asm volatile("mov.u32 %0, %%globaltimer_lo;" : "=r"(t)); return t; }
struct Trace {
  unsigned begin, wait, left;
  __device__ __forceinline__ Trace() : begin(trace_clock()), wait(0) { asm volatile("ld.volatile.global.u32 %0, [%1];" : "=r"(left) : "l"(&trace_left)); }
  __device__ __forceinline__ void waited() { if (wait == 0) wait = trace_clock(); }
  __device__ __forceinline__ ~Trace() {
    if (threadIdx.x % 32 != 0) return;
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z, warps = blockDim.x / 32;
    const unsigned at = left / (blocks * warps) * blocks + blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    if (at < ${ROWS}) {
      atomicMax(&trace_rows[at].begin, ~begin);
      if (wait != 0) atomicMax(&trace_rows[at].waited, ~wait);
      unsigned at_sm = 0;
      if (threadIdx.x == 0) asm volatile("mov.u32 %0, %%smid;" : "=r"(at_sm));
      atomicAdd(&trace_rows[at].warps, 1u + (at_sm << 16));
      atomicMax(&trace_rows[at].end, trace_clock());
    }
    atomicAdd(&trace_left, 1u);
  }
};
#define await_previous() (await_previous(), trace.waited())

extern "C" __global__`;

/** Edits a text to keep its times; starts stay as early as they were. */
export const traced: Edit = (source, record) => {
  const kernel = source.lastIndexOf('extern "C" __global__');
  const body = source.indexOf(") {\n", kernel) + 4;
  return {
    source: `${source.slice(0, kernel)}${text.slice(1)}${source.slice(kernel + 'extern "C" __global__'.length, body)}  Trace trace;\n${source.slice(body)}`,
    pdl: record.launch!.pdl ?? false,
  };
};
