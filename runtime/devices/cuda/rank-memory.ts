// Memory of the ranks that one device holds: every block is taken once for each of them, side by side, so that a rank has what the
// first one has so many bytes further. Sessions and weights know the first rank's addresses alone. Of one rank it is plain memory.
import type { Call } from "../../device.ts";
import { RANK_APART } from "../../../ir/system.ts";
import type { Memory } from "./memory.ts";

interface Block {
  at: number;
  /** Bytes from one rank's to the next. */
  apart: number;
}

export class RankMemory {
  readonly ranks: number;
  private readonly memory: Memory;
  /** By address. */
  private readonly blocks: Block[] = [];

  constructor(memory: Memory, ranks: number) {
    [this.memory, this.ranks] = [memory, ranks];
  }

  allocate(bytes: number, what: string): number {
    const apart = Math.max(1, Math.ceil(bytes / RANK_APART)) * RANK_APART;
    const at = this.memory.allocate(this.ranks === 1 ? bytes : apart * this.ranks, what);
    if (this.ranks > 1) this.blocks.splice(this.#after(at), 0, { at, apart });
    return at;
  }

  release(at: number): void {
    const i = this.#after(at) - 1;
    if (this.blocks[i]?.at === at) this.blocks.splice(i, 1);
    this.memory.release(at);
  }

  /** Bytes that each rank could take now. */
  available(): number {
    return Math.floor(this.memory.available() / this.ranks);
  }

  close(): void {
    this.memory.close();
  }

  /** Where a rank has what the first one has at an address. */
  of(at: number, rank: number): number {
    if (rank === 0) return at;
    const block = this.blocks[this.#after(at) - 1];
    if (!block || at >= block.at + block.apart) throw new RangeError(`address ${at} lies in no block`);
    return at + rank * block.apart;
  }

  /** Addresses of all ranks. */
  all(at: number): number[] {
    return Array.from({ length: this.ranks }, (_, r) => this.of(at, r));
  }

  /** A call as each rank runs it. */
  calls(call: Call): Call[] {
    return Array.from({ length: this.ranks }, (_, r) => (r === 0 ? call : this.#moved(call, (at) => this.of(at, r))));
  }

  #moved(call: Call, to: (at: number) => number): Call {
    const { places, tables, sampling, idsFrom } = call;
    return {
      ...call,
      arena: to(call.arena),
      args: new Map([...call.args].map(([name, at]) => [name, to(at)])),
      places: {
        weight: (symbol, part, layer) => to(places.weight(symbol, part, layer)),
        cache: (name, layer) => to(places.cache(name, layer)),
        batch: (table) => to(places.batch(table)),
      },
      ...(tables ? { tables: { ...tables, at: to(tables.at) } } : {}),
      ...(sampling ? { sampling: { choices: to(sampling.choices), seen: sampling.seen && to(sampling.seen) } } : {}),
      ...(idsFrom === undefined ? {} : { idsFrom: to(idsFrom) }),
    };
  }

  /** How many blocks begin at or before an address. */
  #after(at: number): number {
    let [low, high] = [0, this.blocks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.blocks[middle].at <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
