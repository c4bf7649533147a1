// A tool, no test: fits the constants of estimates (ProductTimes of ir/machine.ts) to what was measured, and says what choosing by them
// loses; then the same of each matrix by constants fitted without it:
//   npx jiti test/bench/fit-times.ts
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { estimate } from "../../codegen/cuda/sm90/gemm/fp8-estimate.ts";
import type { ProductTimes } from "../../ir/machine.ts";
import { geometricMean, grouped, matrixOf, measurements, quantile, regrets, type Measurement } from "./gemm-measurements.ts";

const all = measurements();
const least = new Map(
  [...grouped(all, (m) => `${matrixOf(m)} ${m.rows}`)].map(([key, list]) => [key, Math.min(...list.map((m) => m.us))]),
);
/** What is near the best counts most, and what may be chosen. */
const weightOf = (m: Measurement): number =>
  (m.candidate ? 1 : 0.5) * (least.get(`${matrixOf(m)} ${m.rows}`)! / m.us) ** 1.5 * (m.schedule.form === "persistent" ? 2 : 1);

const timeBy =
  (times: ProductTimes) =>
  (m: Measurement): number =>
    estimate(m.schedule, m.problem, m.rows, { ...h200, times });

/** Squares of relative errors, those past a tenth counted less. */
const lossOf = (times: ProductTimes, of: readonly Measurement[]): number =>
  of.reduce((sum, m) => {
    const error = (weightOf(m) * Math.log(timeBy(times)(m) / m.us)) / 0.1;
    return sum + Math.sqrt(1 + error * error) - 1;
  }, 0);

/** Constants that no neighbour of beats: one is changed at a time, by less and less. */
function fit(of: readonly Measurement[]): ProductTimes {
  let [best, loss] = [{ ...h200.times }, lossOf(h200.times, of)];
  for (let step = 0.2; step > 0.002; step /= 2)
    for (let improved = true; improved;) {
      const before = loss;
      for (const key of (Object.keys(best) as (keyof ProductTimes)[]).filter((k) => k !== "handOver"))
        for (const by of [1 + step, 1 / (1 + step)]) {
          const tried = { ...best, [key]: best[key] * by };
          const now = lossOf(tried, of);
          if (now < loss) [best, loss] = [tried, now];
        }
      improved = before - loss > 0.01;
    }
  return best;
}

function report(what: string, timeOf: (m: Measurement) => number): void {
  const errors = all.filter((m) => m.candidate).map((m) => Math.abs(timeOf(m) / m.us - 1));
  const lost = regrets(all, timeOf);
  const worst = lost.reduce((most, r) => (r.regret > most.regret ? r : most));
  console.log(
    `${what}: error ${quantile(errors, 0.5).toFixed(3)}, 90th percentile ${quantile(errors, 0.9).toFixed(3)}; regret ${geometricMean(lost.map((r) => r.regret)).toFixed(3)}, worst ${worst.regret.toFixed(3)} (${worst.where})`,
  );
}

report("as they are", timeBy(h200.times));
const fitted = fit(all);
report("fitted", timeBy(fitted));
for (const [key, value] of Object.entries(fitted)) console.log(`  ${key}: ${Number(value.toPrecision(4))}`);
const without = new Map(
  [...grouped(all, matrixOf).keys()].map((matrix) => [matrix, timeBy(fit(all.filter((m) => matrixOf(m) !== matrix)))]),
);
report("each matrix by the others", (m) => without.get(matrixOf(m))!(m));
