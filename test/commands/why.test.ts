// dsc why, passes and ops: an answer for every rule at every place, for every pass and for every op; and did-you-mean for what is none.
import { beforeAll, describe, expect, test, vi } from "vitest";
import yargs from "yargs";
import { opsCommand } from "../../compiler/commands/ops.ts";
import { passesCommand } from "../../compiler/commands/passes.ts";
import { why } from "../../compiler/commands/why.ts";
import { opByName, parseModule } from "../../ir/index.ts";
import { standard, type Entry } from "../../passes/index.ts";
import { placeOf } from "../../compiler/report/why.ts";
import type { Served } from "../../compiler/report/served.ts";
import { at, dsc, r1, refusal } from "./dsc.ts";

const out = at("why-r1");
const gpu = at("why-gpu");
beforeAll(async () => {
  expect((await dsc("compile", r1, "-o", out)).code).toBe(0);
  expect((await dsc("compile", r1, "-o", gpu, "--target", "cuda")).code).toBe(0);
});
/** What a command prints, in this process: there are many questions. */
async function said(...words: string[]): Promise<string> {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((part) => ((text += String(part)), true));
  try {
    await yargs(words)
      .command([why, passesCommand, opsCommand] as never)
      .strict()
      .exitProcess(false)
      .fail(false)
      .parseAsync();
  } finally {
    write.mockRestore();
  }
  return text;
}
const list = async <T>(...words: string[]): Promise<T[]> => JSON.parse(await said(...words, "--json")) as T[];

describe("why", () => {
  test("every rule of every pass at every place of R1", async () => {
    const all = await list<Entry>("why", out);
    for (const p of standard) {
      const text = await said("why", out, p.name);
      for (const rule of new Set(all.filter((e) => e.pass === p.name).map((e) => e.rule)))
        expect(text).toContain(`\n  ${rule}\n`);
      // One place of every rule, whole.
      for (const [rule, e] of new Map(all.filter((x) => x.pass === p.name && x.site !== "module").map((x) => [x.rule, x]))) {
        const one = await said("why", out, p.name, placeOf(e));
        expect(one).toContain(`${placeOf(e)}\n  ${p.name}, "${rule}": `);
        if (e.reason) expect(one).toContain(e.reason);
      }
    }
  });

  test("a function, a layer, a value, a place in any entry point", async () => {
    const body = await list<Entry>("why", out, "add-norm", "decode/moe_layer");
    expect(body.length).toBeGreaterThan(2);
    expect(await list("why", out, "add-norm", "decode/layer3")).toEqual(body);
    const everywhere = await list<Entry>("why", out, "add-norm", "layer60");
    expect(new Set(everywhere.map((e) => e.site))).toEqual(
      new Set(["prefill/moe_layer", "extend/moe_layer", "decode/moe_layer"]),
    );
    expect(new Set((await list<Entry>("why", out, "add-norm", "layer61")).map((e) => e.site))).toEqual(
      new Set(["draft/moe_layer"]),
    );
    expect(new Set((await list<Entry>("why", out, "add-norm", "layer0")).map((e) => e.site.split("/")[1]))).toEqual(
      new Set(["dense_layer"]),
    );
    expect((await said("why", out, "add-norm", "decode/moe_layer/z")).trimEnd().split("\n")).toEqual([
      "decode/moe_layer/z",
      '  add-norm, "add, normalise, keep the row and its codes": fired',
      "    -2 launches, -917.50 kB moved",
    ]);
    expect(await list("why", out, "add-norm", "moe_layer/z")).toHaveLength(4);
  });

  test("what fired comes first, and --fired leaves out the rest", async () => {
    const heads = (await said("why", out, "add-norm", "decode/moe_layer"))
      .split("\n")
      .filter((l) => l.startsWith("  add-norm,"))
      .map((l) => l.replace(/.*": (\w+).*/, "$1"));
    expect(heads).toContain("looked");
    expect(heads.lastIndexOf("fired")).toBeLessThan(heads.indexOf("looked"));
    const fired = await list<Entry>("why", out, "add-norm", "decode/moe_layer", "--fired");
    expect(fired).toHaveLength(heads.filter((h) => h === "fired").length);
    expect(new Set((await list<Entry>("why", out, "--fired")).map((e) => e.outcome))).toEqual(new Set(["fired"]));
    expect(await refusal("why", out, "kernels", "--fired")).toContain("kernels are chosen, not fired");
  });

  test("a refusal in words: prefill is not absorbed, and a candidate that is not the pattern", async () => {
    expect(await said("why", out, "absorb-mla", "prefill/moe_layer")).toContain(
      "found, and left as it is\n    absorbing would cost 3298.5 GFLOP more at T = 4096",
    );
    expect(await said("why", out, "fuse-quant", "prefill/moe_layer")).toContain(
      "looked at, and not the pattern\n    there is reshape where rms_norm is looked for",
    );
  });

  test("kernels: family and problem; on a GPU every schedule with its estimate, by run-time size", async () => {
    const all = await list<Served>("why", out, "kernels", "decode/moe_layer");
    for (const s of all) expect(s).toMatchObject({ form: "tile program", problem: expect.any(Object) });
    expect(await said("why", out, "kernels", "decode/moe_layer")).toContain("family grouped_linear\n    problem: experts");
    const native = (await list<Served>("why", gpu, "kernels", "decode/moe_layer/q")).filter((s) => s.family === "block_gemm");
    expect(native.length).toBeGreaterThan(1);
    for (const s of native) {
      expect(s.when).toMatch(/^T /);
      expect(s.candidates!.filter((c) => c.chosen)).toHaveLength(1);
      expect(s.candidates!.length).toBeGreaterThan(5);
    }
  });

  test("names that are none", async () => {
    expect(await refusal("why", out, "ad-norm")).toContain("did you mean add-norm?");
    expect(await refusal("why", out, "add-norm", "decode/moe_lyer")).toContain("did you mean decode/moe_layer?");
    expect(await refusal("why", out, "kernels", "decode/moe_lyer")).toContain("did you mean decode/moe_layer?");
    expect(await refusal("why", out, "add-norm", "layer99")).toContain("layer99");
  });
});

describe("passes", () => {
  test("the list is the pipeline, in order", async () =>
    expect(
      (await said("passes"))
        .trimEnd()
        .split("\n")
        .map((l) => l.split(" ")[0]),
    ).toEqual(standard.map((p) => p.name)));
  test("every pass has a page: every rule, its holes, both sides, cost at two sizes", async () => {
    for (const p of standard) {
      const page = await said("passes", p.name);
      expect(page).toContain(p.summary);
      for (const r of [...(p.rules ?? []), ...(p.equations ?? [])]) {
        expect(page).toContain(`"${r.name}": looks for ${r.lookedFor()}`);
        for (const [k, t] of Object.entries(r.vars)) expect(page).toContain(`${k} ${t}`);
      }
      expect(page.split("one row: ").length - 1).toBe((p.rules ?? []).length + (p.equations ?? []).length);
    }
    expect(await said("passes", "absorb-mla")).toContain(
      "option absorb-mla.attention: auto, expanded, absorbed; auto unless said",
    );
  });
  test("sides are text that parses", async () => {
    const page = await said("passes", "combine-add");
    const func = page.slice(page.indexOf("func @from"), page.indexOf("func @to")).replace(/^ {4}/gm, "");
    expect([...parseModule(func).funcs.keys()]).toEqual(["from"]);
  });
  test("a plug-in is one of them; an unknown name is not", async () => {
    expect(await said("passes", "last-row-norm", "--plugin", "examples/plugin-pass/last-row-norm.ts")).toContain(
      "normalise the last rows only",
    );
    expect(await refusal("passes", "last-row-norm")).toContain("there is no pass named");
    expect(await refusal("passes", "fuse-qant")).toContain("did you mean fuse-quant?");
  });
});

describe("ops", () => {
  test("the list and every page", async () => {
    const lines = (await said("ops")).trimEnd().split("\n");
    expect(lines.map((l) => l.split(" ")[0])).toEqual([...opByName.keys()]);
    const facts = await list<{ name: string; kernels: { targets: string[] } }>("ops");
    expect(facts.filter((f) => f.kernels.targets.length === 0)).toEqual([]);
    const page = await said("ops", "add_norm_both");
    expect(page).toContain("%0, %1, %2 = add_norm_both %a, %b, %gain : [3, 4] f32, [3, 4] f32, [3, 4] e4m3/1x128");
    expect(page).toContain("tile family add_norm_both");
  });
  test("an unknown name", async () => expect(await refusal("ops", "rms_nrom")).toContain("did you mean rms_norm?"));
});

test("options of passes: unknown keys and values are refused before any work", async () => {
  expect(await refusal("compile", r1, "-o", at("x"), "--pass-option", "absorb-mla.atention=auto")).toContain(
    "did you mean absorb-mla.attention?",
  );
  expect(await refusal("compile", r1, "-o", at("x"), "--pass-option", "absorb-mla.attention=sometimes")).toContain(
    "must be one of auto, expanded, absorbed",
  );
  expect(await refusal("compile", r1, "-o", at("x"), "--pass-option", "attention")).toContain("write pass.key=value");
  const { stdout } = await dsc("compile", r1, "-o", at("forced"), "--pass-option", "absorb-mla.attention=absorbed");
  expect(stdout).not.toMatch(/(declined|refused): read the latents/);
});

describe("why kernels SITE --batch", () => {
  test("a tensor's name, one batch: the chosen schedule with its time, and why the others lost", async () => {
    const served = await list<Served>("why", gpu, "kernels", "q_b_proj", "--batch", "1");
    expect(new Set(served.map((s) => s.site))).toEqual(new Set(["decode/dense_layer/q", "decode/moe_layer/q"]));
    for (const s of served) {
      const [chosen, ...rest] = s.candidates!;
      expect(chosen).toMatchObject({ chosen: true, time: { source: "measured by us" } });
      expect(rest.every((c) => c.lost !== undefined)).toBe(true);
      expect(s.when).toBe("T = 1");
    }
    const text = await said("why", gpu, "kernels", "self_attn.q_b_proj", "--batch", "1");
    expect(text).toMatch(
      /chosen \S+: measured by us at [\d.]+ us\n +\S+: .* us; .*\n +\S+: .* us; .*\n +\d+ more are slower.*--all lists them\n +names are /,
    );
    const all = await said("why", gpu, "kernels", "q_b_proj", "--batch", "1", "--all");
    expect(all.split("\n").length).toBeGreaterThan(3 * text.split("\n").length);
    // Another batch has another kernel, judged at that batch.
    const many = await list<Served>("why", gpu, "kernels", "q_b_proj", "--batch", "64");
    expect(many.map((s) => s.kernel)).not.toEqual(served.map((s) => s.kernel));
    expect(await list("why", gpu, "kernels", "model.layers.7.self_attn.q_b_proj.weight", "--batch", "1")).toEqual(
      served.filter((s) => s.site.startsWith("decode")),
    );
  });

  test("what --batch does not go with is refused", async () => {
    expect(await refusal("why", gpu, "add-norm", "--batch", "1")).toContain("--batch is of kernels");
    expect(await refusal("why", gpu, "kernels", "--all")).toContain("--all is of --batch");
    expect(await refusal("why", gpu, "kernels", "q_b_projj", "--batch", "1")).toContain("q_b_projj");
  });
});
