// The only time limit of a test run: when no test of any file has ended for this long, something hangs. The run is ended, and
// what was at work is named. DSC_STANDSTILL_MINUTES sets another limit.
import { readFileSync } from "node:fs";
import type { TestProject } from "vitest/node";

const MINUTES = Number(process.env.DSC_STANDSTILL_MINUTES) || 40;

export default function watch({ vitest }: TestProject): () => void {
  let [ended, since] = [-1, performance.now()];
  const look = (): void => {
    const modules = vitest.state.getTestModules();
    const count = modules.reduce(
      (n, m) => n + [...m.children.allTests()].filter((t) => t.result().state !== "pending").length,
      modules.length,
    );
    if (count !== ended) [ended, since] = [count, performance.now()];
    if (performance.now() - since < MINUTES * 60_000) return;
    clearInterval(timer);
    const open = modules.filter((m) => m.state() === "pending" || m.state() === "queued").map((m) => `  ${m.relativeModuleId}\n`);
    process.stderr.write(`\nno test has ended for ${MINUTES} minutes; at work:\n${open.join("")}`);
    process.exitCode = 1;
    process.once("exit", endWorkers);
    void vitest.exit(true);
  };
  const timer = setInterval(look, Math.min(10_000, MINUTES * 20_000)).unref();
  return () => clearInterval(timer);
}

/** A worker that never comes back to its event loop does not see that the run is over. */
function endWorkers(): void {
  try {
    const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8");
    for (const pid of children.split(" ").filter(Boolean)) process.kill(Number(pid), "SIGKILL");
  } catch {
    // Another system, or all have ended.
  }
}
