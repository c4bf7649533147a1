// dsc kernel on texts for a GPU where there is none: CUDA runs on the host by g++, Triton in its interpreter. What passes is kept, and
// waits for a GPU.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { lacks } from "../conditions.ts";
import { at, dsc, filesOf, refusal, root } from "./dsc.ts";

const model = path.join(root, "test/fixtures/a01-v3-yarn");

/** A kernel's text as it was compiled, with one change. */
function changed(out: string, kernel: string, from: string, to: string): string {
  const text = readFileSync(path.join(out, "kernels", kernel), "utf8");
  expect(text).toContain(from);
  const file = at(`changed-${kernel}`);
  writeFileSync(file, text.replace(from, to));
  return file;
}

describe.skipIf(lacks("g++ 12", "no GPU"))("CUDA", () => {
  const out = at("cuda");
  const made = dsc("compile", model, "--target", "cuda", "-o", out);
  const use = async (from: string, to: string): Promise<string[]> => {
    await made;
    return ["kernel", out, "argmax_131", "--use", changed(out, "argmax_131.cu", from, to)];
  };

  test("a right edit is kept, waits for a GPU, and is taken back without a trace", async () => {
    const others = "for (int i = 1; i < 8; i++) best = better(best, warps[i]);";
    const words = await use(others, "for (int i = 7; i > 0; i--) best = better(warps[i], best);");
    const before = filesOf(out);
    const { code, stdout } = await dsc(...words);
    expect(stdout).toMatch(
      /^argmax_131: held to argmax at \d+ cases on this machine's processor, by g\+\+ .*; no GPU has run it\n/,
    );
    expect(stdout).toContain("before it runs");
    expect(code).toBe(0);
    expect((await dsc("kernel", out)).stdout).toMatch(/^argmax_131: tested at \d+ cases .*, and on no GPU\n/);
    expect((await dsc("inspect", out)).stderr).toMatch(/^warning\[DSC6039\]/);
    expect(await refusal("kernel", out, "argmax_131", "--bench")).toContain("DSC6038");
    // Before a driver is looked for.
    expect(await refusal("run", out, "--weights", model, "--ids", "1", "--max-new", "1")).toMatch(/DSC5046[^]*--test tests it/);
    await dsc("kernel", out, "argmax_131", "--revert");
    expect(filesOf(out)).toEqual(before);
  });

  test.each([
    ["a barrier that is missing", "  __syncthreads();\n", ""],
    ["a column that is left out", "c < min(column + 4, D)", "c < min(column + 4, D - 1)"],
    ["a cast to fewer bits", "(u64)order << 32", "(u64)(unsigned short)order << 32"],
    ["a wait that nothing ends", "  __syncthreads();\n", "  if (threadIdx.x != 3) __syncthreads();\n"],
  ])("%s is refused", async (_, from, to) => {
    expect(await refusal(...(await use(from, to)))).toMatch(/DSC6037\]: argmax_131 /);
  });

  test("what the compiler does not take is refused with its words", async () => {
    expect(await refusal(...(await use("u64 best = 0;", "u64 best = none;")))).toMatch(/argmax_131[^]*none/);
  });
});

test.skipIf(lacks("triton", "no GPU"))("Triton: a right edit is kept, a wrong one refused", async () => {
  const out = at("triton");
  await dsc("compile", model, "--target", "triton", "-o", out);
  const text = readFileSync(path.join(out, "kernels/rms_norm_64.py"), "utf8");
  const file = at("norm.py");
  writeFileSync(file, `${text}\n# Another line.\n`);
  expect((await dsc("kernel", out, "rms_norm_64", "--use", file)).stdout).toMatch(
    /held to rms_norm.* by? ?the interpreter of Triton/,
  );
  const wrong = text.replace(/\/ 64(\.0)?/, "/ 63");
  expect(wrong).not.toBe(text);
  writeFileSync(file, wrong);
  expect(await refusal("kernel", out, "rms_norm_64", "--use", file)).toContain("DSC6037");
});
