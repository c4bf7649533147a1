// Where a decode step's time goes: the real graph with every kernel's text edited to keep times (trace-text.ts). For every launch, from the
// moment the step's first kernel was let through: when its first and last block came in, when the kernel before had ended for it,
// when it ended, and `adds`, from the end before to its own: these sum to the step, so that with the floor of the weights a launch
// reads they say what each costs beyond. Blocks come in early; a launch's weights stream from `begin` as far as its ring takes them.
import type { Manifest, Step } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import { caseOf } from "../../runtime/plan/walk.ts";
import type { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { Row } from "./device.ts";
import { decodeMs, median, open, printed } from "./models.ts";
import { r1, sliceOptions } from "./slice.ts";
import { ROW_BYTES, ROWS, traced } from "./trace-text.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const REPLAYS = 8;
/** Bytes a nanosecond that an H200 reads. */
const BANDWIDTH = h200.bandwidth / 1e9;

interface Launch {
  kernel: string;
  /** Bytes of weights it reads for one token. */
  weights: number;
}

/** The launches of one step of one token, in order. */
function launchesOf(manifest: Manifest): Launch[] {
  const dims = { T: 1, B: 1, P: 32 };
  const product = (a: readonly number[]): number => a.reduce((x, y) => x * y, 1);
  const weights = (step: Step & { kind: "kernel" }): number => {
    const { family } = manifest.kernels[step.kernel];
    if (!/linear|gemm|bmm|experts|query/.test(family)) return 0;
    // The first launch of experts is passed the second's matrix too, and only sends for it.
    const names = step.args
      .flatMap((a) => ("weight" in a && a.part === "data" ? [a.weight] : []))
      .slice(0, family === "unit_experts_gate_up" ? 1 : undefined);
    return names.reduce((sum, name) => {
      const { shape, dtype, source } = manifest.weights[name];
      // Of the rotary table a token reads one row.
      if (source.kind === "rope") return sum;
      const experts = /grouped|experts/.test(family)
        ? (manifest.model.experts!.perToken + shape[0] - manifest.model.experts!.count) / shape[0]
        : 1;
      // The two einsums of attention read a half of wkv_b each.
      return (
        sum + product(shape) * (dtype === "bf16" ? 2 : dtype === "f32" ? 4 : 1) * experts * (/bmm|query/.test(family) ? 0.5 : 1)
      );
    }, 0);
  };
  const walk = (steps: readonly Step[]): Launch[] =>
    steps.flatMap((s) => {
      if (s.kind === "kernel") return [{ kernel: s.kernel, weights: weights(s) }];
      if (s.kind === "call") return walk(manifest.functions[s.function].steps);
      return s.kind === "cases" ? walk(caseOf(s, evaluate(s.on, dims)).steps) : [];
    });
  return walk(manifest.functions[manifest.entries.decode].steps);
}

interface Times {
  begin: number;
  /** The last block's. */
  beginLast: number;
  waited: number;
  end: number;
  /** The first block's end. */
  endFirst: number;
  blocks: number;
  /** By block: its multiprocessor, when it came in and when it ended. */
  each: { sm: number; begin: number; end: number }[];
}

/** Times of the launches of one kernel, oldest first, from what its blocks kept. */
function readTimes(device: CudaDevice, kernel: string, launches: number): Times[] {
  const loaded = device.kernel(kernel)!;
  const left = new DataView(device.read(loaded.symbol("trace_left").at, 4).buffer).getUint32(0, true);
  const blocks = left / launches / (loaded.text.launch.block / 32);
  if (!Number.isInteger(blocks) || blocks * launches > ROWS)
    throw new Error(`${kernel} ran with ${left} warps in ${launches} launches`);
  const bytes = device.read(loaded.symbol("trace_rows").at, ROW_BYTES * blocks * launches);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return Array.from({ length: launches }, (_, l) => {
    const row = (word: number): Uint32Array => Uint32Array.from({ length: blocks }, (_, b) => words[4 * (l * blocks + b) + word]);
    if (row(3).some((warps) => (warps & 0xffff) !== loaded.text.launch.block / 32))
      throw new Error(`blocks of two launches of ${kernel} met`);
    const [begins, waits, ends] = [
      row(0).map((t) => ~t),
      row(1)
        .filter((t) => t !== 0)
        .map((t) => ~t),
      row(2),
    ];
    return {
      begin: Math.min(...begins),
      beginLast: Math.max(...begins),
      waited: Math.min(...waits),
      end: Math.max(...ends),
      endFirst: Math.min(...ends),
      blocks,
      each: Array.from(ends, (end, b) => ({ sm: row(3)[b] >>> 16, begin: begins[b], end })),
    };
  });
}

/** Blocks by multiprocessor, "sm begin end" in nanoseconds from the first begin: in a report's file, not in its lines. */
const blocksOf = ({ begin, each }: Times): string =>
  each
    .toSorted((a, b) => a.sm - b.sm)
    .map((b) => `${b.sm} ${b.begin - begin} ${b.end - begin}`)
    .join(", ");

/** Rows of the launches of a step, then sums by kernel; times are medians over replays. */
export async function traceOf(model: string, src: string, options: Parameters<typeof open>[2]): Promise<Row[]> {
  const context = 1024;
  const plain = (await open(src, "synthetic:0", options)).model;
  const first = plain.session({ maxTokens: context + 64, sequences: 1 });
  await decodeMs(first, context, 4);
  const plainSMs = plain.device.cuda.multiprocessors;
  const untraced = median(plain.device.replayTimes(20));
  first.close();
  await plain.close();
  const step = launchesOf(plain.manifest);
  // Prompts come through other kernels.
  const names = new Set(step.map((l) => plain.manifest.kernels[l.kernel].entry));
  const { model: loaded } = await open(src, "synthetic:0", {
    ...options,
    edit(text, record, problem) {
      const { source, ...other } = options?.edit?.(text, record, problem) ?? { source: text, pdl: record.launch!.pdl ?? false };
      return { ...other, source: names.has(record.entry) ? traced(source, record, problem).source : source };
    },
  });
  const { device } = loaded;
  const session = loaded.session({ maxTokens: context + 64, sequences: 1 });
  await decodeMs(session, context, 4);
  const kernels = [...new Set(step.map((l) => l.kernel))];
  for (const k of kernels)
    for (const name of ["trace_left", "trace_rows"]) {
      const { at, bytes } = device.kernel(k)!.symbol(name);
      device.clear(at, bytes);
    }
  const total = median(device.replayTimes(REPLAYS));
  const times = new Map(kernels.map((k) => [k, readTimes(device, k, REPLAYS * step.filter((l) => l.kernel === k).length)]));
  session.close();
  await loaded.close();

  const replays = Array.from({ length: REPLAYS }, (_, r) => {
    const seen = new Map<string, number>();
    const list = step.map(({ kernel }) => {
      const all = times.get(kernel)!;
      const i = seen.get(kernel) ?? 0;
      seen.set(kernel, i + 1);
      return all[(r * all.length) / REPLAYS + i];
    });
    return list.map((t, i) => ({ ...t, adds: t.end - (i ? list[i - 1].end : list[0].waited), start: list[0].waited }));
  });
  const us = (l: number, of: (t: (typeof replays)[0][0]) => number): number => median(replays.map((r) => of(r[l]))) / 1000;
  const rows: Row[] = step.map(({ kernel, weights }, l) => ({
    model,
    what: "launch",
    launch: l,
    kernel,
    blocks: replays[0][l].blocks,
    begin_us: us(l, (t) => t.begin - t.start),
    begun_us: us(l, (t) => t.beginLast - t.start),
    waited_us: us(l, (t) => t.waited - t.start),
    first_end_us: us(l, (t) => t.endFirst - t.start),
    end_us: us(l, (t) => t.end - t.start),
    adds_us: us(l, (t) => t.adds),
    floor_us: weights / BANDWIDTH / 1000,
    ...(weights > 0 && replays[0][l].blocks <= 2 * plainSMs ? { all: blocksOf(replays[1][l]) } : {}),
  }));
  const sums = kernels.map((kernel) => {
    const own = rows.filter((r) => r.kernel === kernel);
    const sum = (key: string): number => own.reduce((n, r) => n + (r[key] as number), 0);
    return {
      model,
      what: "kernel",
      kernel,
      launches: own.length,
      adds_us: sum("adds_us"),
      floor_us: sum("floor_us"),
      beyond_us: sum("adds_us") - sum("floor_us"),
      hand_over_us: own.reduce(
        (n, r) => n + ((r.waited_us as number) - ((rows[(r.launch as number) - 1]?.end_us as number) ?? 0)),
        0,
      ),
    };
  });
  const all = sums.reduce((n, r) => n + r.floor_us, 0);
  return [
    ...rows,
    ...sums.toSorted((a, b) => b.beyond_us - a.beyond_us),
    {
      model,
      what: "step",
      launches: step.length,
      graph_us: untraced,
      traced_graph_us: total,
      traced_us: rows.at(-1)!.end_us,
      floor_us: all,
    },
  ];
}

export const measure = async (): Promise<Row[]> => [
  ...(await traceOf("printed", printed, {})),
  ...(await traceOf("slice", r1, sliceOptions)),
];
