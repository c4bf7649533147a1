// dsc diff: what a pass did, with values under the names they had.
import { expect, test } from "vitest";
import { at, dsc, r1, refusal } from "./dsc.ts";

const out = at("diff-r1");
const made = dsc("compile", r1, "--target", "cuda", "-o", out);

test("a pass is the lines it changed: values that are the same keep their names", async () => {
  await made;
  const { stdout } = await dsc("diff", out, "fuse-rope-append", "decode/moe_layer");
  expect(stdout.split("\n").filter((l) => /^[-+]/.test(l))).toEqual([
    "-  %cn = rms_norm %c, @moe_layer.kv_norm : [T, 512] bf16",
    "-  %kp = rope %kr, @rope, %batch : [T, 64] bf16",
    "-  %cache.1 = cache_append %cache, %cn, %kp, %batch : cache [S, 576] bf16",
    "+  %cache.1 = rope_append %cache, %c, %kr, @moe_layer.kv_norm, @rope, %batch : cache [S, 576] bf16",
  ]);
  const all = (await dsc("diff", out, "fuse-rope-append")).stdout;
  expect(all).toContain("@prefill/dense_layer, and the same in extend/dense_layer, decode/dense_layer: 3 lines went, 1 came");
});

test("what reads a value that changed is one line, not all that follows it", async () => {
  await made;
  const { stdout } = await dsc("diff", out, "add-norm", "layer5", "--json");
  const [decode] = (JSON.parse(stdout) as { function: string; lines: { mark: string; text: string }[] }[]).filter(
    (f) => f.function === "decode/moe_layer",
  );
  expect(decode.lines.filter((l) => l.mark === "+").map((l) => l.text.trim().split(" = ")[1].split(" ")[0])).toEqual([
    "add_norm_both",
    "gather_rows",
  ]);
});

test("a pass that changed nothing says so; one that did not run is refused", async () => {
  await made;
  expect((await dsc("diff", out, "pad-widths")).stdout).toBe("pad-widths changed nothing here\n");
  expect(await refusal("diff", out, "add-nrom")).toContain("did you mean add-norm?");
  expect(await refusal("diff", out, "add-norm", "decode/moe_leyer")).toContain("did you mean decode/moe_layer?");
});
