// Entry of a process that calls functions of a library which nobody has called before: it may end, and takes nothing along. Reads one
// request from stdin, answers a line a trial on descriptor 3.
import { readFileSync, writeSync } from "node:fs";
import type { LibraryCall } from "../../ir/library-call.ts";
import { BoundCall } from "./bound-call.ts";
import { addressOf } from "./library.ts";

/** Calls to make, each on memory of its own: bytes in base64, places of its tensors in them, sizes. */
export interface Request {
  trials: { call: LibraryCall; image: string; places: number[]; dims: number[] }[];
}

/** The memory after a call; what the function raised; why it cannot be called at all. */
export type Answer = { image: string } | { raised: string } | { open: string };

const PAGE = 65536;

function answered({ call, image, places, dims }: Request["trials"][number]): Answer {
  const given = Buffer.from(image, "base64");
  // As a run has it: shared memory of WebAssembly.
  const memory = new WebAssembly.Memory({ initial: Math.ceil(given.length / PAGE), maximum: PAGE, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(given);
  let bound: BoundCall;
  try {
    bound = new BoundCall(
      call,
      dims.map((_, i) => `n${i}`),
      { type: "cpu", id: 0 },
    );
  } catch (e) {
    return { open: (e as Error).message };
  }
  const base = addressOf(bytes);
  try {
    bound.run(
      places.map((p) => base + p),
      dims,
    );
    return { image: Buffer.from(bytes.subarray(0, given.length)).toString("base64") };
  } catch (e) {
    const { name, message } = e as Error;
    return { raised: `${name}: ${message}` };
  }
}

for (const trial of (JSON.parse(readFileSync(0, "utf8")) as Request).trials) {
  const line = Buffer.from(`${JSON.stringify(answered(trial))}\n`);
  for (let done = 0; done < line.length;) done += writeSync(3, line, done);
}
