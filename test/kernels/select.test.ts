// Which of several hand-written kernels runs a site: the one with the least time, whatever their order; what lost is written down.
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { native, type Native } from "../../codegen/cuda/native.ts";
import { LADDER, selectNatives } from "../../codegen/cuda/select.ts";
import { natives } from "../../codegen/cuda/sm90/natives.ts";
import type { Cases, Chosen, Site, View } from "../../ir/kernel/catalogue.ts";
import type { Size } from "../../ir/size.ts";
import { mul } from "../../ir/size.ts";

const packed = (shape: Size[], dtype: View["dtype"] = "bf16", scaled?: View["scaled"]): View => ({
  dtype,
  shape,
  strides: shape.map((_, i) => mul(...shape.slice(i + 1))),
  ...(scaled ? { scaled } : {}),
});

/** A native of two numbers: microseconds a launch, and the rows it takes at most. */
const made = (family: string, us: number, maxRows: number): Native<{ n: number }, { form: string }> =>
  native({
    family,
    serves: ["linear"],
    schedules: {
      candidates: () => [{ form: family }],
      illegal: () => null,
      maxRows: () => maxRows,
      estimate: () => us,
      name: (s) => s.form,
    },
    match: () => ({ problem: { n: 1 }, rows: "T", dims: ["T"], args: () => [] }),
    emit() {
      throw new Error("no text is asked for");
    },
  });

const linear = (n: number, k: number): Site => ({
  op: "linear",
  attrs: { dtype: "same" },
  ins: [packed(["T", k]), packed([n, k])],
  outs: [packed(["T", n])],
});
const blocks = (n: number, k: number): Site => ({
  op: "block_linear",
  attrs: {},
  ins: [packed(["T", k], "e4m3", "1x128"), packed([n, k], "e4m3", "128x128")],
  outs: [packed(["T", n])],
});

const families = (site: Site, list: readonly Native[]): [number | null, string][] => {
  const choice = selectNatives(site, list, h200);
  return choice === null
    ? []
    : "on" in choice
      ? choice.cases.map((c) => [c.most, c.launches[0].family])
      : choice.map((c) => [null, c.family]);
};

test("the fastest runs as many rows as it takes, the next one the rest", () => {
  const [fast, slow] = [made("fast", 1, 8), made("slow", 2, Infinity)];
  expect(families(linear(8, 8), [fast, slow])).toEqual([
    [8, "fast"],
    [null, "slow"],
  ]);
  expect(families(linear(8, 8), [slow, fast])).toEqual([
    [8, "fast"],
    [null, "slow"],
  ]);
});

test("a limit between two steps of the ladder is a step of its own, and the launches end where none takes more", () => {
  expect(families(linear(8, 8), [made("few", 1, 3)])).toEqual([[3, "few"]]);
  expect(LADDER).not.toContain(3);
});

test("what lost says why: the time of either, the rows it takes, or what it does not take", () => {
  const [fast, slow] = [made("fast", 1, 8), made("slow", 2, Infinity)];
  const never = { ...made("never", 0, 1), match: () => ({ reason: "it is not for this" }) };
  const { cases } = selectNatives(linear(8, 8), [fast, slow, never], h200) as Cases;
  expect(cases.map((c) => c.launches[0].instead)).toEqual([
    [
      { family: "never", reason: "it is not for this" },
      { family: "slow", reason: "estimated at 2.0 us at 1 row, fast estimated at 1.0 us" },
    ],
    [
      { family: "never", reason: "it is not for this" },
      { family: "fast", reason: "none of its schedules takes 16 rows" },
    ],
  ]);
});

test("the order of the list of natives says nothing", () => {
  for (const site of [
    linear(7168, 16384),
    linear(256, 7168),
    linear(129280, 7168),
    linear(200, 72),
    blocks(2112, 7168),
    blocks(7168, 18432),
    blocks(136, 144),
  ])
    expect(families(site, natives)).toEqual(families(site, natives.toReversed()));
});

test("natives that serve an op beside others say what they cost", () => {
  for (const op of new Set(natives.flatMap((n) => n.serves))) {
    const serving = natives.filter((n) => n.serves.includes(op));
    if (serving.length > 1)
      expect(
        serving.filter((n) => !n.schedules.estimate).map((n) => n.family),
        op,
      ).toEqual([]);
  }
});

test("a problem holds its schedule as a record with named fields", () => {
  const { cases } = selectNatives(blocks(2112, 7168), natives, h200) as Cases;
  const schedules = cases.flatMap((c) => c.launches).map((l: Chosen) => (l.problem as { schedule: object }).schedule);
  expect(schedules.every((s) => typeof s === "object" && s !== null)).toBe(true);
});
