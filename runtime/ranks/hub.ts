// Rank 0 of ranks that are processes: the others connect to it, meet through it, and get its letters. What goes wrong with one of
// them, or with itself, it tells to all.
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import * as diagnostics from "../diagnostics.ts";
import type { Meeting } from "../plan/walk.ts";
import { combine, type Buffers } from "./combine.ts";
import type { Connection, Heard } from "./connection.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Message } from "./frames.ts";
import type { Letter, Mail } from "./letters.ts";
import { isAlone, operandsOf, roomFor, viewsOf } from "./operands.ts";
import { Outcome, told } from "./outcome.ts";
import { meetingWords, type Transport } from "./transport.ts";

/** What another rank has last come with. */
interface Arrival {
  letter: number;
  place: number;
  words: string;
  bytes: Uint8Array;
}

interface Peer {
  rank: number;
  connection: Connection;
  arrival: Arrival | undefined;
  /** The last letter whose call it has ended. */
  done: number;
  loaded: boolean;
  left: boolean;
}

export class Hub implements Transport, Mail {
  readonly kind = "sockets";
  readonly rank = 0;
  readonly ranks: number;
  readonly outcome = new Outcome();
  readonly #deadlines: Deadlines;
  readonly #peers = new Map<number, Peer>();
  /** Called whenever a peer has said something, or is gone. */
  #news: () => void = () => {};
  #said = 0;
  /** The letter whose call is made now; 0 while weights are loaded. */
  #letter = 0;
  #turns: Promise<unknown> = Promise.resolve();
  /** What rank 0 is at, for messages. */
  #doing = "all ranks came together";
  #closing: Promise<void> | undefined;
  /** The others know that no call follows. */
  #over = false;

  constructor(ranks: number, deadlines: Deadlines) {
    [this.ranks, this.#deadlines] = [ranks, deadlines];
  }

  /** Ranks that have not come. */
  get missing(): number[] {
    return Array.from({ length: this.ranks - 1 }, (_, i) => i + 1).filter((r) => !this.#peers.has(r));
  }

  /** Whether a rank has come already. */
  has(rank: number): boolean {
    return this.#peers.has(rank);
  }

  /** A rank has come; what it says is listened to from now on. */
  add(rank: number, connection: Connection): Heard {
    const peer: Peer = { rank, connection, arrival: undefined, done: 0, loaded: false, left: false };
    this.#peers.set(rank, peer);
    return {
      message: (m, bytes) => {
        this.#heard(peer, m, bytes);
        this.#news();
      },
      lost: (how) => {
        if (this.#over && peer.left) return;
        this.fail(diagnostics.rankLost({ rank, how, during: this.#doing }));
      },
    };
  }

  #heard(peer: Peer, m: Message, bytes: Uint8Array): void {
    if (m.kind === "loaded") peer.loaded = true;
    else if (m.kind === "done") peer.done = m.number;
    else if (m.kind === "meet") peer.arrival = { ...m, bytes };
    else if (m.kind === "bye") peer.left = true;
    else if (m.kind === "fail") this.fail(new DiagnosticError(m.diagnostics));
    else
      this.fail(
        diagnostics.rankLost({ rank: peer.rank, how: `sent ${m.kind}, which rank 0 does not take`, during: this.#doing }),
      );
  }

  /** Settles when a condition over what was heard holds; `late` gives the error where it has not within so long. */
  #until(holds: () => boolean, ms: number, late: () => Error): Promise<void> {
    const news = this.#news;
    return this.outcome
      .wait<void>(
        (resolve) => {
          this.#news = () => {
            try {
              if (holds()) resolve();
            } catch (e) {
              this.fail(e);
            }
          };
          this.#news();
        },
        ms,
        () => this.fail(late()),
      )
      .finally(() => (this.#news = news));
  }

  /** All ranks have come: tells them so with what each expects. */
  welcome(proofs: ReadonlyMap<number, string>): void {
    for (const { rank, connection } of this.#peers.values()) connection.send({ kind: "welcome", proof: proofs.get(rank)! });
    this.#doing = "the ranks loaded their weights";
  }

  /** Makes bytes that all ranks get. */
  async shared(make: () => Uint8Array): Promise<Uint8Array> {
    const bytes = make();
    this.#tell({ kind: "share" }, [bytes]);
    return bytes;
  }

  /** Settles when all ranks have their weights. Slow disks are no failure: beats tell of a rank that hangs. */
  async loaded(): Promise<void> {
    await this.#until(
      () => [...this.#peers.values()].every((p) => p.loaded),
      2 ** 31 - 1,
      () => diagnostics.rankLost({ rank: this.#first((p) => !p.loaded), how: "has not loaded its weights", during: this.#doing }),
    );
    this.#tell({ kind: "go" });
    this.#doing = "no call was made yet";
  }

  get ended(): boolean {
    return this.#over || this.outcome.error !== undefined;
  }

  /** Whether the ranks end because all is done: each of them then gives back what they share. */
  get over(): boolean {
    return this.#over && this.outcome.error === undefined;
  }

  say(letter: Letter, bytes?: readonly Uint8Array[]): number {
    this.outcome.check();
    const number = ++this.#said;
    this.#tell({ kind: "letter", number, letter }, bytes);
    return number;
  }

  /** Calls follow each other, for the others make one at a time. */
  turn<T>(letter: Letter, bytes: readonly Uint8Array[], call: () => Promise<T>): Promise<T> {
    const mine = this.#turns.then(async () => {
      this.outcome.check();
      this.#expectNobody();
      this.#letter = this.say(letter, bytes);
      this.#doing = `call ${this.#letter} began`;
      try {
        return await call();
      } catch (e) {
        this.fail(e);
        throw e;
      }
    });
    this.#turns = mine.catch(() => {});
    return mine;
  }

  /** A rank that waits where rank 0 does not go has another plan. */
  #expectNobody(): void {
    for (const { rank, arrival } of this.#peers.values())
      if (arrival) {
        const error = diagnostics.ranksApart({ a: 0, came: "the end of the call", b: rank, other: arrival.words });
        this.fail(error);
        throw error;
      }
  }

  async meet(meeting: Meeting, place: number, operands: Buffers, results: Buffers): Promise<void> {
    if (isAlone(meeting.step)) return combine(meeting, 0, this.#alone(operands), results);
    const words = meetingWords(meeting);
    this.#doing = `the ranks came to ${words}`;
    const peers = [...this.#peers.values()];
    await this.#until(
      () => peers.every((p) => this.#came(p, place, words)),
      this.#deadlines.meeting,
      () =>
        diagnostics.rankLost({
          rank: this.#first((p) => !p.arrival),
          how: `lives, and did not come within ${this.#deadlines.meeting / 1000} s`,
          during: this.#doing,
        }),
    );
    const sizes = operandsOf(meeting.step, meeting.outer, meeting.inner, this.ranks);
    const all = [operands, ...peers.toSorted((a, b) => a.rank - b.rank).map((p) => viewsOf(sizes, false, p.arrival!.bytes))];
    for (const p of peers) p.arrival = undefined;
    combine(meeting, 0, all, results);
    const alike = meeting.step.op !== "reduce_scatter";
    for (const p of peers) {
      const theirs = alike ? results : viewsOf(sizes, true, roomFor(sizes, true));
      if (!alike) combine(meeting, p.rank, all, theirs);
      p.connection.send({ kind: "met" }, theirs);
    }
  }

  /** Operands where a rank looks at its own only. */
  #alone(operands: Buffers): Buffers[] {
    return Array.from({ length: this.ranks }, () => operands);
  }

  #came({ rank, arrival, done }: Peer, place: number, words: string): boolean {
    const [letter, mine] = [this.#letter, at(place, words)];
    const apart = (other: string): Error => diagnostics.ranksApart({ a: 0, came: mine, b: rank, other });
    if (!arrival) {
      if (letter > 0 && done >= letter) throw apart("the end of the call");
      return false;
    }
    const theirs = at(arrival.place, arrival.words);
    if (arrival.letter !== letter) throw apart(`${theirs}, of call ${arrival.letter}; rank 0 is at call ${letter}`);
    if (theirs !== mine) throw apart(theirs);
    return true;
  }

  #first(of: (p: Peer) => boolean): number {
    return Math.min(...[...this.#peers.values()].filter(of).map((p) => p.rank));
  }

  #tell(message: Message, bytes?: readonly Uint8Array[]): void {
    for (const { connection } of this.#peers.values()) connection.send(message, bytes);
  }

  /** Ends all ranks with an error of this one, or about another. Only the first counts. */
  fail(error: unknown): void {
    const e = error instanceof Error ? error : new Error(String(error));
    if (this.outcome.error) return;
    this.#closing ??= this.#leave(told(0, e));
    this.outcome.fail(e);
  }

  async #leave(diagnostics: Diagnostic[]): Promise<void> {
    this.#tell({ kind: "end", diagnostics });
    await Promise.all([...this.#peers.values()].map(({ connection }) => connection.end()));
  }

  /** Tells the others that no call follows. They may still meet once more, to give back together what they share. */
  end(): void {
    if (this.#over || this.outcome.error) return;
    this.#over = true;
    this.#expectNobody();
    this.#doing = "the ranks ended";
    this.#letter = 0;
    this.#tell({ kind: "end", diagnostics: [] });
  }

  /** The end of all ranks, where each has done its part; or the rest of a bad end. Rejects where a rank is gone before it has said so. */
  async close(): Promise<void> {
    if (this.#closing) return this.#closing;
    this.end();
    let settle: () => void = () => {};
    this.#closing = new Promise((resolve) => (settle = resolve));
    try {
      await this.#until(
        () => [...this.#peers.values()].every((p) => p.left),
        this.#deadlines.meeting,
        () => diagnostics.rankLost({ rank: this.#first((p) => !p.left), how: "does not end", during: this.#doing }),
      );
    } finally {
      await Promise.all([...this.#peers.values()].map(({ connection }) => connection.end()));
      settle();
    }
  }
}

/** Which meeting of a call, in words that ranks compare. */
const at = (place: number, words: string): string => `meeting ${place + 1} of the call, ${words}`;
