// The end of the MLA decode kernel: clusters that share a token, and those that have none, wait for its parts and each adds up a
// slice of them.

/** Runs in the mixing warpgroups, after all pieces. */
export const combine = (): string => `
    // Shared tokens: the first of the run, and the last; a cluster without work helps with one. Parts are added in the order of
    // clusters, whoever adds them.
    const bool idle = me >= plan.used;
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

      // Four lanes of one head a thread; the loads of sixteen parts are in flight at once.
      const long long at = (long long)first * CLUSTER + rank;
      for (int u = 8192 * slice / helpers + thread; u < 8192 * (slice + 1) / helpers; u += 256) {
        float top = minus_infinity(), sum = 0.f;
        float4 mixed = make_float4(0.f, 0.f, 0.f, 0.f);
        for (int p0 = 0; p0 < parts; p0 += 16) {
          float2 stat[16];
          float4 part[16];
#pragma unroll
          for (int i = 0; i < 16; i++) {
            const long long slot = (at + (p0 + i) * CLUSTER) * 2 + (p0 + i == 0);
            stat[i] = p0 + i < parts ? load_pair(stats + slot * 64 + u / 128) : make_float2(minus_infinity(), 0.f);
            part[i] = p0 + i < parts ? load_partial(slots + slot * 8192 + u) : make_float4(0.f, 0.f, 0.f, 0.f);
          }
          float most = top;
#pragma unroll
          for (int i = 0; i < 16; i++) most = fmaxf(most, stat[i].x);
          const float less = exp2_fast(top - most);
          sum *= less; mixed.x *= less; mixed.y *= less; mixed.z *= less; mixed.w *= less;
#pragma unroll
          for (int i = 0; i < 16; i++) {
            const float w = exp2_fast(stat[i].x - most);
            sum = fmaf(w, stat[i].y, sum);
            mixed.x = fmaf(w, part[i].x, mixed.x); mixed.y = fmaf(w, part[i].y, mixed.y);
            mixed.z = fmaf(w, part[i].z, mixed.z); mixed.w = fmaf(w, part[i].w, mixed.w);
          }
          top = most;
        }
        const float by = 1.f / sum;
        *(uint2*)(y + ((long long)row * HEADS + rank * 64) * 512 + u * 4) = make_uint2(pack_bf16(mixed.x * by, mixed.y * by), pack_bf16(mixed.z * by, mixed.w * by));
      }
      // The last to leave makes the counters ready for the next launch.
      group_sync(2, 256);
      if (thread == 0 && atomicAdd(counter + 1, 1) == helpers - 1) { counter[0] = 0; counter[1] = 0; }
    }`;
