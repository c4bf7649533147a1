// What the declaration of an op promises its callers: tsc refuses operands and attributes that are missing or of another kind (each
// line under @ts-expect-error is one it must refuse), and a guard on a node gives its attributes their types.
import { expect, test } from "vitest";
import {
  add,
  bytesOf,
  DiagnosticError,
  dtypes,
  formats,
  Graph,
  mul,
  param,
  parseModule,
  rmsNorm,
  route,
  scale,
  split,
  tensor,
  type Diagnostic,
} from "../../ir/index.ts";

const graph = new Graph();
const row = (name: string, type = tensor([3, 4], "f32")) => param(graph, name, type);
const [a, b] = [row("a"), row("b")];

test("a missing operand is a compile error, and says so at run time", () => {
  // @ts-expect-error: b is required
  expect(() => mul({ a })).toThrow(/needs operand b/);
  expect(mul({ a, b }).type).toEqual(a.type);
});

test("an attribute without a default is required; one of another kind is refused", () => {
  // @ts-expect-error: by has no default
  expect(() => scale({ x: a })).toThrow(/attribute by is required/);
  // @ts-expect-error: a number is asked for
  expect(() => scale({ x: a, by: "two" })).toThrow(/must be of kind f32/);
  // @ts-expect-error: there is no such attribute
  expect(() => rmsNorm({ x: a, gain: row("g", tensor([4], "f32")), epsilon: 1 })).toThrow(/has no operand or attribute epsilon/);
});

test("an optional operand may be left out", () => {
  const logits = row("logits", tensor(["T", 8], "f32"));
  expect(route({ logits, topk: 2 }).indices.type).toEqual(tensor(["T", 2], "i32"));
});

test("the node of an op has typed attributes", () => {
  const { node } = split({ x: a, at: 1 }).left;
  const at: number = split.made(node) ? node.attrs.at : NaN;
  expect(at).toBe(1);
  expect(mul.made(node)).toBe(false);
});

test("bytes, blocks and scales of every dtype come from one table", () => {
  const bytes = Object.fromEntries(dtypes.map((d) => [d, bytesOf(tensor([128, 128], d), {})]));
  expect(bytes).toEqual({ f32: 65536, bf16: 32768, i32: 65536, "e4m3/1x128": 16384 + 512, "e4m3/128x128": 16384 + 4 });
  expect(formats["e4m3/1x128"].scaled).toMatchObject({ rows: 1, columns: 128 });
});

test("a diagnostic of the graph keeps what its words are made of", () => {
  const found = (make: () => unknown): Diagnostic | undefined => {
    try {
      make();
    } catch (e) {
      if (e instanceof DiagnosticError) return e.diagnostics[0];
      throw e;
    }
    return undefined;
  };
  const misfit = found(() => add({ a, b: row("c", tensor([3, 5], "f32")) }));
  expect(misfit?.data).toMatchObject({ op: "add", operands: ["a : [3, 4] f32", "c : [3, 5] f32"] });
  expect(misfit?.notes).toEqual(["operand 0: a : [3, 4] f32", "operand 1: c : [3, 5] f32"]);
  expect(found(() => parseModule("module m\n\nfunc @f(%x: [T, 4] f32) {\n  %y = scal %x\n  return y = %y\n}\n"))?.data).toEqual({
    name: "scal",
    near: "scale",
  });
});
