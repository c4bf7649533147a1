// Random damage to the files around a model: tokenizer.json, tiktoken.model and its Python file, the files of special tokens,
// generation_config.json, the chat template. What is not refused encodes and decodes texts and renders a conversation.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { loadChatTemplate } from "../../runtime/chat-template.ts";
import { loadGeneration } from "../../runtime/generation-config.ts";
import { renderSaid } from "../../runtime/said.ts";
import { encodePrompt } from "../../runtime/text.ts";
import { loadTokenizer } from "../../runtime/tokenizer.ts";
import { fixture, tokenizerJson } from "../runtime/tokenizers.ts";
import { mutateBytes, mutateJson, textOf, type Json } from "./mutate.ts";
import { Random } from "./random.ts";

type Folder = Record<string, string>;

const token = (content: string): Json => ({
  content,
  lstrip: true,
  rstrip: false,
  normalized: false,
  single_word: true,
  special: true,
});

const SPECIAL: Folder = {
  "tokenizer_config.json": JSON.stringify({
    add_bos_token: true,
    add_eos_token: false,
    bos_token: "<s>",
    eos_token: token("</s>"),
    extra_special_tokens: ["<x>", token("<y>")],
    chat_template: "{{ bos_token }}{% for m in messages %}{{ m.role }}{{ m.content | trim }}{{ eos_token }}{% endfor %}",
  }),
  "special_tokens_map.json": JSON.stringify({ bos_token: token("<s>"), pad_token: "<pad>", additional_special_tokens: ["<z>"] }),
  "generation_config.json": JSON.stringify({
    do_sample: true,
    eos_token_id: [1, 2],
    temperature: 0.6,
    top_k: -1,
    top_p: 0.9,
    repetition_penalty: 1.1,
    max_new_tokens: 5,
    num_beams: 1,
  }),
  "added_tokens.json": JSON.stringify({ "<tool>": 5000, "<s>": 3 }),
};

const TEMPLATE =
  "{%- for m in messages -%}{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}{% elif loop.last %}{{ m.content.split('x')[-1] }}{% endif %}{%- endfor -%}{% if add_generation_prompt %}A{% endif %}";

const PYTHON = 'class T:\n    pat_str = "|".join([r"""[\\p{Han}]+""", r"""\\p{N}{1,3}""", r"""\\s++(?!\\S)|(?i:\'s)|.|\\s"""])\n';

const POST = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
};

/** Folders that are sound: two forms of tokenizer.json, and tiktoken. */
const FOLDERS: Folder[] = [
  {
    "tokenizer.json": JSON.stringify(tokenizerJson(fixture, "cl100k", { post_processor: POST })),
    ...SPECIAL,
    "chat_template.jinja": TEMPLATE,
  },
  { "tokenizer.json": JSON.stringify(tokenizerJson(fixture, "llama")), ...SPECIAL },
  { "tokenizer.json": JSON.stringify(tokenizerJson(fixture, "deepseek-v3")) },
  {
    "tiktoken.model": readFileSync(path.join(fixture, "tiktoken.model"), "utf8"),
    "tokenizer_config.json": readFileSync(path.join(fixture, "tokenizer_config.json"), "utf8"),
    "tokenization_kimi.py": PYTHON,
    "chat_template.jinja": TEMPLATE,
  },
];

const TEXTS = ["", "the word <s>and</s> 123\r\n", "汉字 🙂 'ſ \ufeff", "<|end|>>  <left> aab c"];

/** What a seed makes of a folder: one or two of its files are damaged. */
function damaged(seed: number): { files: Record<string, Uint8Array>; changed: string[] } {
  const r = new Random(seed);
  const sound = r.one(FOLDERS);
  const files: Record<string, Uint8Array> = Object.fromEntries(
    Object.entries(sound).map(([name, text]) => [name, Buffer.from(text)]),
  );
  const changed = [...new Set(Array.from({ length: r.one([1, 1, 2]) }, () => r.one(Object.keys(sound))))];
  for (const name of changed)
    files[name] = name.endsWith(".json") && r.chance(0.8) ? damagedJson(r, sound[name]) : damagedText(r, sound[name]);
  return { files, changed };
}

const damagedText = (r: Random, text: string): Uint8Array => mutateBytes(r, Buffer.from(text));

/** Damage to a JSON value; of a tokenizer, mostly to what is not the long lists of its model. */
function damagedJson(r: Random, text: string): Uint8Array {
  let value: { [key: string]: Json };
  try {
    value = JSON.parse(text) as typeof value;
  } catch {
    return damagedText(r, text);
  }
  const { model, ...rest } = value;
  if (model === undefined || r.chance(0.3)) return Buffer.from(textOf(r, mutateJson(r, value)));
  const changed = mutateJson(r, rest);
  return Buffer.from(
    textOf(r, typeof changed === "object" && changed !== null && !Array.isArray(changed) ? { ...changed, model } : changed),
  );
}

export class SideFiles {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "dsc-fuzz-"));

  async run(seed: number): Promise<Diagnostic[]> {
    const at = path.join(this.#folder, String(seed));
    mkdirSync(at);
    try {
      for (const [name, text] of Object.entries(damaged(seed).files)) writeFileSync(path.join(at, name), text);
      return await use(at, new Random(seed));
    } finally {
      rmSync(at, { recursive: true });
    }
  }

  show(seed: number): string {
    const { files, changed } = damaged(seed);
    return changed.map((name) => `${name}: ${JSON.stringify(Buffer.from(files[name]).toString()).slice(0, 1500)}`).join("\n");
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}

/** Uses the files of a folder for all that they are for. */
async function use(folder: string, r: Random): Promise<Diagnostic[]> {
  const tokenizer = await loadTokenizer(folder);
  const said: Diagnostic[] = [...tokenizer.warnings, ...((await loadGeneration(folder))?.warnings ?? [])];
  for (const text of TEXTS) {
    const ids = [...encodePrompt(tokenizer, text, 0, (d) => said.push(d)), ...tokenizer.encode(text, { control: false })];
    const wrong = ids.find((id) => !Number.isSafeInteger(id) || id < 0);
    if (wrong !== undefined) throw new Error(`${JSON.stringify(text)} has the id ${wrong}`);
    ids.push(r.below(2000), 2 ** 31, 5000);
    const stream = tokenizer.stream({ special: true });
    const streamed = ids.map((id) => stream.push(id)).join("") + stream.end();
    const whole = tokenizer.decode(ids, { special: true });
    if (streamed !== whole) throw new Error(`a stream gives ${JSON.stringify(streamed)}, not ${JSON.stringify(whole)}`);
    tokenizer.decode(ids);
  }
  const template = await loadChatTemplate(tokenizer);
  const rendered = renderSaid(tokenizer, template, [{ role: "user", content: "ok</s>x" }], false);
  rendered.ids(Math.min(1, rendered.text.length));
  return said;
}
