// A choice of kernels by a run-time size: from a target's catalogue through selection and planning to the words a thread runs.
import { expect, test } from "vitest";
import type { Manifest } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import { parseModule } from "../../ir/index.ts";
import type { Catalogue, Chosen } from "../../ir/kernel/catalogue.ts";
import { planMemory } from "../../passes/plan/memory.ts";
import { selectModule } from "../../passes/plan/select.ts";
import { flatten } from "../../runtime/devices/program.ts";
import type { Places } from "../../runtime/plan/pointer.ts";
import { type BatchShape } from "../../runtime/plan/dims.ts";

const text = `module m

func @f(%x: [T, 4] f32) {
  %y = gated %x, %x : [T, 4] f32
  return y = %y
}
`;

const launch = (family: string): Chosen[] => [
  { family, problem: {}, args: [{ in: 0 }, { out: 0 }], dims: [{ op: "mul", of: ["T", 4] }] },
];
const catalogue: Catalogue = {
  target: "test",
  pageRows: 64,
  choose: () => ({
    on: "T",
    cases: [
      { most: 2, launches: launch("few") },
      { most: 8, launches: [...launch("half"), ...launch("half")] },
      { most: null, launches: launch("many") },
    ],
  }),
  copy: () => ({ reason: "nothing is copied here" }),
};

test("scratch is a slot of its own while its node runs, one for all cases that name it alike", () => {
  const scratch = (name: string): Chosen["args"][number] => ({ scratch: name, dtype: "bf16", shape: ["T", 6] });
  const through = (name: string): Chosen[] => [
    { family: "first", problem: {}, args: [{ in: 0 }, scratch(name)], dims: ["T"] },
    { family: "second", problem: {}, args: [scratch(name), { out: 0 }], dims: ["T"] },
  ];
  const two =
    "module m\n\nfunc @f(%x: [T, 4] f32) {\n  %y = gated %x, %x : [T, 4] f32\n  %z = gated %y, %y : [T, 4] f32\n  return z = %z\n}\n";
  const [draft] = selectModule(parseModule(two), {
    ...catalogue,
    choose: () => ({
      on: "T",
      cases: [
        { most: 2, launches: through("row") },
        { most: null, launches: [...through("row"), ...through("other")] },
      ],
    }),
  });
  const f = planMemory(draft, (d) => d.chosen.family);
  // Two rows of scratch that both nodes take turns with, and between them the row that the nodes share.
  expect(f.slots.map((s) => evaluate(s, { T: 1 }))).toEqual([12, 16, 12]);
  const slots = f.steps.map((s) =>
    s.kind === "cases"
      ? s.cases.map((c) => c.steps.map((k) => (k.kind === "kernel" ? k.args.map((a) => ("slot" in a ? a.slot : -1)) : [])))
      : [],
  );
  expect(slots).toEqual([
    [
      [
        [-1, 0],
        [0, 1],
      ],
      [
        [-1, 0],
        [0, 1],
        [-1, 2],
        [2, 1],
      ],
    ],
    [
      [
        [1, 0],
        [0, -1],
      ],
      [
        [1, 0],
        [0, -1],
        [1, 2],
        [2, -1],
      ],
    ],
  ]);
});

test("the first case that holds the size runs", () => {
  const [draft] = selectModule(parseModule(text), catalogue);
  const f = planMemory(draft, (d) => d.chosen.family);
  const record = { text: "", entry: "run", family: "", params: [], dims: ["n"], cells: "n" };
  const manifest = { functions: { f }, kernels: { few: record, half: record, many: record } } as unknown as Manifest;
  const kernels = new Map([
    ["few", 0],
    ["half", 1],
    ["many", 2],
  ]);
  const places: Places = { weight: () => 0, cache: () => 0, batch: () => 0 };
  const run = (T: number): number[] => {
    const batch: BatchShape = { starts: [0, T], lengths: [T], pages: 1 };
    const { words } = flatten(manifest, "f", {
      batch,
      args: new Map(f.inputs.concat(f.results).map((a, i) => [a.name, 64 * i])),
      arena: 0,
      places,
      kernels,
    });
    const launched: number[] = [];
    for (let at = 0; at < words.length; at += 7 + words[at + 6]) launched.push(words[at + 1]);
    return launched;
  };
  expect([1, 2, 3, 8, 9].map(run)).toEqual([[0], [0], [1, 1], [1, 1], [2]]);
});
