// How attention runs on sm_90a, as plain records: what could be tried, what cannot run and why. A block holds 64 query rows
// (heads of one token, or tokens of one head) because that is the height of wgmma; the rest follows from shared memory.

/** Absorbed attention over the paged latent cache: one key row of r + d lanes for all heads; values are its first r lanes. */
export interface MlaDecodeProblem {
  heads: number;
  r: number;
  d: number;
  pageRows: number;
  /** Strides of [T, h] in the latent and the rotary query, elements. */
  ql: readonly [number, number];
  qp: readonly [number, number];
  scale: number;
}

/** A cluster of heads / 64 blocks shares every cached row it reads. */
export interface MlaDecodeSchedule {
  /** Cached rows of a ring stage; as many as a page. */
  keys: 64;
  stages: 2;
  /** Blocks of a cluster: each copies its share of a stage into the shared memory of all. */
  cluster: 1 | 2;
}

export const decodeSchedule = (p: MlaDecodeProblem): MlaDecodeSchedule => ({ keys: 64, stages: 2, cluster: p.heads === 128 ? 2 : 1 });

/** Dynamic shared memory: query tile, ring, and slack to align both to the swizzle's 1024 bytes. */
export const decodeSharedBytes = (s: MlaDecodeSchedule): number => 1024 + (1 + s.stages) * 64 * 576 * 2;

/** Why the native kernel cannot run a problem, or null. */
export function illegalDecode(p: MlaDecodeProblem): string | null {
  if (p.r !== 512 || p.d !== 64) return `latents of ${p.r} + ${p.d} lanes: the registers of a block are laid out for 512 + 64`;
  if (p.heads !== 64 && p.heads !== 128) return `${p.heads} heads: a block holds 64, a cluster at most 128`;
  if (p.pageRows % 64 !== 0) return `pages of ${p.pageRows} rows: a stage of 64 must not cross a page`;
  if (!(p.scale > 0)) return "the running maximum is taken before the scale, which must be positive";
  for (const s of [...p.ql, ...p.qp]) if (s % 8 !== 0) return `a query stride of ${s} elements: a tensor map needs multiples of 16 bytes`;
  return null;
}
