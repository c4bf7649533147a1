// Where the sums of a 128 x 128 tile of the persistent FP8 products go: through shared memory to y as bf16, by TMA where the tile is
// the matrix's own; and, where k of a tile was cut, first together with those of the other blocks.

/** Adds up a tile whose k was cut, in the order of its parts, by so many threads: same bits every run. */
export const sharedTile = (math: number): string => `      if (end - begin < PADDED_STEPS) {
        // A shared tile: all blocks leave their sums in memory (L2), meet, and each finishes a share of the columns.
        const int part = blockIdx.x % parts, first = blockIdx.x - part;
        float4* sums = (float4*)workspace;
        int* counter = (int*)(sums + blocks * ${16 * math}) + blockIdx.x / parts;
#pragma unroll
        for (int i = 0; i < 16; i++)
          sums[(blockIdx.x * 16 + i) * ${math} + threadIdx.x] = make_float4(sum[4 * i], sum[4 * i + 1], sum[4 * i + 2], sum[4 * i + 3]);
        __threadfence();
        bar_sync(3, ${math});
        if (threadIdx.x == 0) {
          atomicAdd(counter, 1);
          while (ld_acquire_s32(counter) < parts) { }
        }
        bar_sync(3, ${math});
        for (int chunk = part * 16 / parts; chunk < (part + 1) * 16 / parts; chunk++) {
          float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
          for (int s = 0; s < parts; s++) {
            const float4 more = ld_global_cg_v4_f32(sums + ((first + s) * 16 + chunk) * ${math} + threadIdx.x);
            v.x += more.x; v.y += more.y; v.z += more.z; v.w += more.w;
          }
          const int row = row0 + warp_row * 16 + lane / 4, at_column = column * COLUMNS + chunk * 8 + lane % 4 * 2;
          if (at_column < N) {
            if (row < m) *(u32*)(y + (long long)row * N + at_column) = pack_bf16(v.x, v.y);
            if (row + 8 < m) *(u32*)(y + (long long)(row + 8) * N + at_column) = pack_bf16(v.z, v.w);
          }
        }
        // The last to have read makes the counter ready for the next launch.
        bar_sync(3, ${math});
        if (threadIdx.x == 0 && atomicAdd(counter, 1) == 2 * parts - 1) *counter = 0;
        continue;
      }`;

/** Sums, rounded, into the shared memory that TMA stores from. */
export const stageTile = `      // Output: 64 x 128 bf16 through shared memory; TMA writes whole lines and clips the edges of y.
      if (threadIdx.x % 128 == 0) tma_store_wait_read<0>();  // the last tile has left the staging
      bar_sync(1 + warpgroup, 128);
#pragma unroll
      for (int c = 0; c < 16; c += 2) {  // two 8-column chunks a store, in TMA's 128-byte swizzle
        const int row = warp_row * 16 + lane % 16, chunk = c % 8 + lane / 16;
        const float* v = sum + c * 4;
        stmatrix_x4(out + c / 8 * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16),
            pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
      }
      fence_proxy_async();
      bar_sync(1 + warpgroup, 128);`;

const STORE = `if (threadIdx.x % 128 == 0) {
        tma_store_2d(&y_map, out, column * COLUMNS, row0);
        tma_store_2d(&y_map, out + 8192, column * COLUMNS + 64, row0);
        tma_store_commit();
      }`;

/** A tile of one matrix. */
export const tmaStore = `      ${STORE}`;

/** A tile of an expert's rows, which may end inside it. */
export const groupedStore = `      if (row0 + 64 > at.end) {
        // The next expert's rows are not ours to write: what there is, 16 bytes a thread.
        for (int c = threadIdx.x % 128; c < 64 * 16; c += 128) {
          const int row = c / 16, chunk = c % 8, half = c % 16 / 8;
          if (row0 + row < at.end)
            *(uint4*)(y + (long long)(row0 + row) * N + column * COLUMNS + c % 16 * 8) =
                ld_shared_v4_u32(out + half * 8192 + row * 128 + ((chunk ^ (row % 8)) * 16));
        }
      } else ${STORE}`;
