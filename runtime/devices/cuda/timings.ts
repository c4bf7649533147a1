// Time by kernel: an event on either side of every launch, read when the run has ended.
import type { Driver } from "./driver.ts";

export class Timings {
  private readonly driver: Driver;
  private readonly stream: number;
  private readonly totals = new Map<string, { ms: number; launches: number }>();
  private readonly events: number[] = [];
  private used: { kernel: string; from: number; to: number }[] = [];

  constructor(driver: Driver, stream: number) {
    [this.driver, this.stream] = [driver, stream];
  }

  around(kernel: string, launch: () => void): void {
    const at = 2 * this.used.length;
    while (this.events.length < at + 2) this.events.push(this.driver.get("cuEventCreate", 0));
    const [from, to] = [this.events[at], this.events[at + 1]];
    this.driver.call("cuEventRecord", from, this.stream);
    launch();
    this.driver.call("cuEventRecord", to, this.stream);
    this.used.push({ kernel, from, to });
  }

  /** Adds up the launches since the last time; the stream has passed them. */
  collect(): void {
    const ms = new Float32Array(1);
    for (const { kernel, from, to } of this.used) {
      this.driver.call("cuEventElapsedTime", ms, from, to);
      const sum = this.totals.get(kernel) ?? { ms: 0, launches: 0 };
      sum.ms += ms[0];
      sum.launches++;
      this.totals.set(kernel, sum);
    }
    this.used = [];
  }

  list(): { kernel: string; ms: number; launches: number }[] {
    return [...this.totals].map(([kernel, t]) => ({ kernel, ...t })).toSorted((a, b) => b.ms - a.ms);
  }
}
