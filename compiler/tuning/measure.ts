// The times of schedules on the card that is here, problem by problem.
import type { Arch } from "../../codegen/cuda/native.ts";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import { cachedCompile, type Compile } from "../../runtime/devices/cuda/cubins.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { filled, launchTime, poolOf } from "../../runtime/devices/cuda/launch-time.ts";
import { trialsOf, type Trial, type Tunable } from "./trials.ts";

/** Kernels that compile at once. */
const AT_ONCE = 8;
/** Bytes of weights in turn, more than L2 holds. */
const COLD = 160e6;
/** Sets of a tiny matrix, which would be tens of thousands. */
const MOST_SETS = 512;
/** Medians come and go with the clocks: the least of so many. */
const TIMES = 3;

interface Options {
  /** Nothing more is begun after this moment of performance.now(); numbers of rows are begun one by one. */
  until?: number;
  compile?: Compile;
}

/** What a problem's schedules took, at every number of rows that was reached in time. */
export async function measure(
  cuda: Cuda,
  tunable: Tunable,
  counts: readonly number[],
  arch: Arch,
  { until = Infinity, compile = cachedCompile(arch.machine.arch) }: Options = {},
): Promise<TunedRow[]> {
  const { native: n, problem } = tunable;
  const all = counts.map((rows) => trialsOf(tunable, rows, arch)).filter((trials) => trials.length);
  if (!all.length) return [];
  const { sets, free } = place(cuda, tunable, Math.max(...all.map(([{ rows }]) => rows)), all.flat());
  const kernels = new Map<string, CudaKernel>();
  const measured: TunedRow[] = [];
  try {
    for (const trials of all) {
      if (performance.now() > until) break;
      await load(cuda, trials, compile, kernels);
      for (const { schedule, rows, text } of trials) {
        const dims = Object.fromEntries(text.dims.map((d) => [d, rows]));
        const times = Array.from({ length: TIMES }, () => launchTime(cuda, kernels.get(text.source)!, sets, dims));
        measured.push({ family: n.family, problem, schedule, rows, us: Number(Math.min(...times).toPrecision(4)) });
      }
    }
    return measured;
  } finally {
    free();
  }
}

/** The kernels of some trials that are not loaded yet, by their text, through the user's cache. */
async function load(cuda: Cuda, trials: readonly Trial[], compile: Compile, kernels: Map<string, CudaKernel>): Promise<void> {
  const texts = new Map(trials.flatMap(({ text }) => (kernels.has(text.source) ? [] : [[text.source, text]])));
  const queue = texts.values();
  const lane = async (): Promise<void> => {
    for (const text of queue) kernels.set(text.source, cuda.loadCubin(await compile(text.name, text.source), text));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** Buffers for the most rows: sets that differ in their weights, so many that L2 cannot hold them all. */
function place(
  cuda: Cuda,
  { native: n, problem }: Tunable,
  rows: number,
  trials: readonly Trial[],
): { sets: Record<string, number>[]; free: () => void } {
  const { elements, weights } = n.trial!(problem, rows);
  const dtypes = new Map(
    trials.flatMap(({ text }) =>
      text.params.flatMap((p) => (p.kind === "scalar" ? [] : [[p.kind === "tensormap" ? p.of : p.name, p.dtype] as const])),
    ),
  );
  const bytesOf = (name: string): number => elements[name] * { e4m3: 1, bf16: 2, f32: 4, i32: 4 }[dtypes.get(name)!];
  const owned: number[] = [];
  const fill = (name: string): [string, number] => {
    const at = filled(cuda, bytesOf(name), poolOf(dtypes.get(name)!));
    owned.push(at);
    return [name, at];
  };
  const names = Object.keys(elements).filter((name) => dtypes.has(name));
  const shared = Object.fromEntries(names.filter((name) => !weights.includes(name)).map(fill));
  const own = names.filter((name) => weights.includes(name));
  const each = own.reduce((sum, name) => sum + bytesOf(name), 0);
  const copies = Math.max(1, Math.min(Math.ceil(COLD / each) + 1, MOST_SETS, Math.floor(cuda.memory().free / 2 / each)));
  const sets = Array.from({ length: copies }, () => ({ ...shared, ...Object.fromEntries(own.map(fill)) }));
  return { sets, free: () => owned.forEach((at) => cuda.free(at)) };
}
