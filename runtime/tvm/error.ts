// Errors of libraries: kind, message and backtrace, as they were raised.
import { HEADER, wordAt } from "./abi.ts";
import { library, memoryAt, viewAt } from "./library.ts";

/** What a library raised: `name` is its kind ("ValueError"), `backtrace` the lines it gave, the innermost last. */
export class TvmError extends Error {
  readonly backtrace: string;
  constructor(kind: string, message: string, backtrace: string) {
    super(message);
    this.name = kind;
    this.backtrace = backtrace;
  }
}

/** Bytes behind a pair of pointer and size. */
export function bytesAt(pair: DataView, at: number): Uint8Array<ArrayBuffer> {
  const [address, size] = [wordAt(pair, at), wordAt(pair, at + 8)];
  return size === 0 ? new Uint8Array() : new Uint8Array(memoryAt(address, size)).slice();
}

export const textAt = (pair: DataView, at: number): string => new TextDecoder().decode(bytesAt(pair, at));

/** What the last failed call of this thread raised; it is taken, not looked at. */
function takeRaised(): TvmError {
  const { c } = library();
  const out = new DataView(new ArrayBuffer(8));
  c.TVMFFIErrorMoveFromRaised(out);
  const error = wordAt(out, 0);
  if (error === 0) return new TvmError("UnknownError", "a call failed, and raised no error in this thread", "");
  const cell = viewAt(error + HEADER, 48);
  const made = new TvmError(textAt(cell, 0), textAt(cell, 16), textAt(cell, 32));
  c.TVMFFIObjectDecRef(error);
  return made;
}

/** Throws what was raised where a call says that it failed. */
export function check(status: number): void {
  if (status !== 0) throw takeRaised();
}
