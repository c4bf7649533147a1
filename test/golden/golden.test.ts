// DeepSeek-R1 as dsc shows it to a person: what the commands say, one function after all passes, one kernel in three languages.
// One kernel is enough: the printers have tests of their own, and what a golden file is for is being read.
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import yargs from "yargs";
import { printCuda } from "../../codegen/cuda/printed/print.ts";
import { printTriton } from "../../codegen/triton/print.ts";
import { compileCommand } from "../../compiler/commands/compile.ts";
import { inspect } from "../../compiler/commands/inspect.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { printFunc } from "../../ir/index.ts";
import { kernelsOfModel } from "../kernels/compiled.ts";
import { difference, golden as goldenFile } from "./golden.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const r1 = path.resolve(import.meta.dirname, "../../examples/deepseek-r1");
const FOLDER = "deepseek-r1";
const golden = (name: string, got: string): void => goldenFile(`${FOLDER}/${name}`, got);
const artifact = mkdtempSync(path.join(tmpdir(), "dsc-golden-"));
afterAll(() => rmSync(artifact, { recursive: true }));

/** What a command prints on stdout, in this process: goldens need no build. The place of the artifact is OUT. */
async function said(...words: string[]): Promise<string> {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((part) => ((text += String(part)), true));
  const quiet = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  try {
    await yargs(words).command([compileCommand, inspect] as never).strict().exitProcess(false).parseAsync();
  } finally {
    write.mockRestore();
    quiet.mockRestore();
  }
  return `$ dsc ${words.join(" ")}\n${text}`.replaceAll(artifact, "OUT").replaceAll(r1, "examples/deepseek-r1");
}

let transcript = "";
beforeAll(async () => {
  transcript = await said("compile", r1, "-o", artifact);
});

const NAME = "norm_quant_1536";
const kernel = kernelsOfModel(r1).find((k) => k.name === NAME)!;

test("dsc compile: what each pass did", () => golden("compile.txt", transcript));
test("dsc inspect: functions and kernels", async () => golden("inspect.txt", await said("inspect", artifact)));
test("decode/moe_layer after all passes", () => {
  golden("decode-moe-layer.dsc", `${printFunc(compile(r1, defaults).outcome.module.funcs.get("decode/moe_layer")!).trimEnd()}\n`);
});
test("a kernel for the CPU", () => golden(`${NAME}.txt`, readFileSync(path.join(artifact, `kernels/${NAME}.txt`), "utf8")));
test("the same kernel as CUDA", () => golden(`${NAME}.cu`, printCuda(kernel, h200).source));
test("the same kernel as Triton", () => golden(`${NAME}.py`, printTriton(kernel).source));

test("golden files are few and small enough to be read", () => {
  const folder = path.join(import.meta.dirname, FOLDER);
  const files = readdirSync(folder);
  expect(files.toSorted()).toEqual(["compile.txt", "decode-moe-layer.dsc", "inspect.txt", `${NAME}.cu`, `${NAME}.py`, `${NAME}.txt`]);
  expect(files.reduce((n, f) => n + statSync(path.join(folder, f)).size, 0)).toBeLessThan(200_000);
});

test("a difference shows the lines that changed, where, and little else", () => {
  const lines = Array.from({ length: 40 }, (_, i) => `line ${i + 1}`);
  const changed = [...lines.slice(0, 9), "ten", ...lines.slice(10, 30), ...lines.slice(31), "more"];
  expect(difference(lines.join("\n"), changed.join("\n")).split("\n")).toEqual([
    "    8   line 8", "    9   line 9", "   10 - line 10", "      + ten", "   11   line 11", "   12   line 12", "      ...",
    "   29   line 29", "   30   line 30", "   31 - line 31", "   32   line 32", "   33   line 33", "      ...",
    "   39   line 39", "   40   line 40", "      + more",
  ]);
});
