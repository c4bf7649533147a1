// dsc summary as a person and a checker type it: the published numbers, exactly, in both forms of output.
import { expect, test } from "vitest";
import { dsc, json, r1 } from "./dsc.ts";

const printed = "examples/printed-model";
const facts = (text: string): Record<string, string> =>
  Object.fromEntries([...text.matchAll(/^([A-Za-z][A-Za-z0-9 ]+?) {2,}([\d,]+)/gm)].map((m) => [m[1], m[2]]));

test.concurrent("the printed model", async () => {
  const { code, stdout, stderr } = await dsc("summary", printed);
  expect([code, stderr]).toEqual([0, ""]);
  expect(facts(stdout)).toMatchObject({ Parameters: "698,789,888" });
  expect(stdout).toContain("Total params: 698,789,888\n");
  expect((await json<{ parameters: number }>("summary", printed)).parameters).toBe(698_789_888);
});

test.concurrent("R1 with and without the extra prediction layer", async () => {
  const { stdout } = await dsc("summary", r1);
  expect(facts(stdout)).toMatchObject({
    Parameters: "671,026,419,200",
    "with the extra prediction layer": "684,489,845,504",
    "Active parameters per token": "37,552,297,472",
    "Cache bytes per token": "70,272",
  });
  const full = await json<Record<string, number>>("summary", r1);
  expect(full).toMatchObject({
    parameters: 671_026_419_200,
    parameters_with_mtp: 684_489_845_504,
    cache_bytes_per_token: 70_272,
  });
  const main = await dsc("summary", r1, "--set", "num_nextn_predict_layers=0");
  expect(main.stdout).toContain("Total params: 671,026,419,200\n");
  const alone = await json<Record<string, number>>("summary", r1, "--set", "num_nextn_predict_layers=0");
  expect(alone).toMatchObject({ parameters: 671_026_419_200, parameters_with_mtp: 671_026_419_200 });
});

test.concurrent("--depth chooses the table's levels; warnings go to stderr", async () => {
  const [flat, deep] = await Promise.all([
    dsc("summary", r1, "--depth", "1"),
    dsc("summary", r1, "--depth", "4", "--set", "nonsense=1"),
  ]);
  expect(flat.stdout).not.toContain("3-1");
  expect(flat.stdout).toMatch(
    /^DeepseekV3ForCausalLM\(\n {2}\(model\): DeepseekV3Model\(\.\.\.\)\n {2}\(lm_head\): Linear\(.*\)\n\)\n/,
  );
  expect(deep.stdout).toContain(": 4-1");
  expect(deep.code).toBe(0);
  expect(deep.stderr).toContain('"nonsense" is not a field I know');
  expect(deep.stdout).not.toContain("nonsense");
});

test.concurrent("a long run of equal layers is one line of the table, and what follows keeps its number; --json has every row", async () => {
  const { stdout } = await dsc("summary", r1);
  expect(stdout).toMatch(
    /3-3 +583,483,392\n.*DeepseekV3DecoderLayer: 3-4 to 3-61 \(58 x\) +11,507,286,272\n.*MTPLayer: 3-62 +13,463,426,304\n/,
  );
  const { modules } = await json<{ modules: { depth: number; index: number }[] }>("summary", r1);
  expect(modules.filter((m) => m.depth === 3)).toHaveLength(62);
  expect((await dsc("summary", printed)).stdout).toContain(": 3-2 ");
});
