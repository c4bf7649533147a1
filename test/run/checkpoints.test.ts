// Model folders as they are found: what their checkpoints store decides how they are compiled, whatever their configs say; what is
// not read does not count, and what cannot be read is named.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import type { Model } from "../../runtime/index.ts";
import { at, dsc } from "../commands/dsc.ts";
import { altered, bytesOf, copied, evenScales, f32, plainWeights, widened, type Json, type Tensors } from "./altered.ts";
import { openModel } from "./compiled.ts";

const PROMPT = [5, 17, 3, 42, 8];

/** Logits after the prompt and after one more id. */
async function logitsOf(model: Model): Promise<number[]> {
  const session = model.session({ maxTokens: 16 });
  try {
    const first = (await session.prefill([PROMPT])).logits(0).slice();
    return [...first, ...(await session.decode([7])).logits(0)];
  } finally {
    session.close();
  }
}

const answers = async (folder: string, options: Partial<CompileOptions> = {}): Promise<number[]> =>
  logitsOf(await openModel(folder, options));
const farthest = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((m, v, i) => (Number.isNaN(v) ? Infinity : Math.max(m, Math.abs(v - b[i]))), 0);
const compiled = async (folder: string, weights = folder): Promise<ReturnType<typeof compile>> =>
  compile(folder, { ...defaults, stored: await storedIn(weights) });
const warned = async (folder: string): Promise<string[]> => (await compiled(folder)).warnings.map((w) => w.code);
const dtypes = (c: ReturnType<typeof compile>): Record<string, string> =>
  Object.fromEntries(Object.entries(c.manifest.weights).map(([k, w]) => [k, w.dtype]));
const matching = (t: Tensors, re: RegExp): string[] => [...t.keys()].filter((n) => re.test(n));

/** Every expert's matrices in one tensor, as transformers 5 may save them; scales above each other too, or those in `blocks` rows. */
function fuse(t: Tensors, blocks?: number): void {
  const stack = (names: string[][]): Uint8Array => Buffer.concat(names.flat().map((n) => t.get(n)!.data));
  for (const at of new Set(matching(t, /\.experts\.0\./).map((n) => n.slice(0, n.indexOf(".experts.") + 8)))) {
    const count = matching(t, new RegExp(`${at.replaceAll(".", "\\.")}\\.\\d+\\.up_proj\\.weight$`)).length;
    const of = (part: string): string[] => Array.from({ length: count }, (_, e) => `${at}.${e}.${part}.weight`);
    const [gate, up, down] = ["gate_proj", "up_proj", "down_proj"].map(of);
    const {
      dtype,
      shape: [m, h],
    } = t.get(gate[0])!;
    t.set(`${at}.gate_up_proj`, { dtype, shape: [count, 2 * m, h], data: stack(gate.map((g, e) => [g, up[e]])) });
    t.set(`${at}.down_proj`, { dtype, shape: [count, h, m], data: stack(down.map((d) => [d])) });
    if (t.has(`${gate[0]}_scale_inv`)) {
      const scales = (names: string[]): string[] => names.map((n) => `${n}_scale_inv`);
      const [rows, columns] = t.get(`${gate[0]}_scale_inv`)!.shape;
      const all = stack(gate.map((g, e) => scales([g, up[e]])));
      const height = blocks ?? 2 * rows;
      t.set(`${at}.gate_up_proj_scale_inv`, {
        dtype: "F32",
        shape: [count, height, columns],
        data: all.subarray(0, 4 * count * height * columns),
      });
      t.set(`${at}.down_proj_scale_inv`, {
        dtype: "F32",
        shape: [count, ...t.get(`${down[0]}_scale_inv`)!.shape],
        data: stack(down.map((d) => scales([d]))),
      });
      for (const n of scales([...gate, ...up, ...down])) t.delete(n);
    }
    for (const n of [...gate, ...up, ...down]) t.delete(n);
  }
}

describe("what a checkpoint stores", () => {
  test("experts fused in one tensor are read as if they lay apart", async () => {
    const apart = await answers(await altered("a01-v3-yarn", () => {}));
    expect(await answers(await altered("a01-v3-yarn", (t) => fuse(t)))).toEqual(apart);
    const turned = await altered("a01-v3-yarn", (t) => {
      fuse(t);
      for (const n of matching(t, /gate_up_proj$/))
        t.set(n, { ...t.get(n)!, shape: [t.get(n)!.shape[0], t.get(n)!.shape[2], t.get(n)!.shape[1]] });
    });
    await expect(openModel(turned)).rejects.toThrow(/DSC5027[^]*experts fused in model.layers.1.mlp.experts.gate_up_proj as/);
  });

  test("fused experts in FP8 are read where scales of gate and up can be told apart, and refused with the reason where not", async () => {
    const folder = async (width: number): Promise<string> => {
      const to = at(`fp8-${width}`);
      expect(
        (
          await dsc(
            "weights",
            "test/fixtures/a07-v3-fp8",
            "--synthetic",
            "3",
            "-o",
            to,
            "--set",
            `moe_intermediate_size=${width}`,
          )
        ).code,
      ).toBe(0);
      return to;
    };
    for (const width of [128, 192, 256]) {
      const src = await folder(width);
      expect(await answers(await altered(src, (t) => fuse(t)))).toEqual(await answers(src));
    }
    const common = await altered(await folder(192), (t) => fuse(t, 3));
    await expect(openModel(common)).rejects.toThrow(
      /DSC5023[^]*gate and up are 192 rows each, no multiple of 128, and model.layers.1.mlp.experts.gate_up_proj_scale_inv is \[\d+, 3, 2\]: scales of blocks that hold rows of both[^]*gate_proj and up_proj of every expert apart/,
    );
    const either = await altered("a07-v3-fp8", (t) => fuse(t));
    await expect(openModel(either)).rejects.toThrow(
      /DSC5023[^]*gate and up are 72 rows each[^]*scales of gate above those of up, or of both in common blocks/,
    );
  });

  test("scales stored as the bytes of their exponents, where scale_fmt says so", async () => {
    const as = (u8: boolean, fmt: string | undefined): Promise<string> =>
      altered("a07-v3-fp8", (t, config) => {
        if (fmt) (config.quantization_config as Json).scale_fmt = fmt;
        for (const [name, powers] of evenScales(t))
          if (u8)
            t.set(
              name,
              bytesOf(
                "U8",
                t.get(name)!.shape,
                powers.map((p) => p + 127),
              ),
            );
      });
    expect(await answers(await as(true, "ue8m0"))).toEqual(await answers(await as(false, "ue8m0")));
    const untold = await as(true, undefined);
    await expect(openModel(untold)).rejects.toThrow(/DSC5029[^]*scale_fmt=ue8m0/);
  });

  const left: [what: string, which: RegExp][] = [
    ["attention", /self_attn/],
    ["kv_b_proj", /kv_b_proj/],
    ["o_proj", /o_proj/],
    ["the latents' products", /q_a_proj|kv_a_proj/],
    ["one of the two latents' products", /kv_a_proj/],
    ["gate_proj", /gate_proj/],
    ["down_proj of routed experts", /experts\.\d+\.down_proj/],
    ["shared experts", /shared_experts/],
    ["dense layers", /layers\.0\.mlp/],
  ];
  const exact: Partial<CompileOptions> = { actQuant: "none" };
  const even = (async () => answers(await altered("a07-v3-fp8", (t) => void evenScales(t)), exact))();
  test.each(left)("%s in bf16 and the rest FP8 is the model it was", async (_, which) => {
    const folder = await altered("a07-v3-fp8", (t) => plainWeights(t, which, evenScales(t)));
    expect(await warned(folder)).toEqual(["DSC6025"]);
    expect(farthest(await answers(folder, exact), await even)).toBeLessThan(2e-5);
  });

  test("mixed weights compile for every target, and run with quantised activations and without passes", async () => {
    const folder = await altered("a07-v3-fp8", (t) => plainWeights(t, /kv_b_proj|gate_proj/, evenScales(t)));
    expect(farthest(await answers(folder, { ...exact, passes: "none" }), await even)).toBeLessThan(2e-5);
    expect((await answers(folder)).every(Number.isFinite)).toBe(true);
    for (const target of ["cuda", "triton"] as const)
      compile(folder, { ...defaults, target, activations: "bf16", stored: await storedIn(folder) });
  });

  test("a weight that is FP8 in one layer of a kind and bf16 in another is refused as what it is", async () => {
    const folder = await altered("a07-v3-fp8", (t) => plainWeights(t, /experts\.3\.up_proj/, evenScales(t)));
    await expect(openModel(folder)).rejects.toThrow(/DSC5028[^]*experts.3.up_proj/);
  });

  test("bf16 throughout under a config that says FP8", async () => {
    const folder = await altered("a07-v3-fp8", (t) => plainWeights(t, /./, evenScales(t)));
    const c = await compiled(folder);
    expect([c.spec.fp8, c.warnings.map((w) => w.code)]).toEqual([null, ["DSC6025"]]);
    expect(farthest(await answers(folder), await even)).toBeLessThan(2e-5);
  });

  test.each([/layernorm|model\.norm/, /mlp\.gate\.weight$/, /embed_tokens|lm_head/])(
    "%s in float32 among bf16: these alone take four bytes",
    async (which) => {
      const folder = await altered("a01-v3-yarn", (t) => matching(t, which).forEach((n) => t.set(n, widened(t.get(n)!))));
      const c = await compiled(folder);
      expect(c.warnings).toEqual([]);
      for (const [name, w] of Object.entries(c.manifest.weights)) {
        const stored = w.source.kind === "checkpoint" ? w.source.pieces[0].tensor : "";
        if (stored) expect(w.dtype, name).toBe(which.test(stored) || stored.endsWith("correction_bias") ? "f32" : "bf16");
      }
      expect(farthest(await answers(folder), await answers(await altered("a01-v3-yarn", () => {})))).toBeLessThan(1e-5);
      for (const target of ["cuda", "triton"] as const)
        compile(folder, { ...defaults, target, activations: "bf16", stored: await storedIn(folder) });
    },
  );

  test("float32 throughout keeps float32 and says so; tensors that are not read never count", async () => {
    const wide = await altered("a01-v3-yarn", (t) => [...t].forEach(([n, s]) => s.dtype === "BF16" && t.set(n, widened(s))));
    expect(await warned(wide)).toEqual(["DSC6007"]);
    const unread = await altered("a01-v3-yarn", (t) => {
      t.set("model.rotary_emb.cos", f32([8, 8], new Float32Array(64)));
      t.set("visual.blocks.0.weight", { dtype: "F64", shape: [2, 2], data: new Uint8Array(32) });
      t.set("model.layers.0.self_attn.q_proj.weight_scale", { dtype: "F32", shape: [1], data: new Uint8Array(4) });
      t.set("optimizer.step", { dtype: "I64", shape: [], data: new Uint8Array(8) });
    });
    const c = await compiled(unread);
    expect(c.warnings).toEqual([]);
    expect(dtypes(c)).toEqual(dtypes(await compiled(await altered("a01-v3-yarn", () => {}))));
  });

  test("a file by name counts, not what else lies in its folder", async () => {
    const folder = await altered("a01-v3-yarn", () => {}, "other-name.safetensors");
    const wide = await altered("a01-v3-yarn", (t) => [...t].forEach(([n, s]) => s.dtype === "BF16" && t.set(n, widened(s))));
    copyFileSync(path.join(wide, "model.safetensors"), path.join(folder, "model.safetensors"));
    const c = await compiled(path.join(folder, "config.json"), path.join(folder, "other-name.safetensors"));
    expect([c.spec.dtype, c.warnings]).toEqual(["bf16", []]);
    expect((await compiled(folder)).spec.dtype).toBe("f32");
  });
});

describe("the extra prediction layer", () => {
  const MTP = /^model\.layers\.2\./;
  test("that the checkpoint leaves out is left out, and drafts are refused", async () => {
    const folder = await altered("a08-v3-mtp", (t) => matching(t, MTP).forEach((n) => t.delete(n)));
    expect(await warned(folder)).toEqual(["DSC6024"]);
    const model = await openModel(folder);
    expect(model.session().drafts).toBe(false);
    expect(await logitsOf(model)).toEqual(await answers(await altered("a08-v3-mtp", () => {})));
    const { stderr, code } = await dsc("run", folder, "--ids", "1,2", "--max-new", "2", "--draft", "1");
    expect(code).toBe(2);
    expect(stderr).toMatch(/DSC6024[^]*DSC6017[^]*the checkpoint has no such layer/);
  });

  test("an artifact that was compiled with it says what to do", async () => {
    const folder = await altered("a08-v3-mtp", (t) => matching(t, MTP).forEach((n) => t.delete(n)));
    await expect(openModel(folder, { stored: undefined })).rejects.toThrow(/DSC5020[^]*--set num_nextn_predict_layers=0/);
  });

  test("an index that still names it, in a shard that is gone, changes nothing", async () => {
    const folder = await altered("a08-v3-mtp", (t) => matching(t, MTP).forEach((n) => t.delete(n)));
    renameSync(path.join(folder, "model.safetensors"), path.join(folder, "model-00001-of-00002.safetensors"));
    const map = {
      "model.norm.weight": "model-00001-of-00002.safetensors",
      "model.layers.2.enorm.weight": "model-00002-of-00002.safetensors",
    };
    writeFileSync(path.join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
    expect(await warned(folder)).toEqual(["DSC6024"]);
    await openModel(folder);
  });

  test("without tables of its own it reads the main model's", async () => {
    const repeats = (t: Tensors): void => {
      t.set("model.layers.2.embed_tokens.weight", t.get("model.embed_tokens.weight")!);
      t.set("model.layers.2.shared_head.head.weight", t.get("lm_head.weight")!);
    };
    const draft = async (folder: string): Promise<number[]> => {
      const model = await openModel(folder, { taps: true });
      const session = model.session({ maxTokens: 8 });
      const hidden = (await session.prefill([PROMPT])).hidden(0, PROMPT.length);
      const logits = [...(await session.draft([[...PROMPT.slice(1), 9]], hidden)).logits(0)];
      session.close();
      return logits;
    };
    const whole = await draft(await altered("a08-v3-mtp", repeats));
    const folder = await altered("a08-v3-mtp", (t) => {
      repeats(t);
      t.delete("model.layers.2.embed_tokens.weight");
      t.delete("model.layers.2.shared_head.head.weight");
    });
    expect(await warned(folder)).toEqual([]);
    expect(await draft(folder)).toEqual(whole);
  });
});

describe("what is not read is named", () => {
  const proj = "model.layers.1.self_attn.o_proj";
  const formats: [what: string, alter: (t: Tensors) => void, words: RegExp][] = [
    ["NVFP4", (t) => void t.set(`${proj}.weight`, bytesOf("U8", [1], [0])).set(`${proj}.weight_scale_2`, f32([], [1])), /NVFP4/],
    [
      "compressed-tensors",
      (t) => void (t.delete(`${proj}.weight`), t.set(`${proj}.weight_packed`, bytesOf("U8", [1], [0]))),
      /compressed-tensors/,
    ],
    [
      "GPTQ",
      (t) =>
        void (
          t.delete(`${proj}.weight`),
          t.set(`${proj}.qweight`, bytesOf("U8", [1], [0])).set(`${proj}.g_idx`, bytesOf("U8", [1], [0]))
        ),
      /GPTQ/,
    ],
    [
      "FP8 per tensor",
      (t) => void t.set(`${proj}.weight`, bytesOf("F8_E4M3", [1], [0])).set(`${proj}.weight_scale`, f32([], [1])),
      /FP8 with one scale per tensor, weight_scale/,
    ],
    [
      "FP8 per row",
      (t) => void t.set(`${proj}.weight`, bytesOf("F8_E4M3", [2, 1], [0, 0])).set(`${proj}.weight_scale`, f32([2, 1], [1, 1])),
      /a scale per row/,
    ],
    [
      "bitsandbytes",
      (t) => void t.set(`${proj}.weight`, bytesOf("U8", [1], [0])).set(`${proj}.weight.absmax`, f32([1], [1])),
      /bitsandbytes/,
    ],
  ];
  test.each(formats)("%s", async (_, alter, words) => {
    const folder = await altered("a01-v3-yarn", alter);
    await expect(openModel(folder)).rejects.toThrow(/DSC5027/);
    await expect(openModel(folder)).rejects.toThrow(words);
  });

  test("an adapter's tensors", async () => {
    const folder = await altered("a01-v3-yarn", (t) => {
      t.clear();
      t.set(`base_model.model.${proj}.lora_A.weight`, f32([1], [1]));
    });
    await expect(openModel(folder)).rejects.toThrow(/DSC5026[^]*merge it/);
  });
});

describe("config.json is enough to compile", () => {
  const beside: [what: string, put: (folder: string) => void, warns: RegExp][] = [
    ["nothing", (f) => rmSync(path.join(f, "model.safetensors")), /^$/],
    [
      "a Git LFS pointer",
      (f) =>
        writeFileSync(path.join(f, "model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
      /DSC6026[^]*LFS/,
    ],
    ["a file that was cut short", (f) => writeFileSync(path.join(f, "model.safetensors"), "abc"), /DSC6026/],
    [
      "a broken index",
      (f) => (rmSync(path.join(f, "model.safetensors")), writeFileSync(path.join(f, "model.safetensors.index.json"), "{")),
      /DSC6026/,
    ],
    [
      "an index of shards that are not there",
      (f) => (
        rmSync(path.join(f, "model.safetensors")),
        writeFileSync(path.join(f, "model.safetensors.index.json"), '{"weight_map":{"a":"b.safetensors"}}')
      ),
      /^$/,
    ],
    [
      "a FIFO",
      (f) => (rmSync(path.join(f, "model.safetensors")), execFileSync("mkfifo", [path.join(f, "model-x.safetensors")])),
      /DSC6026/,
    ],
    [
      "a folder by that name",
      (f) => (rmSync(path.join(f, "model.safetensors")), mkdirSync(path.join(f, "model.safetensors"))),
      /DSC6026/,
    ],
  ];
  test.each(beside)("beside %s", async (what, put, warns) => {
    const folder = copied(await altered("a02-v3-noq-nogroup", () => {}));
    put(folder);
    const { code, stderr } = await dsc("compile", folder, "-o", at(what.replaceAll(" ", "-")));
    expect(code, stderr).toBe(0);
    expect(stderr.replace(/^in .* s\n/m, "")).toMatch(warns);
  });
});
