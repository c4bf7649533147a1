// What a machine can do at most, as a value: passes weigh by it, schedules are made for it, floors are printed from it, artifacts name
// its architecture. The values of GPUs are in codegen/cuda/arch, the processor's in codegen/cpu/machine.ts.

/** The format of what a product multiplies. */
export type Format = "fp8" | "bf16" | "f32";

export interface Machine {
  name: string;
  /** Where the figures come from. */
  source: string;
  /** Bytes a second, reading. */
  bandwidth: number;
  /** Operations a second, by the format of what is multiplied. */
  peaks: Readonly<Record<Format, number>>;
  /** Bytes of memory. */
  memory: number;
  /** Seconds that one launch more costs a step. */
  launch: number;
  /** What rows between kernels are kept in. */
  activations: "f32" | "bf16";
  /** What joins several of them; undefined where nothing is known of it. */
  links?: Links;
}

/** What joins the devices of a host, and hosts: for estimates of collectives. */
export interface Links {
  /** Bytes a second to the other devices of the host, one way, and the part of it that collectives reach. */
  bandwidth: number;
  reached: number;
  /** Seconds that one crossing of a few bytes takes: of itself, and for every rank. */
  start: number;
  startPerRank: number;
  /** Devices of a host. */
  host: number;
  /** Bytes a second of a device to other hosts. */
  network: number;
  /** Where the figures come from. */
  source: string;
}

/** A GPU as schedules and floors see it: multiprocessors, shared memory, bandwidth, peaks. */
export interface Gpu extends Machine {
  /** As the headers of kernels name it: "H200". */
  short: string;
  /** What compilers take as its architecture: "sm_90a". */
  arch: string;
  multiprocessors: number;
  /** Dynamic shared memory a block may ask for, bytes. */
  sharedPerBlock: number;
  /** Shared memory of a multiprocessor, bytes; each block costs 1024 bytes more than it asks for. */
  sharedPerMultiprocessor: number;
  /** Blocks of a cluster that every kernel may ask for. */
  cluster: number;
  links: Links;
  times: ProductTimes;
}

/** What parts of a product take, for estimates: microseconds unless said, fitted to measurements (test/bench/fit-times.ts). */
export interface ProductTimes {
  /** Of a kernel, before its first block loads; of a block, until its ring has its first stage. */
  start: number;
  fill: number;
  /** Of a load of weights, and of one of tokens, which are in L2. */
  weightLatency: number;
  tokenLatency: number;
  /** Bytes that a multiprocessor takes in a microsecond. */
  intake: number;
  /** 64 x 1 products of 128 bytes of k, with their scales. */
  product: number;
  /** Of a unit that is added up before the next is multiplied. */
  serial: number;
  /** The part of the bandwidth that products reach. */
  ofBandwidth: number;
  /** Bytes of weights in flight on a multiprocessor that bandwidth needs, and the part of it that is lost with none. */
  inFlight: number;
  idle: number;
  /** The part of a matrix that every further tile of rows reads from memory again. */
  reread: number;
  /** From a block's end to the next one's start; more where it is a cluster's. */
  turn: number;
  clusterTurn: number;
  /** How much of a last wave's missing blocks is lost. */
  raggedWave: number;
  /** Sums that cross a cluster: once, and for each of its blocks. */
  cluster: number;
  clusterBlock: number;
  /** Of the end of a tile, for each row on wgmma's narrow side. */
  column: number;
  /** A step of 128 bytes of k of a 128 x 128 tile, and what a tile takes beside its steps. */
  persistentStep: number;
  /** The same of a tile of 192 rows. */
  tallStep: number;
  persistentTile: number;
  /** Sums of tiles that blocks share through memory. */
  streamK: number;
  /** What two blocks that share rows of x wait for each other. */
  pair: number;
  /** What a load that lasts adds: this part, by half after 500 us; of blocks that share rows of x. */
  throttle: number;
  pairThrottle: number;
  /** What a kernel that ends with a cluster adds to the wait of the one after it, within a step. */
  handOver: number;
}

/** What a schedule has to fit. */
export type Limits = Pick<Gpu, "multiprocessors" | "sharedPerBlock" | "sharedPerMultiprocessor">;

/** The time below which no kernel for a machine can be: bytes over bandwidth or operations over the peak of their format. */
export function floorOf(
  { bandwidth, peaks }: Machine,
  bytes: number,
  flops: number,
  format: Format,
): { us: number; bound: "bytes" | "FLOPs" } {
  const [byBytes, byFlops] = [bytes / bandwidth, flops / peaks[format]];
  return { us: Math.max(byBytes, byFlops) * 1e6, bound: byBytes >= byFlops ? "bytes" : "FLOPs" };
}

/**
 * The floor in the words of a kernel's text, where sizes are known at run time: "floor on H200: 4096 m bytes / 4539 GB/s". `reads` are
 * bytes and `computes` operations of a format; `bytes` are those of `reads` where they are known, for the microseconds.
 */
export function floorText(
  m: Gpu,
  { reads, bytes, computes }: { reads?: string; bytes?: number; computes?: readonly [operations: string, format: Format] },
): string {
  const terms = [
    ...(reads === undefined ? [] : [`${reads} / ${m.bandwidth / 1e9} GB/s`]),
    ...(computes === undefined ? [] : [`${computes[0]} / ${m.peaks[computes[1]] / 1e12} TFLOP/s`]),
  ];
  const us = bytes === undefined ? "" : ` = ${((bytes / m.bandwidth) * 1e6).toFixed(1)} us`;
  return `floor on ${m.short}: ${terms.length > 1 ? `max(${terms.join(", ")})` : terms[0]}${us}`;
}
