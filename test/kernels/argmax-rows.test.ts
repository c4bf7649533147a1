// The native choice of the most likely id, run on the host: the first maximum of rows that lie apart, in one block and in several;
// and -1 - column of the first NaN or infinity, where a row has one.
import { afterAll, expect, test } from "vitest";
import { argmaxRows } from "../../codegen/cuda/sm90/rows/argmax.ts";
import { draw, randomOf } from "./numbers.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const built: Native[] = [];
afterAll(() => built.forEach((n) => n.close()));

test.skipIf(lacks("g++ 12")).each([
  [70, 71],
  [1292, 1300],
  [5003, 5003],
  [4096, 4100],
])("%i columns, rows %i apart", (d, xStride) => {
  const native = nativeOnHost(argmaxRows({ d, xStride }, h200));
  built.push(native);
  const random = randomOf(d);
  const m = 7;
  const largest = 3.4028234663852886e38;
  // What lies between rows is larger than anything in them.
  const x = Float32Array.from(draw(random, m * xStride, "f32", 5), (v, i) => (i % xStride < d ? v : 1e9));
  const rows = Array.from({ length: m }, (_, r) => x.subarray(r * xStride, r * xStride + d));
  rows[1].fill(2);
  rows[2].fill(-Infinity);
  rows[3].set([largest, 9, largest], d - 3);
  rows[4].fill(-0);
  rows[4][d - 1] = 0;
  rows[5].fill(-3);
  rows[5].set([NaN, Infinity], d - 2);
  rows[6][1] = rows[6][d - 1] = 7;
  const y = native.run({ x: new Uint8Array(x.buffer), y: new Uint8Array(4 * m).fill(0xff) }, { m }, { SMs: 1 });
  // The largest number there is wins; what is none is said by its column, though larger ones stand beside it.
  const first = (row: Float32Array): number => {
    const bad = row.findIndex((v) => !Number.isFinite(v));
    return bad < 0 ? row.reduce((best, v, i) => (v > row[best] ? i : best), 0) : -1 - bad;
  };
  const want = rows.map(first);
  expect(want.slice(2, 6)).toEqual([-1, d - 3, 0, -1 - (d - 2)]);
  expect([...new Int32Array(y.buffer)]).toEqual(want);
});
