// The one walker of a plan: what a device that reads the rows of experts is given, and one that leaves them to a loop, are the same
// launches; walks of several ranks go in step, each over addresses of its own.
import { expect, test } from "vitest";
import { compileSpec, defaults } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import type { Places } from "../../runtime/plan/pointer.ts";
import { walkPlan, type Item, type Launch, type RowsOf, type Walked } from "../../runtime/plan/walk.ts";
import { fixtures } from "../frontend/configs.ts";

const batch = { starts: [0, 3, 5], lengths: [70, 5], pages: 2 };

/** A call of an entry at addresses from `base` on. */
function callOf(manifest: Manifest, name: string, base: number): Walked {
  const plan = manifest.functions[name];
  const at = new Map<string, number>();
  const of = (what: string): number => {
    if (!at.has(what)) at.set(what, base + 2 ** 20 * (at.size + 1));
    return at.get(what)!;
  };
  const places: Places = {
    weight: (symbol, part, layer) => of(`weight ${symbol} ${part} ${layer}`),
    cache: (cache, layer) => of(`cache ${cache} ${layer}`),
    batch: (table) => of(`table ${table}`),
  };
  const args = new Map([...plan.inputs, ...plan.results].map((a) => [a.name, of(`argument ${a.name}`)]));
  return { function: name, batch, args, arena: base, places };
}

const plain = ({ kernel, pointers, dims, at }: Launch): unknown => [
  kernel,
  pointers.map((p) => p.at),
  dims,
  at.step.site,
  at.layer,
];
/** Three rows an expert, none for every fourth. */
const rowsOf: RowsOf = (_, count) => {
  const rows = new Int32Array(count);
  for (let e = 1; e < count; e++) rows[e] = rows[e - 1] + (e % 4 === 0 ? 0 : 3);
  return rows;
};

/** The launches of a walk that leaves loops open, each loop unrolled by the same rows. */
function unrolled(items: Iterable<Item>): unknown[] {
  const out: unknown[] = [];
  let loop: { count: number; body: Launch[] } | undefined;
  for (const item of items) {
    if (item.kind === "experts") loop = { count: item.count, body: [] };
    else if (item.kind === "launch" && loop) loop.body.push(item);
    else if (item.kind === "launch") out.push(plain(item));
    else {
      const { count, body } = loop!;
      loop = undefined;
      const rows = rowsOf(0, count + 1);
      for (let e = 0; e < count; e++) {
        const [first, m] = [rows[e], rows[e + 1] - rows[e]];
        if (m === 0) continue;
        for (const l of body)
          out.push(
            plain({
              ...l,
              pointers: l.pointers.map((p) => ({ ...p, at: p.at + p.row * first + p.expert * e })),
              dims: l.dims.map((d) => evaluate(d, { m, e, first })),
            }),
          );
      }
    }
  }
  return out;
}

test("a loop over experts left open has the launches of one whose rows are read", () => {
  let loops = 0;
  for (const src of fixtures)
    for (const passes of ["none", "all"]) {
      const { manifest } = compileSpec(loadSpec(src, []).spec, { ...defaults, passes });
      for (const name of new Set(Object.values(manifest.entries))) {
        const call = callOf(manifest, name, 2 ** 30);
        const open = [...walkPlan(manifest, call)];
        loops += open.filter((i) => i.kind === "experts").length;
        const read = [...walkPlan(manifest, call, rowsOf)];
        expect(read.every((i) => i.kind === "launch")).toBe(true);
        expect(unrolled(open)).toEqual((read as Launch[]).map(plain));
      }
    }
  expect(loops).toBeGreaterThan(10);
});

test("walks of two ranks go in step: the same kernel at the same place, each over its own addresses", () => {
  const { manifest } = compileSpec(loadSpec(fixtures[0], []).spec, defaults);
  const name = manifest.entries.extend!;
  const [a, b] = [0, 2 ** 40].map((base) => walkPlan(manifest, callOf(manifest, name, base), rowsOf));
  let launches = 0;
  for (const one of a) {
    const other = b.next().value as Launch;
    if (one.kind !== "launch") throw new Error("rows are read");
    launches++;
    expect([other.kernel, other.dims, other.at]).toEqual([one.kernel, one.dims, one.at]);
    expect(other.pointers.map((p) => p.at - 2 ** 40)).toEqual(one.pointers.map((p) => p.at));
  }
  expect(b.next().done).toBe(true);
  expect(launches).toBeGreaterThan(10);
});
