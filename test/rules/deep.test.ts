// Texts deeper, longer or wider than any model: read, verified, run through passes and printed, or refused; never a full stack.
import { expect, test } from "vitest";
import { parseModule, printModule, verify } from "../../ir/index.ts";
import { choosePasses, runPipeline, standard } from "../../passes/index.ts";

const chain = (n: number, line: (before: string, i: number) => string): string =>
  `func @f(%x: [T, 4] f32) assume {T = 16} {\n${Array.from({ length: n }, (_, i) => `  %y${i} = ${line(i ? `%y${i - 1}` : "%x", i)}`).join("\n")}\n  return y = %y${n - 1}\n}\n`;

test.each([
  ["a chain of 20,000 statements", chain(20_000, (x) => `gated ${x}, ${x}`)],
  ["20,000 sums of a value with itself", chain(20_000, (x) => `add ${x}, ${x}`)],
])("%s is read, verified, taken through all passes, and printed again", (_, text) => {
  const module = parseModule(text);
  verify(module);
  const { module: out } = runPipeline(module, choosePasses("all", standard), {}, { contracts: false });
  expect(printModule(out)).toContain("return y = %y19999");
});

test("a chain of 5,000 inside a region", () => {
  const body = Array.from({ length: 5000 }, (_, i) => `%z${i} = gated ${i ? `%z${i - 1}, %p` : "%p, %p"}`).join("\n");
  const text = `func @f(%batch: batch, %x: [T, 4] f32) {\n%r = map_sequences %batch, %x { (%p: [t, 4] f32) ->\n${body}\nyield %z4999\n}\n  return y = %r\n}\n`;
  expect(printModule(parseModule(text))).toContain("yield %z4999");
});

test.each([
  [
    "5,000 regions inside each other",
    `func @f(%x: [T, 4] f32) {\n${Array.from({ length: 5000 }, (_, i) => `%r${i} = map_sequences %x { (%p${i}: [t, 4] f32) ->\n`).join("")}yield %x\n${"}\n".repeat(5000)}  return y = %r0\n}\n`,
    /DSC2001.*nested/s,
  ],
  [
    "a tensor of 6,000 axes",
    `func @f(%x: [${Array(6000).fill(1).join(", ")}] f32) {\n  %y = gated %x, %x\n  return y = %y\n}\n`,
    /DSC2001.*16 axes/s,
  ],
  [
    "a weight of a size that is no number",
    `@w : [bf16, 64] bf16 from "w"\n`,
    /DSC2001.*sizes of a weight are numbers, and bf16 is none/s,
  ],
  ["100,000 brackets", `func @f(%x: ${"[".repeat(100_000)}] f32) {\n  return y = %x\n}\n`, /DSC2001/],
])("%s are refused", (_, text, message) => {
  expect(() => parseModule(text)).toThrow(message);
});
