// The machine itself, and what this Node can do: without these nothing runs.
import { accessSync, constants, existsSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import path from "node:path";
import { cacheFolder } from "../../runtime/user-cache.ts";
import type { Probe, Seen } from "./probe.ts";

const GIB = 2 ** 30;
/** A module with one v128 instruction, and one with a shared memory. */
const SIMD = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0, 10, 8, 1, 6, 0, 0x41, 0, 0xfd, 0x0f, 0x0b];
const SHARED = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 4, 1, 3, 1, 1];

export const machineProbes: readonly Probe[] = [
  { part: "Node", required: true, needed: "everything", look: node },
  {
    part: "cores",
    required: true,
    needed: "threads of the CPU target",
    look: cores,
  },
  {
    part: "memory",
    required: true,
    needed: "weights and cache; dsc plan says how much a model takes",
    look: memory,
  },
  {
    part: "WebAssembly SIMD",
    required: true,
    needed: "kernels of the CPU target",
    look: () => valid(SIMD, true, "not in this Node"),
  },
  {
    part: "WebAssembly threads",
    required: true,
    needed: "more than one thread",
    look: () => valid(SHARED, typeof SharedArrayBuffer === "function", "no shared memory in this Node"),
  },
  {
    part: "cache",
    required: true,
    looked: "DSC_CACHE, XDG_CACHE_HOME/dsc, ~/.cache/dsc",
    needed: "artifacts that run compiles by itself; DSC_CACHE names another",
    look: cache,
  },
];

function node(): Seen {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const good = major > 20 || (major === 20 && minor >= 19);
  const { version } = process;
  return { good, version, found: good ? version : `${version}; 20.19 or newer is needed` };
}

function cores(): Seen {
  const n = availableParallelism();
  const all = cpus();
  return {
    good: true,
    found: `${n}${all.length > n ? ` of ${all.length}` : ""}, ${all[0]?.model.trim() ?? "of an unknown kind"}`,
  };
}

function memory(): Seen {
  const limit = process.constrainedMemory?.() ?? 0;
  const most = limit > 0 && limit < totalmem() ? limit : totalmem();
  return { good: true, found: `${(most / GIB).toFixed(1)} GiB, ${(freemem() / GIB).toFixed(1)} free` };
}

function valid(module: readonly number[], also: boolean, otherwise: string): Seen {
  const good = WebAssembly.validate(Uint8Array.from(module)) && also;
  return { good, found: good ? "there" : otherwise };
}

function cache(): Seen {
  const folder = cacheFolder();
  let at = folder;
  while (!existsSync(at) && path.dirname(at) !== at) at = path.dirname(at);
  try {
    accessSync(at, constants.W_OK);
    return { good: true, found: folder };
  } catch {
    return { good: false, found: `${folder} cannot be written; DSC_CACHE names another` };
  }
}
