// The end of the MLA decode kernel: clusters that share a token, and those that have none, wait for its parts and each adds up a
// slice of them.

/** Runs in the mixing warpgroups, after all pieces. */
export const combine = (): string => `
    // Shared tokens: the first of the run, and the last; a cluster without work helps with one. Parts are added in the order of
    // clusters, whoever adds them.
    const bool idle = me >= plan.used;
#pragma unroll 1
    for (int turn = 0; turn < 2; turn++) {
      const int row = idle ? (me - plan.used) % T : turn == 0 ? mine.begin.x : mine.end.x;
      if (turn == 1 ? idle || mine.end.y == 0 || row == mine.begin.x : !idle && mine.empty()) continue;
      int first, parts;
      plan.owners(row, first, parts);
      if (parts == 1) continue;
      const int free = clusters - plan.used, helpers = parts + (free > row ? (free - 1 - row) / T + 1 : 0);
      const int slice = idle ? parts + (me - plan.used) / T : me - first;
      int* counter = counters + (row * CLUSTER + rank) * 2;
      if (thread == 0) while (load_acquire(counter) < parts) { }
      group_sync(2, 256);

      // Eight lanes of one head a thread; the loads of eight parts are in flight at once.
      const long long at = (long long)first * CLUSTER + rank;
#pragma unroll 1
      for (int u = 4096 * slice / helpers + thread; u < 4096 * (slice + 1) / helpers; u += 256) {
        float top = minus_infinity(), sum = 0.f, mixed[8] = {};
#pragma unroll 1
        for (int p0 = 0; p0 < parts; p0 += 8) {
          float4 stat[8];
          uint4 part[8];
#pragma unroll
          for (int i = 0; i < 8; i++) {
            const long long slot = (at + min(p0 + i, parts - 1) * CLUSTER) * 2 + (p0 + i == 0);
            stat[i] = load_partial(stats + slot * 64 + u / 64);
            part[i] = load_words((const uint4*)slots + slot * 4096 + u);
            if (p0 + i >= parts) stat[i].x = minus_infinity();
          }
          float most = top;
#pragma unroll
          for (int i = 0; i < 8; i++) most = fmaxf(most, stat[i].x);
          const float less = exp2_fast(top - most);
          sum *= less;
#pragma unroll
          for (int k = 0; k < 8; k++) mixed[k] *= less;
#pragma unroll
          for (int i = 0; i < 8; i++) {
            const float w = exp2_fast(stat[i].x - most), by = w * (u % 64 < 32 ? stat[i].z : stat[i].w);
            const u32 words[4] = {part[i].x, part[i].y, part[i].z, part[i].w};
            sum = fmaf(w, stat[i].y, sum);
#pragma unroll
            for (int k = 0; k < 4; k++) {
              const float2 v = unpack_half(words[k]);
              mixed[2 * k] = fmaf(by, v.x, mixed[2 * k]);
              mixed[2 * k + 1] = fmaf(by, v.y, mixed[2 * k + 1]);
            }
          }
          top = most;
        }
        const float by = 1.f / sum;
        *((uint4*)(y + ((long long)tokens.at(row) * HEADS + rank * 64) * 512) + u) = make_uint4(pack_bf16(mixed[0] * by, mixed[1] * by),
            pack_bf16(mixed[2] * by, mixed[3] * by), pack_bf16(mixed[4] * by, mixed[5] * by), pack_bf16(mixed[6] * by, mixed[7] * by));
      }
      // The last to leave makes the counters ready for the next launch.
      group_sync(2, 256);
      if (thread == 0 && atomicAdd(counter + 1, 1) == helpers - 1) { counter[0] = 0; counter[1] = 0; }
    }`;
