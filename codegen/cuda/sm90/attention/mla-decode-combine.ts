// The end of the MLA decode kernel: clusters that share a token wait for all of its parts, and each adds up a slice of them. Runs in
// the mixing warpgroups, after all pieces.
import type { MlaAttendProblem } from "../../../kernels/attention.ts";
import { indented, lines } from "../../text/lines.ts";

const awaitParts = `const int row = turn == 0 ? begin.x : end.x;
if (turn == 1 ? end.y == 0 || row == begin.x : begin.x >= plan.last) continue;
int first = me, parts = 1;  // the run with its first stage; runs that begin inside it are the others
#pragma unroll 1
for (int c = 1; c < clusters; c += 32) {
  const int2 start = plan.starts[min(c + lane, clusters)];
  const u32 later = __ballot_sync(~0u, start.x == row && start.y > 0);
  if (later && parts == 1) first = c + __ffs(later) - 2;
  parts += __popc(later);
}
if (parts == 1) continue;
int* counter = counters + (row * CLUSTER + rank) * 2;
if (thread == 0) while (ld_acquire_s32(counter) < parts) { }
bar_sync(2, 256);`;

const addParts = `const float4 stat = ld_global_cg_v4_f32((const float4*)slots + slot_of(p + lane % 8) * SLOT + 4096 + half / 2);
uint4 part[8];
EACH(i, 8) part[i] = ld_global_cg_v4_u32(slots + slot_of(p + i) * SLOT + half * 32 + lane);
const float most = warp_reduce_max(fmaxf(top, stat.x)), less = ex2_approx(top - most);
const float w = lane < min(8, parts - p) ? ex2_approx(stat.x - most) : 0.f;
const float by = w * (half % 2 ? stat.w : stat.z);
all = all * less + warp_reduce_sum_ascending(w * stat.y);
top = most;
EACH(k, 8) mixed[k] *= less;
EACH(i, 8) {
  const u32 words[4] = {part[i].x, part[i].y, part[i].z, part[i].w};
  const float weight = __shfl_sync(~0u, by, i);
  EACH(k, 4) {
    const float2 v = unpack_f16(words[k]);
    mixed[2 * k] = fmaf(weight, v.x, mixed[2 * k]);
    mixed[2 * k + 1] = fmaf(weight, v.y, mixed[2 * k + 1]);
  }
}`;

const addHalf = lines(
  `float top = minus_infinity(), all = 0.f, mixed[8] = {};
#pragma unroll 1
for (int p = 0; p < parts; p += 8) {`,
  indented(addParts),
  `}
const float by = rcp_approx(all);
((uint4*)y)[((long long)row * HEADS + rank * 64) * 64 + half * 32 + lane] = make_uint4(pack_bf16(mixed[0] * by, mixed[1] * by),
    pack_bf16(mixed[2] * by, mixed[3] * by), pack_bf16(mixed[4] * by, mixed[5] * by), pack_bf16(mixed[6] * by, mixed[7] * by));`,
);

const addSlice = (halves: number): string =>
  lines(
    `// A warp has half of a head's lanes, eight a thread. Parts pass by eight at a time: lanes weigh one each while all are on their way.
const auto slot_of = [&](int part) { return ((long long)(first + min(part, parts - 1)) * CLUSTER + rank) * 2 + (part == 0); };
#pragma unroll 1
for (int half = ${halves} * (me - first) / parts + warp - 8; half < ${halves} * (me - first + 1) / parts; half += 8) {`,
    indented(addHalf),
    "}",
  );

const leave = `// The last to leave makes the counters ready for the next launch.
bar_sync(2, 256);
if (thread == 0 && atomicAdd(counter + 1, 1) == parts - 1) { counter[0] = 0; counter[1] = 0; }`;

export const combine = ({ heads }: MlaAttendProblem): string =>
  lines(
    `// Shared tokens, the run's first and last: parts are added in the order of clusters, whoever adds them.
#pragma unroll 1
for (int turn = 0; turn < 2; turn++) {`,
    indented(lines(awaitParts, "", addSlice(2 * Math.min(heads, 64)), leave)),
    "}",
  );
