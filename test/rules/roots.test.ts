// Rules with several roots: proved root by root, fired where all of them match and can be made in one place, refused or missed with a reason.
import { expect, test } from "vitest";
import { add, addNorm, linear, mul, parseModule, printFunc, scale, verify } from "../../ir/index.ts";
import { fusion } from "../../passes/fusion.ts";
import { counterexample, rewrite, rule, type Rule } from "../../passes/index.ts";

/** 2x and xy from one visit of x: as sums and products the other way round, so that they can be told apart. */
const twice = rule("double and multiply", {
  vars: { x: "[..b] a", y: "[..b] a" },
  from: ({ x, y }) => ({ double: scale({ x, by: 2 }), product: mul({ a: x, b: y }) }),
  to: ({ x, y }) => ({ double: add({ a: x, b: x }), product: mul({ a: y, b: x }) }),
});

/** A function after a rule, as text, and what was said of candidates that were left. */
function after(
  r: Rule,
  body: string,
  head = "%x: [T, 4] f32, %y: [T, 4] f32",
): { text: string; fired: number; missed: unknown[] } {
  const module = parseModule(`module m\n${body.startsWith("@") ? "" : `\nfunc @f(${head}) {\n`}${body}`);
  verify(module);
  const out = rewrite(module.funcs.get("f")!, module.graph, [r], "mine");
  verify({ ...module, funcs: new Map([["f", out.func]]) });
  return { text: printFunc(out.func), fired: out.firings.length, missed: out.missed.map(({ at, why }) => ({ at, ...why })) };
}

test("every root is compared: one that is false is disproved, by its name", () => {
  expect(counterexample(twice)).toBeNull();
  const falsely = (sides: Partial<Record<"double" | "product", number>>): string | undefined =>
    counterexample(
      rule("false", {
        vars: { x: "[..b] a", y: "[..b] a" },
        from: ({ x, y }) => ({ double: scale({ x, by: 2 }), product: mul({ a: x, b: y }) }),
        to: ({ x, y }) => ({
          double: scale({ x, by: sides.double ?? 2 }),
          product: mul({ a: scale({ x, by: sides.product ?? 1 }), b: y }),
        }),
      }),
    )?.problem;
  expect(falsely({ double: 2.001 })).toMatch(/^double: element 0 is/);
  expect(falsely({ product: 1.1 })).toMatch(/^product: element 0 is/);
});

test("sides with other roots, or roots of other types, are no equation", () => {
  const vars = { x: "[..b, d] a", gain: "[d] w" } as const;
  const lacking = rule("lacking", {
    vars,
    from: ({ x }) => ({ a: scale({ x, by: 2 }), b: scale({ x, by: 3 }) }),
    to: ({ x }) => ({ a: add({ a: x, b: x }) }),
  });
  expect(counterexample(lacking)?.problem).toBe("b is a result of one side alone");
  const other = rule("other", {
    vars: { x: "[..b, k] bf16", w: "[n, k] w" },
    from: ({ x, w }) => ({ a: scale({ x, by: 2 }), b: linear({ x, w, dtype: "f32" }) }),
    to: ({ x, w }) => ({ a: scale({ x, by: 2 }), b: linear({ x, w }) }),
  });
  expect(counterexample(other)?.problem).toMatch(/^the left side of b is .* f32, the right side .* bf16$/);
});

test("all roots are replaced together, and keep their names", () => {
  const { text, fired } = after(
    twice,
    `  %d = scale %x {by = 2} : [T, 4] f32
  %p = mul %x, %y : [T, 4] f32
  %s = add %d, %p : [T, 4] f32
  return %s, %p
}
`,
  );
  expect(fired).toBe(1);
  expect(text).toContain("%d = add %x, %x");
  expect(text).toContain("%p = mul %y, %x");
  expect(text).toContain("%s = add %d, %p");
});

test("of several readers the first that matches as a whole is the other root", () => {
  const picky = rule("only of a sum", {
    vars: { x: "[..b] a", y: "[..b] a" },
    from: ({ x, y }) => ({ double: scale({ x, by: 2 }), product: mul({ a: x, b: y }) }),
    to: ({ x, y }) => ({ double: add({ a: x, b: x }), product: mul({ a: y, b: x }) }),
    when: ({ y }) => (add.made(y.node) ? null : "y is no sum"),
  });
  const body = (sum: string): string => `  %d = scale %x {by = 2} : [T, 4] f32
  %p = mul %x, %y : [T, 4] f32
  %s = ${sum} : [T, 4] f32
  %q = mul %x, %s : [T, 4] f32
  return %d, %p, %q
}
`;
  const { text, fired } = after(picky, body("add %y, %y"));
  expect(fired).toBe(1);
  expect(text).toContain("%p = mul %x, %y");
  expect(text).toContain("%q = mul %s, %x");
  expect(after(picky, body("mul %y, %y")).missed).toEqual([{ at: "d", refused: "y is no sum" }]);
});

test("a root that is not there is a near miss", () => {
  const { fired, missed } = after(
    twice,
    "  %d = scale %x {by = 2} : [T, 4] f32\n  %p = mul %y, %y : [T, 4] f32\n  return %d, %p\n}\n",
  );
  expect(fired).toBe(0);
  expect(missed).toEqual([{ at: "d", unmatched: "no other mul reads x" }]);
});

test("roots are not made in one place where what they read depends on one of them", () => {
  const { fired, missed, text } = after(
    twice,
    "  %d = scale %x {by = 2} : [T, 4] f32\n  %n = add %d, %y : [T, 4] f32\n  %p = mul %x, %n : [T, 4] f32\n  return %d, %p\n}\n",
  );
  expect(fired).toBe(0);
  expect(missed).toEqual([{ at: "d", refused: "what it reads depends on double, which it would make" }]);
  expect(text).toContain("%d = scale %x {by = 2}");
});

test("nor where they stand in different regions", () => {
  const two = rule("two products of one matrix", {
    vars: { x: "[..b, k] a", z: "[..c, k] a", w: "[n, k] w" },
    from: ({ x, z, w }) => ({ first: linear({ x, w }), second: linear({ x: z, w }) }),
    to: ({ x, z, w }) => ({ first: linear({ x, w }), second: linear({ x: z, w }) }),
  });
  const { fired, missed } = after(
    two,
    `@w : [4, 8] f32 from "w"
@up : [3, 4, 8] f32 from "up"

func @f(%x: [T, 8] f32, %indices: [T, 2] i32, %weights: [T, 2] f32) {
  %a = linear %x, @w : [T, 4] f32
  %y = map_experts %indices, %weights, %x, @up { (%xe: [m, 8] f32, %e: [4, 8] f32) ->
    %b = linear %xe, @w : [m, 4] f32
    %c = linear %xe, %e : [m, 4] f32
    %s = add %b, %c : [m, 4] f32
    yield %s
  } : [T, 4] f32
  return %a, %y
}
`,
  );
  expect(fired).toBe(0);
  expect(missed).toContainEqual({ at: "a", refused: "its nodes lie in different regions" });
});

test("sites that follow each other are replaced in one round", () => {
  const { text, fired } = after(
    fusion("add and normalise", addNorm),
    `  %s = add %x, %y : [T, 4] f32
  %n = rms_norm %s, %g : [T, 4] f32
  %t = add %s, %n : [T, 4] f32
  %m = rms_norm %t, %g : [T, 4] f32
  %k = rms_norm %t, %y0 : [T, 4] f32
  return %t, %m, %k
}
`,
    "%x: [T, 4] f32, %y: [T, 4] f32, %g: [4] f32, %y0: [4] f32",
  );
  expect(fired).toBe(2);
  expect(text).toContain("%s, %n = add_norm %x, %y, %g");
  expect(text).toContain("%t, %m = add_norm %s, %n, %g");
  // The sum has gone into the first of its norms.
  expect(text).toContain("%k = rms_norm %t, %y0");
});
