// A process that is one rank: started by start.ts, told by a message what to run, over when its rank is or when its parent is gone.
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { rankLost } from "../diagnostics.ts";
import { followRank } from "../load.ts";
import type { Task } from "./start.ts";

// The terminal's interrupt goes to all ranks: they end with rank 0, and there is nothing to say.
let interrupted = false;
process.on("SIGINT", () => (interrupted = true));

/** Words on stderr, in one write so that those of several ranks do not mix. */
function say(rank: number, e: unknown): void {
  if (interrupted) return;
  const text = e instanceof DiagnosticError ? e.diagnostics.map(render).join("\n") : String((e as Error).message ?? e);
  process.stderr.write(`rank ${rank}: ${text}\n`);
}

let rank = 0;
process.once("disconnect", () =>
  // What the socket to rank 0 says of its end is more; this is for where there is none yet.
  setTimeout(() => {
    say(rank, rankLost({ rank: 0, how: "ended", during: "this rank was started" }));
    process.exit(1);
  }, 1000),
);
process.once("message", async ({ folder, weights, threads, place }: Task) => {
  rank = place.rank;
  try {
    await followRank(folder, { weights, ...(threads === undefined ? {} : { threads }) }, place);
    process.exit(0);
  } catch (e) {
    say(place.rank, e);
    process.exit(1);
  }
});
