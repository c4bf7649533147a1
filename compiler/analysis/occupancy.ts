// How many blocks of a kernel a multiprocessor holds at once, and what keeps it from holding more.
import type { Launch } from "../../ir/kernel/catalogue.ts";
import type { Gpu } from "../../ir/machine.ts";
import type { CubinResources } from "../../runtime/devices/cuda/cubin-resources.ts";

/** What `dsc inspect OUT KERNEL --resources` prints. */
export interface Resources {
  kernel: string;
  arch: string;
  registers: number;
  /** Bytes of local memory of a thread: spilled registers, and arrays that cannot stay in registers. */
  stack_bytes: number;
  /** Bytes of shared memory of a block: of the code, and asked for by the launch. */
  static_shared: number;
  dynamic_shared: number;
  threads: number;
  blocks_per_multiprocessor: number;
  /** Threads that are resident, of those that could be; from 0 to 1. */
  occupancy: number;
  limited_by: "registers" | "shared memory" | "threads" | "blocks";
}

// Facts that all architectures of today share (CUDA C++ programming guide, compute capabilities 9.0 and 10.0).
const REGISTERS = 65536;
const THREADS = 2048;
const BLOCKS = 32;
/** Registers are given to warps in units of so many. */
const REGISTER_UNIT = 256;
/** Shared memory that the system takes of every block. */
const SYSTEM_SHARED = 1024;

export function resourcesOf(
  kernel: string,
  found: CubinResources,
  launch: Launch,
  gpu: Pick<Gpu, "arch" | "sharedPerMultiprocessor">,
): Resources {
  const { registers, stackBytes, sharedBytes } = found;
  const warps = Math.ceil(launch.block / 32);
  const perWarp = Math.ceil((registers * 32) / REGISTER_UNIT) * REGISTER_UNIT;
  const shared = sharedBytes + launch.sharedBytes + SYSTEM_SHARED;
  const limits = [
    ["registers", Math.floor(REGISTERS / (perWarp * warps))],
    ["shared memory", Math.floor(gpu.sharedPerMultiprocessor / shared)],
    ["threads", Math.floor(THREADS / (32 * warps))],
    ["blocks", BLOCKS],
  ] as const;
  const [limited_by, blocks] = limits.reduce((least, l) => (l[1] < least[1] ? l : least));
  return {
    kernel,
    arch: gpu.arch,
    registers,
    stack_bytes: stackBytes,
    static_shared: sharedBytes,
    dynamic_shared: launch.sharedBytes,
    threads: launch.block,
    blocks_per_multiprocessor: blocks,
    occupancy: (blocks * 32 * warps) / THREADS,
    limited_by,
  };
}
