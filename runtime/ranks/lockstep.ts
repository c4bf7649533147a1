// Several ranks in one process, each on a CPU device of its own: the host runs every rank up to a meeting, combines what they have, and
// goes on with all of them. So any mesh runs on any machine, and says the same as one process a rank.
import type { Call, Device } from "../device.ts";
import type { CpuDevice } from "../devices/cpu.ts";
import * as diagnostics from "../diagnostics.ts";
import { combine } from "./combine.ts";
import { meetingWords } from "./transport.ts";

export class Lockstep implements Device {
  readonly kind = "cpu";
  readonly ahead = false;
  readonly ranks: readonly CpuDevice[];
  readonly largest: number;

  constructor(ranks: readonly CpuDevice[]) {
    this.ranks = ranks;
    this.largest = ranks[0].largest;
  }

  /** Ranks take and give memory alike, so an address is the same on each of them. */
  allocate(bytes: number, what: string, near?: number): number {
    const [first, ...others] = this.ranks.map((d) => d.allocate(bytes, what, near));
    if (others.some((at) => at !== first))
      throw diagnostics.workerFailed({ why: "the memories of two ranks are laid out differently" });
    return first;
  }

  release(at: number): void {
    for (const d of this.ranks) d.release(at);
  }

  together(bytes: number): void {
    for (const d of this.ranks) d.together(bytes);
  }

  available(): number {
    return Math.floor(this.ranks[0].available() / this.ranks.length);
  }

  shortOf(what: string, needed: number, parts: readonly string[], help?: string): Error {
    const n = this.ranks.length;
    return this.ranks[0].shortOf(what, needed * n, [...parts, `${n} ranks in one process`], help);
  }

  columns(pages: number): number {
    return pages;
  }

  clear(at: number, bytes: number): void {
    for (const d of this.ranks) d.clear(at, bytes);
  }

  write(at: number, bytes: Uint8Array): void {
    for (const d of this.ranks) d.write(at, bytes);
  }

  /** Of the first rank: what is read is on every rank alike. */
  read(at: number, bytes: number): Uint8Array {
    return this.ranks[0].read(at, bytes);
  }

  copy(from: number, to: number, bytes: number): void {
    for (const d of this.ranks) d.copy(from, to, bytes);
  }

  /** What every rank has alike; shares of weights go to each rank's device. */
  async place(arrays: Parameters<Device["place"]>[0]): Promise<void> {
    await Promise.all(this.ranks.map((d) => d.place(arrays)));
  }

  async fill(jobs: Parameters<Device["fill"]>[0]): Promise<void> {
    await Promise.all(this.ranks.map((d) => d.fill(jobs)));
  }

  seal(): void {}
  moved(): void {}

  async run(call: Call): Promise<undefined> {
    const walks = this.ranks.map((d) => d.pieces(call));
    for (const [i, piece] of walks[0].entries()) {
      if (piece.kind === "program") {
        await Promise.all(this.ranks.map((d, r) => d.executePiece(walks[r][i])));
        continue;
      }
      const came = walks.map((w) => w[i]).map((p) => (p.kind === "meeting" ? meetingWords(p) : "no meeting"));
      const other = came.findIndex((words) => words !== came[0]);
      if (other > 0) throw diagnostics.ranksApart({ a: 0, came: came[0], b: other, other: came[other] });
      const buffers = this.ranks.map((d) => d.buffersOf(piece, this.ranks.length));
      const all = buffers.map((b) => b.operands);
      // A sum, and what is gathered, is the same on every rank: computed once.
      const alike = piece.step.op === "all_reduce" || piece.step.op === "all_gather" || piece.step.op === "pick_max";
      for (const [r, { results }] of buffers.entries())
        if (alike && r > 0) results[0].set(buffers[0].results[0]);
        else combine(piece, r, all, results);
    }
  }

  async idle(): Promise<void> {
    await Promise.all(this.ranks.map((d) => d.idle()));
  }

  /** Of all ranks together. */
  timings(): { kernel: string; ms: number; launches: number }[] {
    const all = new Map<string, { kernel: string; ms: number; launches: number }>();
    for (const t of this.ranks.flatMap((d) => d.timings())) {
      const before = all.get(t.kernel) ?? { kernel: t.kernel, ms: 0, launches: 0 };
      all.set(t.kernel, { kernel: t.kernel, ms: before.ms + t.ms, launches: before.launches + t.launches });
    }
    return [...all.values()].toSorted((a, b) => b.ms - a.ms);
  }

  async close(): Promise<void> {
    await Promise.all(this.ranks.map((d) => d.close()));
  }
}
