// Calls: arguments go side by side into one block of memory, the result comes back in front of them.
import { kinds, VALUE } from "./abi.ts";
import { cannotPass } from "./diagnostics.ts";
import { check } from "./error.ts";
import { addressOf, library } from "./library.ts";
import type { Wrap } from "./object.ts";
import { read, write, type Argument, type Result } from "./value.ts";

/** Values that all calls that run now may have together: callbacks call again before the call around them ends. */
const ROOM = 4096;

interface Block {
  view: DataView;
  address: number;
  /** Values taken by calls that run. */
  taken: number;
}

let block: Block | undefined;

function made(): Block {
  const bytes = new Uint8Array(new ArrayBuffer(ROOM * VALUE));
  return { view: new DataView(bytes.buffer), address: addressOf(bytes), taken: 0 };
}

/** Calls a function object. Throws a TvmError that the library raised. */
export function invoke(f: number, args: readonly Argument[], wrap: Wrap): Result {
  const { c } = library();
  const b = (block ??= made());
  const [at, n] = [b.taken, args.length];
  if (at + n + 1 > ROOM)
    throw cannotPass({
      what: `a call of ${n} arguments`,
      why: `all that run now have room for ${ROOM} values`,
      help: "pass a list",
    });
  // Strings, structs and objects stay reachable until the call has ended.
  const keep: unknown[] = [];
  b.taken = at + n + 1;
  try {
    b.view.setInt32(at * VALUE, kinds.none, true);
    for (let i = 0; i < n; i++) write(b.view, (at + 1 + i) * VALUE, args[i], keep);
    check(c.TVMFFIFunctionCall(f, b.address + (at + 1) * VALUE, n, b.address + at * VALUE));
    return read(b.view, at * VALUE, true, wrap);
  } finally {
    b.taken = at;
    keep.length = 0;
  }
}

/** An owned value of what a callback gives back: a C string becomes a string object, an object gets a reference. */
export function ownedResult(value: Argument, target: number): void {
  const { c } = library();
  const b = (block ??= made());
  const at = b.taken;
  const keep: unknown[] = [];
  b.taken = at + 1;
  try {
    write(b.view, at * VALUE, value, keep);
    check(c.TVMFFIAnyViewToOwnedAny(b.address + at * VALUE, target));
  } finally {
    b.taken = at;
    keep.length = 0;
  }
}
