// One end of the socket between rank 0 and another rank: whole messages both ways, and a word as soon as the peer is gone. A peer that
// says nothing for so long is gone too; both ends send a beat where they have nothing else to say.
import type { Socket } from "node:net";
import { FrameReader, frame, type Message } from "./frames.ts";

export interface Heard {
  message(message: Message, bytes: Uint8Array): void;
  /** Once, unless this end closed it: what happened, in words that follow "rank 1". */
  lost(how: string): void;
}

/** Beats in the time after which a silent peer is gone. */
const BEATS = 8;

export class Connection {
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #timer: NodeJS.Timeout;
  #over = false;
  /** Beats of this end since the peer last said anything: a clock that stands while this process does. */
  #silent = 0;
  #heard: Heard;
  readonly #patience: number;

  constructor(socket: Socket, silenceMs: number, heard: Heard) {
    [this.#socket, this.#heard, this.#patience] = [socket, heard, silenceMs];
    this.#reader = new FrameReader((message, bytes) => {
      if (message.kind !== "beat" && !this.#over) this.#heard.message(message, bytes);
    });
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      this.#silent = 0;
      try {
        this.#reader.push(chunk);
      } catch (e) {
        this.#lose((e as Error).message);
      }
    });
    socket.on("error", (e: Error) => this.#lose(`closed its connection (${e.message})`));
    socket.on("close", () => this.#lose("closed its connection"));
    this.#timer = setInterval(() => this.#beat(), silenceMs / BEATS);
    this.#timer.unref();
  }

  /** Messages go to another from here on. */
  hear(heard: Heard): void {
    this.#heard = heard;
  }

  /** What the peer sends is taken for what it says it is. */
  trust(): void {
    this.#reader.trusted = true;
  }

  send(message: Message, bytes: readonly Uint8Array[] = []): void {
    if (!this.#over) this.#socket.write(frame(message, bytes));
  }

  /** Sends what is still to be sent and closes; settles when the peer has it, or is gone, or does not take it. */
  end(): Promise<void> {
    this.#finish();
    const socket = this.#socket;
    if (socket.closed) return Promise.resolve();
    return new Promise((resolve) => {
      const drop = setTimeout(() => socket.destroy(), this.#patience / BEATS);
      socket.once("close", () => {
        clearTimeout(drop);
        resolve();
      });
      socket.end();
    });
  }

  #finish(): void {
    this.#over = true;
    clearInterval(this.#timer);
  }

  #beat(): void {
    if (this.#silent++ >= BEATS) this.#lose(`has said nothing for ${(this.#patience / 1000).toFixed(1)} s`);
    else this.send({ kind: "beat" });
  }

  #lose(how: string): void {
    if (this.#over) return;
    this.#finish();
    this.#socket.destroy();
    this.#heard.lost(how);
  }
}
