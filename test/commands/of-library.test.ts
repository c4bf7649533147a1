// Commands that read an artifact take one whose kernels are a library of C as any other: floors are this machine's.
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { lacks } from "../conditions.ts";
import { at, dsc, refusal, root } from "./dsc.ts";

const model = path.join(root, "test/fixtures/a06-v3-dense");
const out = at("in-c");

describe.skipIf(lacks("C compiler"))("an artifact of --target c", () => {
  beforeAll(async () => {
    expect((await dsc("compile", model, "--target", "c", "-o", out)).code).toBe(0);
  });
  const here = ["--bandwidth", "10"];

  test.each<[string[], RegExp]>([
    [["inspect", out, "--cost", ...here], /^floors on this machine/],
    [["inspect", out, "decode/dense_layer", "--batch", "1", ...here], / for c: .*floors on this machine/],
    [["inspect", out, "rms_norm_48", "--line", "20"], /op rms_norm/],
    [["why", out, "kernels", "decode/dense_layer/q"], /tile program, family linear/],
    [["plan", out, ...here], / on this machine/],
    [["graph", out, "--format", "dot"], /^digraph/],
    [["bench", out, "--weights", model, "-p", "4", "-n", "2"], /\npp4 +c /],
    [["profile", out, "--weights", model, "-p", "4"], / for c; floors on this machine/],
    [["report", out, "-o", at("in-c.html"), ...here], /in-c\.html/],
    [["kernel", out, "rms_norm_48"], /as it was compiled/],
  ])("%s", async (words, said) => {
    const { code, stdout, stderr } = await dsc(...words);
    expect(stdout + stderr).toMatch(said);
    expect(code).toBe(0);
  });

  test("kernel holds the library's kernels to their ops and times them, takes no text, and names the target whose texts it takes", async () => {
    const { code, stdout } = await dsc("kernel", out, "rms_norm_48", "--test", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ on: "cpu", against: ["rms_norm"], proved: true });
    expect((JSON.parse(stdout) as { cases: unknown[] }).cases.length).toBeGreaterThan(10);
    expect((await dsc("kernel", out, "rms_norm_48", "--bench")).stdout).toMatch(/its library for .*\nas compiled +\S+ us; /);
    const text = path.join(out, "kernels/rms_norm_48.c");
    expect(await refusal("kernel", out, "rms_norm_48", "--use", text)).toMatch(/DSC6055[^]*--target cpu/);
  });
});
