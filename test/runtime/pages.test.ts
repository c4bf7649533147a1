// The page pool under any order of growing, cutting and ending: no page twice, none lost.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PagePool } from "../../runtime/pages.ts";

test("no page is in two places and none is lost", () => {
  const turn = fc.record({ sequence: fc.nat(3), rows: fc.nat(40) });
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 60 }), (turns) => {
      const pool = new PagePool(4);
      const rows = [0, 0, 0, 0];
      for (const t of turns) {
        const missing = pool.missing([[t.sequence, t.rows]]);
        if (missing) pool.grow(pool.next(missing, 40));
        pool.take(t.sequence, t.rows);
        pool.cut(t.sequence, t.rows);
        rows[t.sequence] = t.rows;
        const used = rows.flatMap((n, b) => Array.from({ length: Math.ceil(n / 4) }, (_, i) => pool.page(b, i)));
        expect(new Set(used).size).toBe(used.length);
        for (const p of used) expect(p).toBeLessThan(pool.capacity);
        expect(pool.inUse).toBe(used.length);
        expect(pool.capacity).toBeLessThanOrEqual(40);
      }
    }),
  );
});

test("grows by half, starts with a few, and goes past the expected most only when it must", () => {
  const pool = new PagePool(64);
  expect(pool.next(pool.missing([[0, 1]]), 1000)).toBe(8);
  pool.grow(8);
  pool.take(0, 8 * 64);
  expect(
    pool.missing([
      [0, 512],
      [1, 1],
    ]),
  ).toBe(1);
  expect(pool.next(1, 1000)).toBe(12);
  expect(pool.next(1, 10)).toBe(10);
  expect(pool.next(5, 10)).toBe(13);
  expect(new PagePool(64).next(1, 1)).toBe(1);
});

test("a freed page is used again before a new one is needed", () => {
  const pool = new PagePool(4);
  pool.grow(4);
  pool.take(0, 16);
  expect(pool.missing([[1, 4]])).toBe(1);
  pool.cut(0, 9);
  expect(pool.missing([[1, 4]])).toBe(0);
  pool.take(1, 4);
  expect([0, 1, 2].map((i) => pool.page(0, i))).not.toContain(pool.page(1, 0));
  expect(() => pool.take(2, 1)).toThrow(RangeError);
});
