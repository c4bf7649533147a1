// Where the ranks of this process meet the others: what depends on the rank alone is done here, what has to be carried goes to the
// transport. Everything is work on the stream, so that a graph can hold it.
import { partOfRank, partsAlong, type Mesh } from "../../../ir/mesh.ts";
import * as diagnostics from "../../diagnostics.ts";
import type { Meeting } from "../../plan/walk.ts";
import { meetingWords, type StreamMeeting, type StreamTransport } from "../../ranks/transport.ts";
import type { Driver } from "./driver.ts";
import type { CudaKernel } from "./kernel.ts";
import type { RankMemory } from "./rank-memory.ts";

export interface MeetingKernels {
  own: CudaKernel;
  rankMax: CudaKernel;
  pickMax: CudaKernel;
}

/** Words of a row that pick_max exchanges: a value and a column. */
const PAIR = 2;

export class Meetings {
  readonly transport: StreamTransport;
  private readonly mesh: Mesh;
  private readonly driver: Driver;
  private readonly stream: number;
  private readonly memory: RankMemory;
  private readonly kernels: MeetingKernels;
  /** Stands around each, for their times. */
  private readonly around: (name: string, go: () => void) => void;
  /** Pairs of a rank, and of all of them. Graphs hold their addresses, so what was outgrown stays. */
  private pairs = { rows: 0, own: 0, all: 0 };

  constructor(
    transport: StreamTransport,
    mesh: Mesh,
    { driver, stream, memory }: { driver: Driver; stream: number; memory: RankMemory },
    kernels: MeetingKernels,
    around: Meetings["around"] = (_, go) => go(),
  ) {
    [this.transport, this.mesh, this.kernels, this.around] = [transport, mesh, kernels, around];
    [this.driver, this.stream, this.memory] = [driver, stream, memory];
  }

  /** Enqueues a meeting to which every rank of this process has come. Throws DSC5081 where they came to different ones. */
  enqueue(met: readonly (Meeting | undefined)[]): void {
    const came = met.map((m) => (m ? meetingWords(m) : "no meeting"));
    const other = came.findIndex((words) => words !== came[0]);
    const { here } = this.transport;
    if (other > 0) throw diagnostics.ranksApart({ a: here[0], came: came[0], b: here[other], other: came[other] });
    const all = met as readonly Meeting[];
    const [{ step, outer, inner }] = all;
    if (step.op === "once") all.forEach((m, i) => this.#once(m, here[i]));
    else if (step.op === "own_experts") all.forEach((m, i) => this.#own(m, here[i]));
    else if (step.op === "pick_max") this.#pick(all, came[0]);
    else this.#carry(step.op, step.dtype, [outer, inner], all, came[0]);
  }

  #carry(
    op: StreamMeeting["op"],
    dtype: StreamMeeting["dtype"],
    [outer, inner]: readonly [number, number],
    all: readonly { pointers: readonly { at: number }[] }[],
    words: string,
  ): void {
    if (outer * inner === 0) return;
    const parts = all.map(({ pointers: [from, to] }) => ({ from: from.at, to: to.at }));
    this.around(op, () => this.transport.enqueue({ op, dtype, outer, inner, words }, parts, this.stream));
  }

  #once({ step, pointers: [from, to], outer, inner }: Meeting, rank: number): void {
    const bytes = outer * inner * (step.dtype === "bf16" ? 2 : 4);
    if (bytes === 0) return;
    if (rank === 0) this.driver.call("cuMemcpyDtoDAsync_v2", to.at, from.at, bytes, this.stream);
    else this.driver.call("cuMemsetD8Async", to.at, 0, bytes, this.stream);
  }

  #own({ step, pointers, outer, inner }: Meeting, rank: number): void {
    const experts = step.experts!;
    const scalars: Readonly<Record<string, number>> = { first: Math.floor(rank / step.width!) * experts, experts };
    this.around("own_experts", () =>
      this.kernels.own.enqueue(
        this.stream,
        pointers.map((p) => p.at),
        { count: outer * inner },
        { scalar: (name) => scalars[name] },
      ),
    );
  }

  #pick(all: readonly Meeting[], words: string): void {
    const [{ outer: rows, inner: columns }] = all;
    const { own, all: gathered } = this.#pairsOf(rows);
    const { here, ranks } = this.transport;
    const { rankMax, pickMax } = this.kernels;
    const pairs = here.map((_, i) => ({ own: this.memory.of(own, i), gathered: this.memory.of(gathered, i) }));
    this.around("pick_max", () => {
      for (const [i, { pointers }] of all.entries()) {
        const from = partOfRank(this.mesh, "tp", here[i]) * columns;
        rankMax.enqueue(this.stream, [pointers[0].at, pairs[i].own], { rows, columns }, { scalar: () => from });
      }
    });
    const carried = pairs.map((p) => ({ pointers: [{ at: p.own }, { at: p.gathered }] }));
    this.#carry("all_gather", "i32", [1, PAIR * rows], carried, words);
    this.around("pick_max", () => {
      for (const [i, { pointers }] of all.entries())
        pickMax.enqueue(this.stream, [pairs[i].gathered, pointers[1].at], { rows }, { scalar: () => ranks });
    });
  }

  #pairsOf(rows: number): { own: number; all: number } {
    if (rows > this.pairs.rows) {
      const room = 2 ** Math.ceil(Math.log2(Math.max(64, rows)));
      const bytes = 4 * PAIR * room;
      this.pairs = {
        rows: room,
        own: this.memory.allocate(bytes, "the largest logits of a rank"),
        all: this.memory.allocate(bytes * partsAlong(this.mesh, "tp"), "the largest logits of all ranks"),
      };
    }
    return this.pairs;
  }
}
