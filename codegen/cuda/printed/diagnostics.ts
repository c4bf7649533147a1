// DSC411x: what the CUDA printer of tile programs refuses.
import type { Gpu } from "../../../ir/machine.ts";
import { place, thrown } from "../../../ir/diagnostic.ts";
import { undeclaredBuffer, withoutGrid } from "../../tile-diagnostics.ts";

export const unknownBuffer = undeclaredBuffer("DSC4111", "CUDA printer");

export const noGrid = withoutGrid("DSC4112", "CUDA printer");

export const tooMuchShared = thrown<{
  kernel: string;
  bytes: number;
  machine: Pick<Gpu, "arch" | "sharedPerBlock">;
  tiles: readonly string[];
}>("DSC4113", {
  name: "too much shared memory",
  means: "A printed kernel keeps its tiles in shared memory; a block has 227 KB on sm_90 and sm_100.",
  example: "Two f32 tiles of 256 x 256.",
  fix: "Use smaller tiles, or a native kernel.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, bytes, machine, tiles }) => ({
    title: `kernel ${kernel} needs ${bytes} bytes of shared memory a block; ${machine.arch} has ${machine.sharedPerBlock}`,
    notes: [`its tiles: ${tiles.join(", ")}`],
    help: "use smaller tiles in the tile program, or a native kernel for this problem",
  }),
});

export const threadsNotWarps = thrown<{ kernel: string; threads: number }>("DSC4114", {
  name: "threads that are no whole warps",
  means: "A block has 1 to 32 warps of 32 threads.",
  example: "100 threads a block.",
  fix: "Give a multiple of 32, up to 1024.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, threads }) => ({
    title: `kernel ${kernel}: ${threads} threads a block are no whole number of warps from 1 to 32`,
    help: "give a multiple of 32 up to 1024",
  }),
});
