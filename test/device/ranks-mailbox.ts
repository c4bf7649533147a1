// Mailboxes within one card: ranks are streams of this process. Graphs in which every rank makes values after a random while, exchanges
// them and compares the sums bit for bit with those in rank order, again and again; the fused kernel beside the sum and the norm as two;
// and times beside empty kernels.
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { reduceNorm } from "../../codegen/cuda/mailbox/norm.ts";
import { normRows } from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { systemTexts } from "../../codegen/cuda/system/index.ts";
import { cudaKernel, inout, input, output, scalar } from "../../codegen/cuda/text/kernel.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { peerMailboxBytes } from "../../ir/system.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { CudaMailbox, tagOf, tradeHere, type Trade } from "../../runtime/devices/cuda/peer-mailbox.ts";
import { randoms } from "../kernels/problems.ts";
import type { Row } from "./device.ts";
import { median } from "./models.ts";

const THREADS = 512;
const launch = { grid: [1, 1, 1], block: THREADS, sharedBytes: 0 } satisfies KernelText["launch"];

/** What a rank has at a round: sums of such depend on their order. */
const values = `
__device__ __forceinline__ u32 mixed(u32 x) { x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u; return x ^ (x >> 16); }
__device__ __forceinline__ float value(int rank, int round, int i) {
  const u32 m = mixed(mixed((u32)(round * 131 + rank)) ^ (u32)i);
  return __fmul_rn((float)((int)(m >> 8) - (1 << 23)), __uint_as_float((104u + (m & 15u)) << 23));
}`;

/** Values of a round, after up to `delay_ns`. */
export const makeKernel = (): KernelText =>
  cudaKernel({
    name: "ranks_make",
    header: ["ranks_make: what a rank has at a round, after a random while."],
    params: [input("round", "i32", { restrict: false }), output("x", "f32"), scalar("rank", "i32"), scalar("delay_ns", "i32")],
    dims: ["words"],
    launch,
    definitions: values,
    body: `
  const int now = round[0];
  if (threadIdx.x == 0) {
    const u64 until = globaltimer() + mixed((u32)(now * 977 + rank)) % (u32)delay_ns;
    while (globaltimer() < until) {}
  }
  __syncthreads();
  for (int i = threadIdx.x; i < words; i += ${THREADS}) x[i] = value(rank, now, i);
`,
  });

/** Compares sums with those in rank order, and counts the round. */
export const checkKernel = (): KernelText =>
  cudaKernel({
    name: "ranks_check",
    header: ["ranks_check: how many of the sums are not those in rank order; then the next round."],
    params: [input("y", "f32"), inout("round", "i32", { restrict: false }), inout("wrong", "i32"), scalar("ranks", "i32")],
    dims: ["words"],
    launch,
    definitions: values,
    body: `
  const int now = round[0];
  int bad = 0;
  for (int i = threadIdx.x; i < words; i += ${THREADS}) {
    float sum = value(0, now, i);
    for (int r = 1; r < ranks; r++) sum = __fadd_rn(sum, value(r, now, i));
    if (__float_as_uint(sum) != __float_as_uint(y[i])) bad++;
  }
  if (bad) atomicAdd(wrong, bad);
  __syncthreads();
  if (threadIdx.x == 0) round[0] = now + 1;
`,
  });

const emptyKernel = (): KernelText =>
  cudaKernel({ name: "ranks_empty", header: ["ranks_empty"], params: [], dims: [], launch, definitions: "", body: "" });

export type Load = (text: KernelText) => CudaKernel;

/** A rank: its stream, its mailbox, and its kernels. */
export class Rank {
  readonly stream: number;
  readonly cuda: Cuda;
  readonly mailbox: CudaMailbox;
  private readonly kernels: { make: CudaKernel; check: CudaKernel };
  private readonly at: { x: number; y: number; round: number };

  private constructor(cuda: Cuda, mailbox: CudaMailbox, kernels: { make: CudaKernel; check: CudaKernel }, words: number) {
    [this.cuda, this.mailbox, this.kernels] = [cuda, mailbox, kernels];
    this.stream = cuda.driver.get("cuStreamCreate", 1);
    this.at = { x: cuda.alloc(4 * words), y: cuda.alloc(4 * words), round: cuda.alloc(8) };
    cuda.upload(this.at.round, new Uint8Array(8));
  }

  static async open(cuda: Cuda, load: Load, rank: number, ranks: number, trade: Trade, words: number): Promise<Rank> {
    const texts = systemTexts(512, h200, true);
    const system = async (name: string): Promise<CudaKernel> => load(texts.find((t) => t.name === name)!);
    const mailbox = await CudaMailbox.open(cuda, system, { rank, ranks, trade });
    return new Rank(cuda, mailbox, { make: load(makeKernel()), check: load(checkKernel()) }, words);
  }

  /** A graph of so many exchanges; what is launched in it. */
  capture(times: number, once: () => void): number {
    const { driver } = this.cuda;
    driver.call("cuStreamBeginCapture_v2", this.stream, 2);
    for (let i = 0; i < times; i++) once();
    const graph = driver.getLast("cuStreamEndCapture", this.stream);
    const exec = driver.get("cuGraphInstantiateWithFlags", graph, 0);
    driver.call("cuGraphDestroy", graph);
    return exec;
  }

  launch(exec: number): void {
    this.cuda.driver.call("cuGraphLaunch", exec, this.stream);
  }

  synchronize(): void {
    const r = this.cuda.driver.attempt("cuStreamSynchronize", this.stream);
    if (r !== 0) throw this.mailbox.fault() ?? new Error(this.cuda.driver.nameOf(r));
  }

  /** One exchange of so many words, made and looked at; without a delay only the exchange. */
  exchange(words: number, delayNs?: number): void {
    const { x, y, round } = this.at;
    const { ranks } = this.mailbox;
    const scalars: Record<string, number> = { rank: this.mailbox.here[0], ranks, delay_ns: delayNs ?? 1 };
    const scalar = (name: string): number => scalars[name];
    if (delayNs !== undefined) this.kernels.make.enqueue(this.stream, [round, x], { words }, { scalar });
    this.mailbox.enqueue(
      { op: "all_reduce", dtype: "f32", outer: 1, inner: words, words: `all_reduce of ${words}` },
      [{ from: x, to: y }],
      this.stream,
    );
    if (delayNs !== undefined) this.kernels.check.enqueue(this.stream, [y, round, round + 4], { words }, { scalar });
  }

  /** Rounds there have been, and sums that were not those in rank order. */
  seen(): { rounds: number; wrong: number } {
    const words = this.cuda.download(this.at.round, 8);
    const [rounds, wrong] = new Int32Array(words.buffer, words.byteOffset, 2);
    return { rounds, wrong };
  }

  async close(): Promise<void> {
    await this.mailbox.close();
    for (const a of Object.values(this.at)) this.cuda.free(a);
  }
}

/** Kernels of texts, each compiled once. */
function loader(cuda: Cuda): Load {
  const known = new Map<string, CudaKernel>();
  return (text) => {
    const kernel = known.get(text.name) ?? cuda.compile(text);
    known.set(text.name, kernel);
    return kernel;
  };
}

const opened = (cuda: Cuda, load: Load, ranks: number, words: number): Promise<Rank[]> => {
  const trade = tradeHere(ranks);
  return Promise.all(Array.from({ length: ranks }, (_, r) => Rank.open(cuda, load, r, ranks, trade(r), words)));
};

/** Words of an exchange: a row of R1, and more than go in one crossing. */
const FEW = 7168;
const MANY = 70_000;
const PER_GRAPH = 20;

export async function exchangeRows(
  cuda: Cuda,
  { ranks, exchanges, load = loader(cuda) }: { ranks: number; exchanges: number; load?: Load },
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [words, times] of [
    [FEW, exchanges],
    [MANY, Math.ceil(exchanges / 100)],
  ] as const) {
    const all = await opened(cuda, load, ranks, words);
    const from = performance.now();
    for (const r of all) r.exchange(words, 2000);
    for (const r of all) r.synchronize();
    const graphs = all.map((r) => r.capture(PER_GRAPH, () => r.exchange(words, 2000)));
    const replays = Math.ceil(times / PER_GRAPH);
    for (let i = 0; i < replays; i++) {
      for (const [r, one] of all.entries()) one.launch(graphs[r]);
      if (i % 64 === 63) for (const one of all) one.synchronize();
    }
    for (const one of all) one.synchronize();
    const seconds = (performance.now() - from) / 1000;
    const seen = all.map((r) => r.seen());
    const wanted = 1 + replays * PER_GRAPH;
    rows.push({
      part: "exchange",
      ranks,
      words,
      exchanges: wanted,
      graphs: replays,
      seconds,
      wrong: seen.reduce((n, s) => n + s.wrong, 0),
      ok: seen.every((s) => s.wrong === 0 && s.rounds === wanted),
    });
    for (const g of graphs) cuda.driver.call("cuGraphExecDestroy", g);
    for (const r of all) await r.close();
  }
  return rows;
}

const D = 7168;

/** The fused kernel beside the sum over ranks and the norm as two kernels: the same bits on every rank. */
export async function fusedRows(cuda: Cuda, dtype: "f32" | "bf16", ranks: number): Promise<Row[]> {
  const p = { d: D, eps: 1e-6, gain: "bf16", act: dtype, ue8m0: false } as const;
  const fused = cuda.compile(reduceNorm({ ...p, wire: dtype, gives: "both" }));
  const plain = cuda.compile(normRows({ ...p, of: "add_norm_both", aStride: D, bStride: D, yStride: D }));
  const load = loader(cuda);
  const [rows, size, most] = [[] as Row[], dtype === "f32" ? 4 : 2, 8];
  const all = await opened(cuda, load, ranks, D);
  const random = randoms(ranks);
  const filled = (n: number, bf16: boolean): Uint8Array => {
    const v = Float32Array.from({ length: n }, () => random());
    return new Uint8Array((bf16 ? Uint16Array.from(new Uint32Array(v.buffer), (b) => b >>> 16) : v).buffer);
  };
  const room = (bytes: number, data?: Uint8Array): number => {
    const at = cuda.alloc(bytes);
    cuda.upload(at, data ?? new Uint8Array(bytes));
    return at;
  };
  const n = most * D;
  const [h, gain] = [room(n * size, filled(n, dtype === "bf16")), room(D * 2, filled(D, true))];
  const outputs = (): number[] => [room(n * size), room(n * size), room(n), room((n / 128) * 4)];
  const at = all.map(() => ({
    x: room(n * size, filled(n, dtype === "bf16")),
    total: room(n * size),
    one: outputs(),
    two: outputs(),
  }));
  for (const m of [1, 2, most]) {
    const some = { op: "all_reduce", dtype, outer: m, inner: D, words: "fused" } as const;
    for (const [r, { mailbox, stream }] of all.entries()) {
      const { x, total, one, two } = at[r];
      mailbox.enqueue(some, [{ from: x, to: total }], stream);
      plain.enqueue(stream, [h, total, gain, ...two], { m }, { early: false });
      mailbox.exchange(fused, [x, h, gain, ...one], { m }, { what: tagOf("fused norm"), stream });
    }
    for (const r of all) r.synchronize();
    const bytes = [m * D * size, m * D * size, m * D, (m * D) / 32];
    const apart = at.reduce(
      (count, { one, two }) =>
        count + bytes.filter((b, i) => Buffer.compare(cuda.download(one[i], b), cuda.download(two[i], b)) !== 0).length,
      0,
    );
    rows.push({ part: "fused", ranks, dtype, rows: m, outputs_apart: apart, ok: apart === 0 });
  }
  for (const r of all) await r.close();
  for (const a of [h, gain, ...at.flatMap(({ x, total, one, two }) => [x, total, ...one, ...two])]) cuda.free(a);
  return rows;
}

/** Microseconds of an exchange in a graph of 100, beside that of an empty kernel; the words of one row and of eight, as f32. */
export async function exchangeTimes(cuda: Cuda, ranks: number): Promise<Row[]> {
  const load = loader(cuda);
  const empty = load(emptyKernel());
  const rows: Row[] = [];
  for (const words of [3584, FEW, 8 * FEW]) {
    const all = await opened(cuda, load, ranks, words);
    const time = (once: (r: Rank) => void): number => {
      for (const r of all) once(r);
      for (const r of all) r.synchronize();
      const graphs = all.map((r) => r.capture(100, () => once(r)));
      const [from, to] = [cuda.driver.get("cuEventCreate", 0), cuda.driver.get("cuEventCreate", 0)];
      const ms = new Float32Array(1);
      const us = Array.from({ length: 20 }, () => {
        cuda.driver.call("cuEventRecord", from, all[0].stream);
        for (const [r, one] of all.entries()) one.launch(graphs[r]);
        cuda.driver.call("cuEventRecord", to, all[0].stream);
        for (const one of all) one.synchronize();
        cuda.driver.call("cuEventElapsedTime", ms, from, to);
        return ms[0] * 10;
      });
      for (const g of graphs) cuda.driver.call("cuGraphExecDestroy", g);
      return median(us);
    };
    rows.push({
      part: "exchange",
      ranks,
      words,
      us: time((r) => r.exchange(words)),
      empty_us: time((r) => empty.enqueue(r.stream, [], {})),
      mailbox_mb: peerMailboxBytes(ranks) / 1e6,
    });
    for (const r of all) await r.close();
  }
  return rows;
}
