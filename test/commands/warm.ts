// A process that runs dsc's command line again and again, for tests: modules are loaded once, the rest is as in a process of its own.
// It takes words over its channel and gives back what was written and the exit code. It ends by itself once the channel is closed,
// and so only if no command left anything running.
import type { EventEmitter } from "node:events";

/** What the command line adds listeners to. */
const heard: readonly (readonly [EventEmitter, string])[] = [
  [process, "uncaughtException"],
  [process.stdout, "error"],
  [process.stderr, "error"],
];

// A command may have something to tidy up when the process ends.
process.setMaxListeners(0);
let count = 0;

async function run(words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const texts = { stdout: "", stderr: "" };
  const writes = { stdout: process.stdout.write, stderr: process.stderr.write };
  const before = heard.map(([on, event]) => new Set(on.rawListeners(event)));
  for (const name of ["stdout", "stderr"] as const)
    process[name].write = ((chunk: string | Uint8Array, ...rest: unknown[]) => {
      texts[name] += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      const done = rest.at(-1);
      if (typeof done === "function") setImmediate(done as () => void);
      return true;
    }) as typeof process.stdout.write;
  process.argv = [process.execPath, "dsc", ...words];
  process.exitCode = undefined;
  try {
    const main = new URL(`../../compiler/main.js?${count++}`, import.meta.url).href;
    await import(main);
    return { code: Number(process.exitCode ?? 0), ...texts };
  } finally {
    Object.assign(process.stdout, { write: writes.stdout });
    Object.assign(process.stderr, { write: writes.stderr });
    process.exitCode = undefined;
    for (const [i, [on, event]] of heard.entries())
      for (const f of on.rawListeners(event)) if (!before[i].has(f)) on.removeListener(event, f as () => void);
  }
}

let last: Promise<unknown> = Promise.resolve();
process.on("message", ({ id, words }: { id: number; words: string[] }) => {
  last = last.then(async () => process.send!({ id, ...(await run(words)) }));
});
