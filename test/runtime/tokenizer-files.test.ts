// The files around a vocabulary: which tokens are special, what is put around a text, and what damaged files end in.
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { encodePrompt } from "../../runtime/text.ts";
import { loadTokenizer, type Tokenizer } from "../../runtime/tokenizer.ts";
import { fixture, folderWith, tokenizerJson, type Files } from "./tokenizers.ts";
import { lacks } from "../conditions.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-tokenizer-files-"));
afterAll(() => rmSync(work, { recursive: true }));

let count = 0;
const newFolder = (files: Files): string => folderWith(path.join(work, String(count++)), files);
/** A byte-level tokenizer, with `own` in its tokenizer.json and other files beside it. */
const load = (own: object = {}, files: Files = {}): Promise<Tokenizer> =>
  loadTokenizer(newFolder({ "tokenizer.json": tokenizerJson(fixture, "glm", own), ...files }));

const shared = tokenizerJson(fixture, "glm") as {
  model: { vocab: Record<string, number> };
  added_tokens: { id: number; content: string }[];
};
const idOf = (content: string): number => shared.added_tokens.find((t) => t.content === content)!.id;
const [bos, eos] = [idOf("<s>"), idOf("</s>")];
const free = Math.max(...shared.added_tokens.map((t) => t.id)) + 1;
const template = (before: string[], after: string[]): object => ({
  type: "TemplateProcessing",
  single: [
    ...before.map((id) => ({ SpecialToken: { id, type_id: 0 } })),
    { Sequence: { id: "A", type_id: 0 } },
    ...after.map((id) => ({ SpecialToken: { id, type_id: 0 } })),
  ],
  pair: [],
  special_tokens: Object.fromEntries([...before, ...after].map((id) => [id, { id, ids: [idOf(id)], tokens: [id] }])),
});
const named = { bos_token: "<s>", eos_token: "</s>" };
const plain = { special: false };

describe("what is put around a text", () => {
  const around = async (own: object, config?: object): Promise<number[]> => {
    const t = await load(own, config ? { "tokenizer_config.json": { ...named, ...config } } : {});
    return t.encode("the").filter((id) => id === bos || id === eos);
  };

  test("nothing, where neither file says so", async () => {
    expect(await around({})).toEqual([]);
    expect(await around({}, {})).toEqual([]);
    expect(await around({}, { add_bos_token: false })).toEqual([]);
    expect(await around({ post_processor: { type: "ByteLevel" } }, {})).toEqual([]);
  });

  test("add_bos_token and add_eos_token, where tokenizer.json leaves it to them", async () => {
    expect(await around({}, { add_bos_token: true })).toEqual([bos]);
    expect(await around({ post_processor: { type: "ByteLevel" } }, { add_bos_token: true, add_eos_token: true })).toEqual([
      bos,
      eos,
    ]);
  });

  test("the post-processor, whatever the flags say", async () => {
    expect(await around({ post_processor: template(["<s>"], []) }, { add_bos_token: false, add_eos_token: true })).toEqual([bos]);
    expect(await around({ post_processor: template(["<s>"], ["</s>"]) })).toEqual([bos, eos]);
    expect(
      await around({ post_processor: { type: "Sequence", processors: [{ type: "ByteLevel" }, template([], ["</s>"])] } }),
    ).toEqual([eos]);
    expect(await around({ post_processor: { type: "RobertaProcessing", cls: ["<s>", bos], sep: ["</s>", eos] } })).toEqual([
      bos,
      eos,
    ]);
  });

  test("a prompt that begins with it does not begin twice, and a word says so", async () => {
    const t = await load({ post_processor: template(["<s>"], []) });
    const said: string[] = [];
    expect(encodePrompt(t, "<s>the", bos, (d) => said.push(d.code))).toEqual(t.encode("the"));
    expect(said).toEqual(["DSC5075"]);
    expect(encodePrompt(t, "the", bos, (d) => said.push(d.code))).toEqual(t.encode("the"));
    expect(said).toHaveLength(1);
  });

  test("the model's first token is no reason to add it, but for an empty prompt", async () => {
    const t = await load({}, { "tokenizer_config.json": { ...named, add_bos_token: false } });
    expect(encodePrompt(t, "the", bos)).toEqual(t.encode("the", plain));
    expect(encodePrompt(t, "", bos)).toEqual([bos]);
  });
});

describe("special tokens of other files", () => {
  const token = (content: string, own: object = {}): object => ({
    content,
    lstrip: false,
    rstrip: false,
    normalized: false,
    single_word: false,
    special: true,
    ...own,
  });

  test("added_tokens_decoder adds what tokenizer.json lacks, with its flags", async () => {
    const decoder = { [free]: token("<sys>", { lstrip: true }), [free + 1]: token("<tool>", { special: false }) };
    const t = await load({}, { "tokenizer_config.json": { ...named, added_tokens_decoder: decoder } });
    expect(t.encode("the  <sys><tool>", plain)).toEqual([...t.encode("the", plain), free, free + 1]);
    expect(t.decode([free, free + 1])).toBe("<tool>");
    expect(t.warnings).toEqual([]);
  });

  test("an id that is taken is said, and another given", async () => {
    const t = await load({}, { "tokenizer_config.json": { added_tokens_decoder: { [bos]: token("<sys>") } } });
    expect(t.id("<sys>")).toBe(free);
    expect(t.warnings.map((w) => w.code)).toEqual(["DSC5074"]);
  });

  test("added_tokens.json counts where there is no added_tokens_decoder", async () => {
    const t = await load({}, { "added_tokens.json": { "<sys>": free } });
    expect(t.encode("<sys>", plain)).toEqual([free]);
    const decoder = { [free]: token("<x>") };
    const other = await load(
      {},
      { "added_tokens.json": { "<sys>": free }, "tokenizer_config.json": { added_tokens_decoder: decoder } },
    );
    expect(other.id("<sys>")).toBeUndefined();
  });

  test("special_tokens_map.json names tokens, over tokenizer_config.json", async () => {
    const map = { bos_token: token("</s>"), eos_token: "<|end|>", additional_special_tokens: ["<extra>", "<｜User｜>"] };
    const t = await load(
      {},
      { "special_tokens_map.json": map, "tokenizer_config.json": { bos_token: "<s>", add_bos_token: true } },
    );
    expect(t.around.before).toEqual([eos]);
    expect(t.config.eos_token).toBe("<|end|>");
    expect(t.encode("<extra>", plain)).toEqual([free]);
    // A token with a name is special, whatever tokenizer.json says of it.
    expect(t.decode([free, idOf("<｜User｜>"), ...t.encode("the", plain)])).toBe("the");
  });
});

describe("texts", () => {
  test("spaces before marks stay, whatever clean_up_tokenization_spaces says", async () => {
    for (const config of [{}, { clean_up_tokenization_spaces: true }]) {
      const t = await load({}, { "tokenizer_config.json": config });
      const ids = t.encode("a , b .c do n't ' s", plain);
      const stream = t.stream();
      expect(ids.map((id) => stream.push(id)).join("") + stream.end()).toBe("a , b .c do n't ' s");
      expect(t.decode(ids)).toBe("a , b .c do n't ' s");
    }
  });

  test("bytes that are no text become U+FFFD, in a stream as in one piece", async () => {
    const t = await load();
    const bytes = [0xe6, 0xb1, 0x41, 0xff, 0xf0, 0x9f, 0x99, 0x82, 0xef, 0xbb, 0xbf, 0xe6];
    const ids = bytes.map((b) => t.encode(String.fromCharCode(b), plain).at(-1)!).map((_, i) => byteId(bytes[i]));
    const stream = t.stream();
    expect(ids.map((id) => stream.push(id))).toEqual(["", "", "\ufffdA", "\ufffd", "", "", "", "🙂", "", "", "\ufeff", ""]);
    expect(stream.end()).toBe("\ufffd");
    expect(t.decode(ids)).toBe("\ufffdA\ufffd🙂\ufeff\ufffd");
  });

  test("an added token is the text it is written in, where bytes would be another", async () => {
    const t = await load({
      added_tokens: [...shared.added_tokens, { id: free, content: "é", special: false, normalized: false }],
    });
    expect(t.decode([free])).toBe("é");
  });

  test("control tokens are text where asked, and nothing of the text is lost", async () => {
    const t = await load({ model: { ...shared.model, ignore_merges: true, vocab: { ...shared.model.vocab, "</s>": eos } } });
    for (const text of ["the</s><｜User｜>and", "<<s>s>", "<|end|>>", "</s>", "\ufdd0<s>"]) {
      const ids = t.encode(text, { special: false, control: false });
      for (const { id, content } of shared.added_tokens) if (content.startsWith("<")) expect(ids, text).not.toContain(id);
      expect(t.decode(ids)).toBe(text);
    }
    expect(t.encode("the=>", { control: false })).toEqual(t.encode("the=>"));
  });
});

function byteId(b: number): number {
  const keep = (x: number): boolean => (x > 32 && x < 127) || (x > 160 && x < 173) || x > 173;
  const char = keep(b) ? b : 256 + Array.from({ length: b }, (_, i) => i).filter((i) => !keep(i)).length;
  return shared.model.vocab[String.fromCharCode(char)];
}

describe("damaged files are named, with the place", () => {
  const json = (own: object): string => JSON.stringify(tokenizerJson(fixture, "glm", own), null, 1);
  const refusal = (files: Files): Promise<string> =>
    loadTokenizer(newFolder(files)).then(
      () => "accepted",
      (e: Error) => e.message,
    );

  test.each([
    ["cut short", json({}).slice(0, 5000), /DSC5070.*tokenizer\.json:\d+:\d+.*the text ends in the middle/s],
    ["a list", "[1]", /DSC5070.*tokenizer\.json:1:1.*it must be an object/s],
    [
      "an unknown model",
      json({ model: { type: "Bpe", vocab: {}, merges: [] } }),
      /DSC5071\]: model.type is "Bpe".*tokenizer\.json:\d+:\d+.*did you mean BPE/s,
    ],
    ["no model", json({ model: undefined }), /DSC5070.*model is missing/s],
    [
      "an id that is a text",
      json({ model: { ...shared.model, vocab: { a: "0" } } }),
      /DSC5070.*tokenizer\.json:\d+:\d+.*"a": "0".*model.vocab.a is "0"/s,
    ],
    [
      "a merge of what is not there",
      json({ model: { ...shared.model, merges: [["漢", "b"]] } }),
      /DSC5070.*model.merges\[0\] needs "漢"/s,
    ],
    ["merges that are a text", json({ model: { ...shared.model, merges: "a b" } }), /model.merges is "a b"; it must be a list/],
    [
      "an unknown normalizer",
      json({ normalizer: { type: "Precompiled", precompiled_charsmap: "" } }),
      /DSC5071.*normalizer.type is "Precompiled".*NFKC/s,
    ],
    [
      "a pattern nobody can run",
      json({ pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } }),
      /DSC5070.*pre_tokenizer.pattern.Regex is a pattern/s,
    ],
    [
      "an unknown behaviour",
      json({ pre_tokenizer: { type: "Split", pattern: { Regex: "a" }, behavior: "isolated" } }),
      /behavior is "isolated"; it must be one of/,
    ],
    ["an added token without text", json({ added_tokens: [{ id: 1 }] }), /added_tokens\[0\].content is missing/],
    [
      "a template of a token it lacks",
      json({ post_processor: { ...template(["<s>"], []), special_tokens: {} } }),
      /names "<s>", which special_tokens does not have/,
    ],
    ["no UTF-8", Uint8Array.of(0x7b, 0xff), /DSC5070.*it is not UTF-8/s],
  ])("tokenizer.json: %s", async (_, text, message) => {
    expect(await refusal({ "tokenizer.json": text })).toMatch(message);
  });

  test("a vocabulary or a normalizer nested without end", async () => {
    const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`;
    expect(await refusal({ "tokenizer.json": json({ normalizer: "DEEP" }).replace('"DEEP"', deep) })).toMatch(
      /normalizer is a list of 1; it must be an object/,
    );
    const shared = json({ model: { type: "BPE", vocab: { a: "DEEP" }, merges: [] } });
    expect(await refusal({ "tokenizer.json": shared.replace('"DEEP"', deep) })).toMatch(
      /model.vocab.a is a list of 1; it must be a whole number/,
    );
    const steps = `${'{"type": "Sequence", "normalizers": ['.repeat(5000)}{"type": "NFC"}${"]}".repeat(5000)}`;
    expect(await refusal({ "tokenizer.json": json({ normalizer: "DEEP" }).replace('"DEEP"', steps) })).toMatch(
      /nested deeper than any tokenizer is/,
    );
  });

  test.each([
    ["tokenizer_config.json", '{"bos_token": "<s>",}', /tokenizer_config\.json:1:20.*a comma before } is not JSON/s],
    [
      "tokenizer_config.json",
      '{"add_bos_token": "yes"}',
      /tokenizer_config\.json:1:19.*add_bos_token is "yes"; it must be true or false/s,
    ],
    [
      "tokenizer_config.json",
      '{"added_tokens_decoder": {"x": {"content": "a"}}}',
      /added_tokens_decoder.x has a key that is no id/,
    ],
    ["special_tokens_map.json", '{"bos_token": 5}', /special_tokens_map\.json:1:15.*bos_token is 5; it must be an object/s],
    ["added_tokens.json", '["<x>"]', /added_tokens\.json:1:1.*it must be an object/s],
  ])("%s: %s", async (name, text, message) => {
    expect(await refusal({ "tokenizer.json": json({}), [name]: text })).toMatch(message);
  });

  test.skipIf(lacks("POSIX"))("a FIFO is not waited for", async () => {
    const folder = newFolder({ "tokenizer.json": json({}) });
    execFileSync("mkfifo", [path.join(folder, "tokenizer_config.json")]);
    await expect(loadTokenizer(folder)).rejects.toThrow(/DSC5070.*no regular file/s);
  });

  test("a vocabulary of another kind, or one that was not fetched, is named", async () => {
    expect(await refusal({ "tokenizer.model": "x" })).toMatch(
      /DSC5050.*it has tokenizer.model, of which transformers makes tokenizer.json/s,
    );
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    for (const name of ["tokenizer.json", "tiktoken.model"])
      expect(await refusal({ [name]: pointer })).toMatch(/DSC5070.*:1:1.*Git LFS/s);
  });

  test("none at all", async () => {
    expect(await refusal({})).toMatch(/DSC5050.*neither tokenizer.json nor tiktoken.model/s);
  });
});

describe("tiktoken.model", () => {
  const ranks = readFileSync(path.join(fixture, "tiktoken.model"), "utf8");
  const folder = (text: string, files: Files = {}): string => newFolder({ "tiktoken.model": text, ...files });

  test("special tokens follow the last rank, named by added_tokens_decoder", async () => {
    const at = folder(ranks);
    copyFileSync(path.join(fixture, "tokenizer_config.json"), path.join(at, "tokenizer_config.json"));
    const t = await loadTokenizer(at);
    const first = ranks.trim().split("\n").length;
    expect(t.encode("[BOS]<|im_end|>")).toEqual([first, first + 2]);
    expect(t.id(`<|reserved_token_${first + 200}|>`)).toBe(first + 200);
    expect(t.warnings).toEqual([]);
  });

  test("a pattern in the Python file beside it is used, and its absence said", async () => {
    const t = await loadTokenizer(folder(ranks));
    expect(t.warnings.map((w) => w.code)).toEqual(["DSC5073"]);
    const python = 'class T:\n    pat_str = "|".join(\n        [\n  r"""\\p{L}""",\n  r"""[^\\p{L}]+""",\n        ]\n    )\n';
    const other = await loadTokenizer(folder(ranks, { "tokenization_other.py": python }));
    expect(other.warnings).toEqual([]);
    expect(other.encode("the")).toHaveLength(3);
  });

  test.each([
    ["no base64", "x! 0\n", /DSC5072.*tiktoken\.model:1:1.*a line is a token in base64/s],
    ["cut in the middle", ranks.slice(0, 100), /DSC5072.*tiktoken\.model:\d+:1/s],
    ["a rank twice", "IQ== 0\nIg== 0\n", /DSC5072.*tiktoken\.model:2:1.*given a second time/s],
    ["a gap", "IQ== 0\nIg== 2\n", /DSC5072.*some are missing/s],
    ["empty", "", /DSC5072.*it has no token/s],
  ])("%s", async (_, text, message) => {
    await expect(loadTokenizer(folder(text))).rejects.toThrow(message);
  });

  test("a text with a byte that is no token is refused", async () => {
    const t = await loadTokenizer(folder("IQ== 0\nIg== 1\n"));
    expect(t.encode('!"')).toEqual([0, 1]);
    expect(() => t.encode("A")).toThrow(/DSC5072.*0x41/s);
  });
});
