// NaN and infinity are never served as answers: stored ones are refused while they are read, with tensor and element; those that
// arise between the kernels are seen in the logits of the step, by whichever door it was asked for.
import { describe, expect, test } from "vitest";
import { firstBad, Finite } from "../../runtime/finite.ts";
import { generate, score } from "../../runtime/index.ts";
import { dsc } from "../commands/dsc.ts";
import { altered, bytesOf, evenScales, type Json, type Stored, type Tensors } from "./altered.ts";
import { openModel } from "./compiled.ts";

/** Bytes of one element of a tensor, changed. */
function put(t: Tensors, name: string, element: number, bytes: readonly number[]): void {
  const old = t.get(name)!;
  const data = old.data.slice();
  data.set(bytes, element * bytes.length);
  t.set(name, { ...old, data });
}

const halves = (s: Stored): Stored => {
  const bits = new Uint16Array(s.data.buffer, s.data.byteOffset, s.data.length / 2);
  const value = new Float32Array(1);
  const word = new Uint32Array(value.buffer);
  // Enough of f16 for weights below one: rounding does not matter here.
  const f16 = Uint16Array.from(bits, (b) => {
    word[0] = b << 16;
    const x = Math.abs(value[0]);
    const e = x < 2 ** -14 ? -15 : Math.floor(Math.log2(x));
    const m = e < -14 ? Math.floor(x * 2 ** 24) : Math.floor((x / 2 ** e - 1) * 1024);
    return ((b >>> 15) << 15) | ((e + 15) << 10) | m;
  });
  return { dtype: "F16", shape: s.shape, data: new Uint8Array(f16.buffer) };
};

describe("stored values that are no numbers are refused where they are read", () => {
  const matrix = "model.layers.1.mlp.experts.3.up_proj.weight";
  const cases: [what: string, fixture: string, tensor: string, element: number, alter: (t: Tensors, config: Json) => void][] = [
    ["NaN in a bf16 matrix", "a01-v3-yarn", matrix, 777, (t) => put(t, matrix, 777, [0xc0, 0x7f])],
    ["-infinity in a bf16 matrix", "a01-v3-yarn", matrix, 0, (t) => put(t, matrix, 0, [0x80, 0xff])],
    ["the e4m3 code 0x7f", "a07-v3-fp8", matrix, 4242, (t) => put(t, matrix, 4242, [0x7f])],
    ["the e4m3 code 0xff", "a07-v3-fp8", matrix, 1, (t) => put(t, matrix, 1, [0xff])],
    ["NaN as a scale", "a07-v3-fp8", `${matrix}_scale_inv`, 0, (t) => put(t, `${matrix}_scale_inv`, 0, [0, 0, 0xc0, 0x7f])],
    ["infinity as a scale", "a07-v3-fp8", `${matrix}_scale_inv`, 1, (t) => put(t, `${matrix}_scale_inv`, 1, [0, 0, 0x80, 0x7f])],
    [
      "the e8m0 code 0xff as a scale",
      "a07-v3-fp8",
      `${matrix}_scale_inv`,
      0,
      (t, config) => {
        (config.quantization_config as Json).scale_fmt = "ue8m0";
        for (const [name, powers] of evenScales(t))
          t.set(
            name,
            bytesOf(
              "F8_E8M0",
              t.get(name)!.shape,
              powers.map((p) => p + 127),
            ),
          );
        put(t, `${matrix}_scale_inv`, 0, [0xff]);
      },
    ],
    ["infinity in a norm", "a01-v3-yarn", "model.norm.weight", 63, (t) => put(t, "model.norm.weight", 63, [0x80, 0x7f])],
    [
      "NaN in the embedding of an id nobody uses",
      "a01-v3-yarn",
      "model.embed_tokens.weight",
      130 * 64,
      (t) => put(t, "model.embed_tokens.weight", 130 * 64, [0xff, 0xff]),
    ],
    ["NaN in the head", "a01-v3-yarn", "lm_head.weight", 5, (t) => put(t, "lm_head.weight", 5, [0x81, 0x7f])],
    [
      "NaN in the router's bias",
      "a01-v3-yarn",
      "model.layers.1.mlp.gate.e_score_correction_bias",
      7,
      (t) => put(t, "model.layers.1.mlp.gate.e_score_correction_bias", 7, [1, 0, 0x80, 0x7f]),
    ],
    [
      "infinity in f16",
      "a01-v3-yarn",
      "model.layers.0.self_attn.o_proj.weight",
      9,
      (t) => {
        for (const [name, s] of t) if (s.dtype === "BF16") t.set(name, halves(s));
        put(t, "model.layers.0.self_attn.o_proj.weight", 9, [0, 0x7c]);
      },
    ],
    [
      "NaN in the extra prediction layer",
      "a08-v3-mtp",
      "model.layers.2.eh_proj.weight",
      3,
      (t) => put(t, "model.layers.2.eh_proj.weight", 3, [0xc0, 0xff]),
    ],
  ];
  test.each(cases)("%s", async (_, fixture, tensor, element, alter) => {
    const folder = await altered(fixture, alter);
    await expect(openModel(folder)).rejects.toThrow(`DSC5015]: ${tensor} holds a value that is not a number`);
    await expect(openModel(folder)).rejects.toThrow(`element ${element} of it`);
  });

  test("the largest finite values of every format pass", async () => {
    const folder = await altered("a07-v3-fp8", (t) => {
      put(t, matrix, 0, [0x7e]);
      put(t, matrix, 1, [0xfe]);
      put(t, "lm_head.weight", 0, [0x7f, 0x7f]);
    });
    await openModel(folder);
  });
});

describe("the look at sixteen bytes at once finds what one by one finds", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const finite = new Finite(memory);
  const bytes = new Uint8Array(memory.buffer);
  test.each([
    ["F8_E4M3", 1],
    ["F8_E8M0", 1],
    ["BF16", 2],
    ["F16", 2],
    ["F32", 4],
  ] as const)("%s", (dtype, width) => {
    let state = 7;
    const random = (n: number): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n;
    for (let round = 0; round < 500; round++) {
      const from = random(300);
      const count = width * random(200);
      for (let i = 0; i < count; i++) bytes[from + i] = random(4) === 0 ? 0x7e : random(0x70);
      if (count && random(2)) {
        const at = random(count);
        bytes[from + at] = random(256);
        bytes[from + (at ^ (width > 1 ? 1 : 0))] = 0x7f | random(256);
      }
      expect(finite.firstBad(from, count, dtype)).toBe(firstBad(bytes.slice(from, from + count), dtype));
    }
  });

  test("every code of e4m3 and every bf16", () => {
    for (let code = 0; code < 256; code++)
      expect(firstBad(Uint8Array.of(code), "F8_E4M3")).toBe((code & 0x7f) === 0x7f ? 0 : undefined);
    const value = new Float32Array(1);
    for (let bits = 0; bits < 65536; bits++) {
      new Uint32Array(value.buffer)[0] = bits << 16;
      expect(firstBad(Uint8Array.of(bits & 255, bits >> 8), "BF16")).toBe(Number.isFinite(value[0]) ? undefined : 0);
    }
  });
});

describe("values that overflow on the way are seen in the step", () => {
  /** Finite weights whose products are not. */
  const huge = (t: Tensors, name: string): void => {
    const s = t.get(name)!;
    t.set(name, { ...s, data: new Uint8Array(Uint16Array.from({ length: s.data.length / 2 }, () => 0x7f61).buffer) });
  };
  const overflowing = (): Promise<string> =>
    altered("a01-v3-yarn", (t) => (huge(t, "model.norm.weight"), huge(t, "lm_head.weight")));
  const refused = /DSC5037.*the logits of sequence \d are not numbers[^]*no stored weight/;

  test("session, generate greedily and drawn, score; the session goes on as it was", async () => {
    const model = await openModel(await overflowing(), { taps: true });
    const session = model.session({ maxTokens: 8 });
    await expect(session.prefill([[5, 6]])).rejects.toThrow(refused);
    expect(session.lengths).toEqual([]);
    await expect(session.add([5])).rejects.toThrow(refused);
    session.close();
    for (const sampling of [{}, { temperature: 0.7, topP: 0.9 }])
      await expect(async () => {
        for await (const step of generate(model, [[5, 6], [7]], { maxNew: 2, ...sampling })) expect(step).toBeUndefined();
      }).rejects.toThrow(refused);
    await expect(score(model, [5, 6, 7, 8])).rejects.toThrow(refused);
  });

  test("on the command line, --json too: no answer, and a code that says so", async () => {
    const folder = await overflowing();
    for (const json of [[], ["--json"]]) {
      const { code, stdout, stderr } = await dsc("run", folder, "--ids", "5,6", "--max-new", "2", ...json);
      expect(code).toBe(1);
      expect(stderr + stdout).toMatch(/DSC5037/);
      expect(stdout).not.toMatch(/"ids"|^0/);
    }
  });

  test("an extra layer that overflows fails the drafts, not the answers without them", async () => {
    const model = await openModel(
      await altered(
        "a08-v3-mtp",
        (t) => (huge(t, "model.layers.2.shared_head.norm.weight"), huge(t, "model.layers.2.shared_head.head.weight")),
      ),
    );
    const answer = async (draft: number): Promise<number> => {
      let n = 0;
      for await (const step of generate(model, [[5, 6]], { maxNew: 3, draft })) n += step.ids[0].length;
      return n;
    };
    expect(await answer(0)).toBe(3);
    await expect(answer(1)).rejects.toThrow(/DSC5037/);
  });

  test.each([
    ["NaN", 0x7fc0],
    ["infinity", 0x7f80],
    ["minus infinity", 0xff80],
  ])("one row of the head with %s ends the step though other ids would be chosen, drafts and all", async (_, bits) => {
    const model = await openModel(await altered("a08-v3-mtp", () => {}));
    // As if memory had changed: loading would have refused it.
    model.device.write(
      model.weights.address("head", "data", undefined) + 2 * 5 * model.manifest.model.hidden,
      new Uint8Array(Uint16Array.of(bits).buffer),
    );
    for (const options of [{}, { temperature: 0.7, topP: 0.9 }, { draft: 2 }, { repeatPenalty: 1.2 }])
      await expect(async () => {
        for await (const step of generate(model, [[5, 6], [7]], { maxNew: 3, ...options })) expect(step).toBeUndefined();
      }).rejects.toThrow(/DSC5037[^]*the logit of token 5 is NaN or infinite[^]*weight head is NaN or infinite: lm_head.weight/);
  });

  test("a weight that becomes NaN after loading is named", async () => {
    const model = await openModel(await altered("a07-v3-fp8", () => {}));
    model.device.write(model.weights.address("moe_layer.wo", "scales", 1), new Uint8Array(Float32Array.of(NaN).buffer));
    const session = model.session({ maxTokens: 8 });
    await expect(session.prefill([[5, 6]])).rejects.toThrow(
      /DSC5037[^]*a scale of weight moe_layer.wo of layer 1 is NaN or infinite: model.layers.1.self_attn.o_proj.weight/,
    );
    session.close();
  });
});
