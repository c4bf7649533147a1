// The last lines of a test run: where its time went. Seconds are of the clock and include loading; on a busy machine they are longer.
import type { Reporter, TestModule } from "vitest/node";

/** Files that are named. */
const MOST = 10;

/** Seconds that a file took. */
function secondsOf(m: TestModule): number {
  const { collectDuration, duration, prepareDuration, setupDuration } = m.diagnostic();
  return (collectDuration + duration + prepareDuration + setupDuration) / 1000;
}

export default class Slowest implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    if (modules.length <= MOST) return;
    const files = modules.map((m) => ({ name: m.relativeModuleId, seconds: secondsOf(m) }));
    const whole = files.reduce((sum, f) => sum + f.seconds, 0);
    const lines = files
      .toSorted((a, b) => b.seconds - a.seconds)
      .slice(0, MOST)
      .map((f) => `${f.seconds.toFixed(1).padStart(8)} s  ${f.name}\n`);
    process.stdout.write(`\nthe ${MOST} slowest of ${files.length} files, which took ${whole.toFixed(0)} s:\n${lines.join("")}`);
  }
}
