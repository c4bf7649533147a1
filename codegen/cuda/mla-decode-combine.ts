// The end of the MLA decode kernel: clusters that share a token wait for each other and each adds up a slice of its sums.

/** Runs in the mixing warpgroups, after all pieces. */
export const combine = (): string => `
    // Shared tokens: the first of the run, the last, or one that is both. Parts are added in the order of clusters.
    for (int turn = 0; turn < 2; turn++) {
      const int row = turn == 0 ? mine.begin.x : mine.end.x;
      if (mine.empty() || (turn == 1 && (mine.end.y == 0 || row == mine.begin.x))) continue;
      int first = me, last = me;
      while (first > 0 && (plan.starts[first].x == row && plan.starts[first].y > 0)) first--;
      while (last + 1 < plan.used && plan.starts[last + 1].x == row) last++;
      const int parts = last - first + 1;
      if (parts == 1) continue;
      int* counter = counters + (row * CLUSTER + rank) * 2;
      if (thread == 0) while (load_acquire(counter) < parts) { }
      group_sync(2, 256);

      // What each part weighs for each head: four lanes to a head. The ring is free: all copies have arrived and been read.
      float* weights = (float*)(raw + (ring - shared_address(raw)));
      const int h = thread / 4;
      float most = minus_infinity(), sum = 0.f;
      for (int p = thread % 4; p < parts; p += 4) most = fmaxf(most, load_pair(stats + (((first + p) * CLUSTER + rank) * 2 + (p == 0)) * 64 + h).x);
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      for (int p = thread % 4; p < parts; p += 4) {
        const float2 v = load_pair(stats + (((first + p) * CLUSTER + rank) * 2 + (p == 0)) * 64 + h);
        const float w = exp2_fast(v.x - most);
        weights[p * 64 + h] = w;
        sum = fmaf(w, v.y, sum);
      }
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      for (int p = thread % 4; p < parts; p += 4) weights[p * 64 + h] /= sum;
      group_sync(2, 256);

      // 256 units of a warp's float4: this cluster's share of them, a unit a warp.
      for (int u = 256 * (me - first) / parts + warp - 8; u < 256 * (me - first + 1) / parts; u += 8) {
        const int w = u % 8, i = u / 8, at = w % 4 * 16 + lane / 4;
        float4 mixed = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll 8
        for (int p = 0; p < parts; p++) {
          const float4 v = load_partial(slots + (((long long)(first + p) * CLUSTER + rank) * 2 + (p == 0)) * 8192 + i * 256 + w * 32 + lane);
          const float upper = weights[p * 64 + at], lower = weights[p * 64 + at + 8];
          mixed.x = fmaf(v.x, upper, mixed.x); mixed.y = fmaf(v.y, upper, mixed.y);
          mixed.z = fmaf(v.z, lower, mixed.z); mixed.w = fmaf(v.w, lower, mixed.w);
        }
        u16* out = y + ((long long)row * HEADS + rank * 64 + at) * 512 + w / 4 * 256 + i * 8 + lane % 4 * 2;
        *(u32*)out = pack_bf16(mixed.x, mixed.y);
        *(u32*)(out + 8 * 512) = pack_bf16(mixed.z, mixed.w);
      }
      // The last to leave makes the counters ready for the next launch.
      group_sync(2, 256);
      if (thread == 0 && atomicAdd(counter + 1, 1) == parts - 1) { counter[0] = 0; counter[1] = 0; }
    }`;
