// A rank that is not rank 0, in a process of its own: it follows rank 0's letters, and meets the others through rank 0.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import * as diagnostics from "../diagnostics.ts";
import type { Meeting } from "../plan/walk.ts";
import { combine, type Buffers } from "./combine.ts";
import type { Connection, Heard } from "./connection.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Message } from "./frames.ts";
import type { Letter } from "./letters.ts";
import { isAlone, operandsOf, viewsOf } from "./operands.ts";
import { Outcome, told } from "./outcome.ts";
import { meetingWords, type Transport } from "./transport.ts";

interface Received {
  number: number;
  letter: Letter;
  bytes: Uint8Array;
}

export class Spoke implements Transport {
  readonly kind = "sockets";
  readonly rank: number;
  readonly ranks: number;
  readonly outcome = new Outcome();
  readonly #connection: Connection;
  readonly #deadlines: Deadlines;
  readonly #letters: Received[] = [];
  /** Called with each message that is waited for. */
  #awaited: ((message: Message, bytes: Uint8Array) => void) | undefined;
  #letter = 0;
  #shared: Uint8Array | undefined;
  #ended = false;
  #doing = "all ranks came together";
  #closing: Promise<void> | undefined;

  constructor(rank: number, ranks: number, connection: Connection, deadlines: Deadlines) {
    [this.rank, this.ranks, this.#connection, this.#deadlines] = [rank, ranks, connection, deadlines];
    connection.hear(this.#heard);
  }

  readonly #heard: Heard = {
    message: (m, bytes) => {
      if (m.kind === "end") {
        this.#ended = true;
        if (m.diagnostics.length) this.outcome.fail(new DiagnosticError(m.diagnostics));
      } else if (m.kind === "share") this.#shared = bytes;
      else if (m.kind === "letter") this.#letters.push({ number: m.number, letter: m.letter, bytes });
      this.#awaited?.(m, bytes);
    },
    lost: (how) => {
      // After the end too, where something is still waited for.
      if (!this.#ended || this.#awaited) this.outcome.fail(diagnostics.rankLost({ rank: 0, how, during: this.#doing }));
    },
  };

  /** Settles with what is made of a message, undefined for those that are not waited for. */
  #next<T>(of: (m: Message, bytes: Uint8Array) => T | undefined, ms?: number): Promise<T> {
    return this.outcome
      .wait<T>(
        (resolve) => {
          this.#awaited = (m, bytes) => {
            const made = of(m, bytes);
            if (made !== undefined) resolve(made);
          };
        },
        ms,
        () =>
          this.outcome.fail(
            diagnostics.rankLost({ rank: 0, how: `lives, and did not go on within ${ms! / 1000} s`, during: this.#doing }),
          ),
      )
      .finally(() => (this.#awaited = undefined));
  }

  /** Settles when all ranks have come; `knows` says whether rank 0 has proved that it knows the token. */
  welcomed(knows: (proof: string) => boolean): Promise<void> {
    return this.#next((m) => {
      if (m.kind !== "welcome") return undefined;
      if (!knows(m.proof))
        this.outcome.fail(diagnostics.rankRefused({ rank: 0, what: "token", theirs: "another one", ours: "of this rank" }));
      else this.#doing = "the ranks loaded their weights";
      return true;
    }).then(() => this.outcome.check());
  }

  /** What rank 0 makes for all; settles when it has come. */
  async shared(): Promise<Uint8Array> {
    return this.#shared ?? this.#next((m, bytes) => (m.kind === "share" ? bytes : undefined));
  }

  /** Says that this rank has its weights; settles when all have. */
  async loaded(): Promise<void> {
    this.#connection.send({ kind: "loaded" });
    await this.#next((m) => (m.kind === "go" ? true : undefined));
    this.#doing = "no call was made";
  }

  /** Whether the ranks end because all is done: each of them then gives back what they share. */
  get over(): boolean {
    return this.#ended && this.outcome.error === undefined;
  }

  /** The next letter; undefined when rank 0 is done. */
  async letter(): Promise<Received | undefined> {
    if (this.#letter > 0) this.#connection.send({ kind: "done", number: this.#letter });
    while (this.#letters.length === 0 && !this.#ended)
      await this.#next((m) => (m.kind === "letter" || m.kind === "end" ? true : undefined));
    this.outcome.check();
    const next = this.#letters.shift();
    if (!next) {
      this.#letter = 0;
      return undefined;
    }
    this.#letter = next.number;
    this.#doing = `call ${next.number} began`;
    return next;
  }

  async meet(meeting: Meeting, place: number, operands: Buffers, results: Buffers): Promise<void> {
    if (isAlone(meeting.step))
      return combine(
        meeting,
        this.rank,
        Array.from({ length: this.ranks }, () => operands),
        results,
      );
    const words = meetingWords(meeting);
    this.#doing = `the ranks came to ${words}`;
    // A rank that does not come is named by rank 0, which waits for it no longer than this.
    const given = this.#next((m, bytes) => (m.kind === "met" ? bytes : undefined), this.#deadlines.meeting * 1.5);
    this.#connection.send({ kind: "meet", letter: this.#letter, place, words }, operands);
    const bytes = await given;
    const sizes = operandsOf(meeting.step, meeting.outer, meeting.inner, this.ranks);
    for (const [i, view] of viewsOf(sizes, true, bytes).entries()) results[i].set(view);
  }

  /** Ends all ranks with an error of this one. */
  fail(error: unknown): void {
    const e = error instanceof Error ? error : new Error(String(error));
    if (this.outcome.error) return;
    this.#connection.send({ kind: "fail", diagnostics: told(this.rank, e) });
    this.outcome.fail(e);
  }

  /** Says that this rank has done its part, and closes. */
  close(): Promise<void> {
    this.#ended = true;
    return (this.#closing ??= this.#leave());
  }

  #leave(): Promise<void> {
    if (!this.outcome.error) this.#connection.send({ kind: "bye" });
    return this.#connection.end();
  }
}
