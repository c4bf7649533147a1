// Executes a flat program (program.ts) on one thread of several: its share of the cells of every launch, and a barrier
// between launches. All threads read the same words, so they meet at the same barriers; a failure releases them all.
import { postfixValue } from "../plan/postfix.ts";
import type { WordList } from "./cpu-job.ts";
import { COPY, EXPERTS, INNER, LAUNCH } from "./program.ts";

/** What one thread knows. Control words: arrived, generation, failed. */
export interface Thread {
  index: number;
  count: number;
  /** Runs cells [begin, end) of a kernel on the memory of a segment; its addresses and dims are words [from, to). */
  run(kernel: number, segment: number, begin: number, end: number, words: WordList, from: number, to: number): void;
  /** i32 values at an address of a segment. */
  table(segment: number, at: number, count: number): Int32Array;
  /** Bytes of a segment; asked for where there are several. */
  bytes(segment: number, at: number, count: number): Uint8Array;
  control: Int32Array;
  /** Where the thread is, for messages about traps. */
  at: { kernel: number; site: number; layer: number };
  /** By kernel: milliseconds and launches, kept by the first thread when asked for. */
  times?: Float64Array;
}

const ARRIVED = 0;
const GENERATION = 1;
const FAILED = 2;
/** Looks at the generation this often before sleeping, at most: some tens of microseconds, longer than most waits. */
const MOST_SPINS = 20_000;
const LEAST_SPINS = 200;
/** Fewer after waits that had to sleep: where threads share a core, spinning keeps the one waited for from running. */
let spins = MOST_SPINS;

/** Thrown on threads that stop because another one failed. */
export class Stopped extends Error {}

/** Runs words [from, to). */
export function execute(words: WordList, from: number, to: number, thread: Thread): void {
  for (let at = from; at < to;) {
    if (words[at] === LAUNCH) {
      const n = words[at + 6];
      launch(thread, words[at + 1], words[at + 2], words[at + 3], words[at + 4], words[at + 5], words, at + 7, at + 7 + n);
      at += 7 + n;
    } else if (words[at] === EXPERTS) {
      const segment = words[at + 1];
      const count = words[at + 3];
      const body = at + 5;
      const end = body + words[at + 4];
      // The memory may have grown since the last run, hence a view per loop.
      const offsets = thread.table(segment, words[at + 2], count + 1);
      for (let e = 0; e < count; e++) {
        const m = offsets[e + 1] - offsets[e];
        if (m > 0) inner(words, body, end, thread, segment, m, e, offsets[e]);
      }
      at = end;
    } else if (words[at] === COPY) {
      copy(thread, words.subarray(at + 1, at + 6));
      at += 6;
    } else throw new Error(`word ${words[at]} at ${at} is no instruction`);
  }
}

function inner(
  words: WordList,
  from: number,
  to: number,
  thread: Thread,
  segment: number,
  m: number,
  e: number,
  first: number,
): void {
  for (let at = from; at < to;) {
    if (words[at] !== INNER) throw new Error(`word ${words[at]} at ${at} is no launch`);
    const [kernel, site, layer, n] = words.subarray(at + 1, at + 5);
    at += 5;
    const values = words instanceof Int32Array ? new Int32Array(n + 1) : new Float64Array(n + 1);
    for (let i = 0; i <= n; i++) {
      values[i] = postfixValue(words, at + 1, at + 1 + words[at], m, e, first);
      at += 1 + words[at];
    }
    launch(thread, kernel, site, layer, segment, values[0], values, 1, n + 1);
  }
}

function launch(
  thread: Thread,
  kernel: number,
  site: number,
  layer: number,
  segment: number,
  cells: number,
  words: WordList,
  first: number,
  last: number,
): void {
  const { index, count, at } = thread;
  at.kernel = kernel;
  at.site = site;
  at.layer = layer;
  const begin = Math.floor((cells * index) / count);
  const end = Math.floor((cells * (index + 1)) / count);
  const from = thread.times ? performance.now() : 0;
  if (begin < end) thread.run(kernel, segment, begin, end, words, first, last);
  if (count > 1) barrier(thread.control, count);
  if (thread.times) {
    thread.times[2 * kernel] += performance.now() - from;
    thread.times[2 * kernel + 1]++;
  }
}

/** This thread's share of a copy between segments. */
function copy({ index, count, control, ...thread }: Thread, [source, from, segment, to, bytes]: WordList): void {
  // A count of bytes may pass 2^31.
  const size = bytes >>> 0;
  const share = (i: number): number => (i === count ? size : Math.floor((size * i) / count / 64) * 64);
  const [begin, end] = [share(index), share(index + 1)];
  if (begin < end)
    thread.bytes(segment, (to >>> 0) + begin, end - begin).set(thread.bytes(source, (from >>> 0) + begin, end - begin));
  if (count > 1) barrier(control, count);
}

/** Waits until every thread is here; makes their writes visible. */
function barrier(control: Int32Array, count: number): void {
  const generation = Atomics.load(control, GENERATION);
  // Read after the generation: a failure sets its flag first, then moves the generation on.
  if (Atomics.load(control, FAILED)) throw new Stopped();
  if (Atomics.add(control, ARRIVED, 1) === count - 1) {
    Atomics.store(control, ARRIVED, 0);
    Atomics.add(control, GENERATION, 1);
    Atomics.notify(control, GENERATION);
  } else {
    for (let i = 0; i < spins && Atomics.load(control, GENERATION) === generation; i++);
    const slept = Atomics.load(control, GENERATION) === generation;
    while (Atomics.load(control, GENERATION) === generation) Atomics.wait(control, GENERATION, generation);
    spins = slept ? Math.max(LEAST_SPINS, spins >> 1) : Math.min(MOST_SPINS, spins * 2);
  }
  if (Atomics.load(control, FAILED)) throw new Stopped();
}

/** Releases every thread from its barrier with Stopped. */
export function fail(control: Int32Array): void {
  Atomics.store(control, FAILED, 1);
  Atomics.add(control, GENERATION, 1);
  Atomics.notify(control, GENERATION);
}

/** Clears what a failed run left; only while no thread runs. */
export function reset(control: Int32Array): void {
  Atomics.store(control, ARRIVED, 0);
  Atomics.store(control, FAILED, 0);
}
