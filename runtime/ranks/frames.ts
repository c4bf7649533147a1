// Messages between ranks on a byte stream: a frame is the length of a JSON header (u32), the length of the bytes behind it (48 bits),
// the header, the bytes. Both lengths are little-endian.
import type { Diagnostic } from "../../ir/diagnostic.ts";
import type { Letter } from "./letters.ts";

/** What a rank says of itself when it comes. */
export interface Facts {
  /** Version of dsc. */
  dsc: string;
  /** sha256 of the artifact's manifest. */
  artifact: string;
  /** As an option has it, "tp=8,ep=2". */
  mesh: string;
  /** What the weights are read from, in one word that is the same for the same files. */
  weights: string;
  /** What carries the operands of collectives: sockets, or between GPUs a mailbox or nccl. */
  transport: string;
}

/** Every message; rank 0 is the hub of a star, and the others speak to it only. */
export type Message =
  // Rank 0 greets who connects; both sides prove that they know the token by its HMAC of the other's nonce.
  | { kind: "challenge"; nonce: string }
  | { kind: "hello"; rank: number; ranks: number; facts: Facts; host: string; nonce: string; proof: string }
  // All ranks have come.
  | { kind: "welcome"; proof: string }
  // What rank 0 made for all: the id of a communicator, as bytes.
  | { kind: "share" }
  // This rank, then all ranks, have their weights.
  | { kind: "loaded" }
  | { kind: "go" }
  // A call of rank 0's that all ranks make, and its end at one of them.
  | { kind: "letter"; number: number; letter: Letter }
  | { kind: "done"; number: number }
  // A rank comes to a meeting, with its operand; what it goes on with.
  | { kind: "meet"; letter: number; place: number; words: string }
  | { kind: "met" }
  | { kind: "beat" }
  // One rank has failed; and what ends all of them, nothing where they are done.
  | { kind: "fail"; diagnostics: Diagnostic[] }
  | { kind: "end"; diagnostics: Diagnostic[] }
  | { kind: "bye" };

const PREFIX = 10;
/** Longest header: a prompt of a million ids has 8 MB. */
const MOST_HEADER = 1 << 26;
/** Longest header of who has not shown that it knows the token; such a message has no bytes. */
const MOST_STRANGER = 1 << 14;
const MOST_BYTES = 2 ** 32 - 1;

/** A frame; the bytes are copied, so what they were read from may change. */
export function frame(message: Message, bytes: readonly Uint8Array[] = []): Buffer {
  const header = Buffer.from(JSON.stringify(message));
  const length = bytes.reduce((n, b) => n + b.length, 0);
  const out = Buffer.allocUnsafe(PREFIX + header.length + length);
  out.writeUInt32LE(header.length, 0);
  out.writeUIntLE(length, 4, 6);
  header.copy(out, PREFIX);
  let at = PREFIX + header.length;
  for (const b of bytes) {
    out.set(b, at);
    at += b.length;
  }
  return out;
}

/** Puts frames together from what arrives. */
export class FrameReader {
  /** Whether who sends has shown that it may. */
  trusted = false;
  readonly #given: (message: Message, bytes: Uint8Array) => void;
  #chunks: Buffer[] = [];
  #have = 0;

  constructor(given: (message: Message, bytes: Uint8Array) => void) {
    this.#given = given;
  }

  /** Takes bytes; throws a plain Error where they are no frame. */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#have += chunk.length;
    while (this.#have >= PREFIX) {
      const prefix = this.#peek(PREFIX);
      const [header, bytes] = [prefix.readUInt32LE(0), prefix.readUIntLE(4, 6)];
      const most = this.trusted ? [MOST_HEADER, MOST_BYTES] : [MOST_STRANGER, 0];
      if (header > most[0] || bytes > most[1]) throw new Error("it sent what is no message of dsc");
      if (this.#have < PREFIX + header + bytes) return;
      const message = parsed(this.#take(PREFIX + header).subarray(PREFIX));
      this.#given(message, this.#take(bytes));
    }
  }

  /** The first bytes, which stay. */
  #peek(count: number): Buffer {
    if (this.#chunks[0].length < count) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0].subarray(0, count);
  }

  /** The first bytes in memory of their own, which begins at a multiple of 8. */
  #take(count: number): Buffer {
    const out = Buffer.from(new ArrayBuffer(count));
    for (let at = 0; at < count;) {
      const [first] = this.#chunks;
      const n = first.copy(out, at);
      at += n;
      if (n === first.length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(n);
    }
    this.#have -= count;
    return out;
  }
}

function parsed(header: Buffer): Message {
  try {
    const m = JSON.parse(header.toString("utf8")) as Message;
    if (typeof m === "object" && m !== null && typeof m.kind === "string") return m;
  } catch {
    // Said below.
  }
  throw new Error("it sent what is no message of dsc");
}
