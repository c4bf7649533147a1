// mma of a warp, and the matrices it exchanges with shared memory.
import { device, type Entry } from "./entry.ts";

const MMA = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32";

export const mma: readonly Entry[] = [
  device({
    doc: "16 rows of a by 8 rows of b by 16 columns. Of a lane: rows lane / 4 and + 8, then columns 2 (lane % 4) and + 1 of the sums.",
    is: "void mma_m16n8k16_bf16(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1)",
    does: `asm volatile("${MMA} {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));`,
    host: `const u32 a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
float rows[2][16], columns[2][16];  // of this lane's sums
for (int i = 0; i < 6; i++) {
  u64* v = exchange(i < 4 ? a[i] : b[i - 4]);
  for (int q = 0; q < 4; q++) for (int e = 0; e < 2; e++) {
    if (i < 4) rows[i % 2][i / 2 * 8 + q * 2 + e] = of_bf16((u16)(v[lane_of() / 4 * 4 + q] >> 16 * e));
    else for (int t = 0; t < 2; t++) columns[t][(i - 4) * 8 + q * 2 + e] = of_bf16((u16)(v[(lane_of() % 4 * 2 + t) * 4 + q] >> 16 * e));
  }
}
for (int i = 0; i < 4; i++) for (int k = 0; k < 16; k++) d[i] += rows[i / 2][k] * columns[i % 2][k];`,
  }),
  device({
    doc: `32 columns of 16 rows: a lane has eight columns of two rows, and the same eight of one row of x. mma wants of a lane the columns
2t, 2t + 1, 2t + 8, 2t + 9 of 16 (t = lane % 4); their order is free as long as both sides agree.`,
    is: "void mma_m16n8k32_bf16(float (&d)[4], uint4 upper, uint4 lower, uint4 x)",
    does: `mma_m16n8k16_bf16(d, upper.x, lower.x, upper.y, lower.y, x.x, x.y);
mma_m16n8k16_bf16(d, upper.z, lower.z, upper.w, lower.w, x.z, x.w);`,
  }),
  device({
    doc: "stmatrix takes the accumulator layout of wgmma as it is: register i of a lane is row lane / 4, columns 2 (lane % 4) of matrix i.",
    is: "void stmatrix_x4(u32 to, u32 a, u32 b, u32 c, u32 d)",
    does: `asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
             :: "r"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");`,
    host: `u64* rows = exchange(to); const u32 w[4] = {a, b, c, d}; const int lane = lane_of();
for (int i = 0; i < 4; i++) memcpy(self->block->shared + (u32)rows[i * 8 + lane / 4] + lane % 4 * 4, &w[i], 4);
__syncwarp();`,
  }),
  device({
    doc: "Transposed: a lane's columns become rows of shared memory.",
    is: "void stmatrix_x4_trans(u32 to, u32 a, u32 b, u32 c, u32 d)",
    does: `asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};"
             :: "r"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");`,
    host: `u64* rows = exchange(to); const u32 w[4] = {a, b, c, d}; const int lane = lane_of();
for (int i = 0; i < 4; i++) for (int e = 0; e < 2; e++)
  *(u16*)(self->block->shared + (u32)rows[i * 8 + lane % 4 * 2 + e] + lane / 4 * 2) = w[i] >> 16 * e;
__syncwarp();`,
  }),
  device({
    is: "void stmatrix_x2_trans(u32 to, u32 a, u32 b)",
    does: `asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" :: "r"(to), "r"(a), "r"(b) : "memory");`,
    host: `u64* rows = exchange(to); const u32 w[2] = {a, b}; const int lane = lane_of();
for (int i = 0; i < 2; i++) for (int e = 0; e < 2; e++)
  *(u16*)(self->block->shared + (u32)rows[i * 8 + lane % 4 * 2 + e] + lane / 4 * 2) = w[i] >> 16 * e;
__syncwarp();`,
  }),
  device({
    is: "void ldmatrix_x4(u32 from, u32& a, u32& b, u32& c, u32& d)",
    does: `asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
             : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(from) : "memory");`,
    host: "load_matrices<4>(from, {&a, &b, &c, &d});",
  }),
  device({
    is: "void ldmatrix_x2(u32 from, u32& a, u32& b)",
    does: `asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(from) : "memory");`,
    host: "load_matrices<2>(from, {&a, &b});",
  }),
];
