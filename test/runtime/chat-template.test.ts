// Which template of a checkpoint is taken, what it is given, and what is said of one that is none.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { loadChatTemplate, loadTokenizer, type ChatTemplate, type TemplateOptions } from "../../runtime/index.ts";
import { tiny } from "../run/compiled.ts";

const folder = mkdtempSync(path.join(tmpdir(), "dsc-template-"));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;

/** The template of a folder with a tokenizer and these files. */
async function of(
  config: unknown,
  files: Record<string, string | Uint8Array> = {},
  options: TemplateOptions = {},
): Promise<ChatTemplate> {
  const at = path.join(folder, String(made++));
  mkdirSync(at);
  copyFileSync(path.join(tiny, "tokenizer.json"), path.join(at, "tokenizer.json"));
  writeFileSync(path.join(at, "tokenizer_config.json"), JSON.stringify(config));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(at, name)), { recursive: true });
    writeFileSync(path.join(at, name), text);
  }
  return loadChatTemplate(await loadTokenizer(at), options);
}
const turns = [{ role: "user", content: "ok" }] as const;
const rendered = async (...args: Parameters<typeof of>): Promise<string> => (await of(...args)).render(turns);

test("tools and documents are none, and tokens that are not set are not defined", async () => {
  const text =
    "{{ tools is none }}{{ documents is none }}{{ pad_token is defined }}{{ unk_token }}{{ bos_token }}{{ add_generation_prompt }}";
  expect(await rendered({ chat_template: text, bos_token: "<s>", unk_token: { content: "<u>" }, pad_token: null })).toBe(
    "TrueTrueFalse<u><s>True",
  );
});

test("line ends of Windows and one at the end are Jinja's business, in files and in keys", async () => {
  const text = "{% for m in messages %}\r\n{{ m.content }}{% endfor %}\r\n";
  expect(await rendered({}, { "chat_template.jinja": text })).toBe("ok");
  expect(await rendered({ chat_template: text })).toBe("ok");
  expect(await rendered({ chat_template: "a\r\nb\rc\n\n" })).toBe("a\nb\nc\n");
});

test("files win over keys, and templates with names can be asked for", async () => {
  expect(
    await rendered({ chat_template: "key" }, { "chat_template.jinja": "file", "additional_chat_templates/rag.jinja": "rag" }),
  ).toBe("file");
  expect(
    await rendered({}, { "chat_template.jinja": "file", "additional_chat_templates/rag.jinja": "rag" }, { name: "rag" }),
  ).toBe("rag");
  expect(await rendered({}, { "chat_template.json": JSON.stringify({ chat_template: "json" }) })).toBe("json");
  const list = [
    { name: "tool_use", template: "t" },
    { name: "rag", template: "r" },
  ];
  expect(await rendered({ chat_template: list }, {}, { name: "rag" })).toBe("r");
  expect(await rendered({ chat_template: { default: "d", rag: "r" } })).toBe("d");
  await expect(of({ chat_template: list })).rejects.toThrow(/DSC5061.*none is "default".*"rag", "tool_use"/s);
  await expect(of({ chat_template: "x" }, { "additional_chat_templates/rag.jinja": "rag" })).rejects.toThrow(/DSC5061.*"rag"/s);
  await expect(of({ chat_template: list }, {}, { name: "default" })).rejects.toThrow(/DSC5061.*no chat template "default"/s);
});

test.each([[[null]], [[{ name: "default" }]], [5], [true], [{ default: 5 }], [["x"]]])(
  "chat_template %j is named as what it is",
  async (value) => {
    await expect(of({ chat_template: value })).rejects.toThrow(/DSC5056.*chat_template of .*tokenizer_config\.json/s);
  },
);

test("a file that cannot be read is named, not passed over", async () => {
  await expect(of({ chat_template: "x" }, { "chat_template.jinja/x": "" })).rejects.toThrow(
    /DSC5056.*chat_template\.jinja.*it is a folder/s,
  );
  await expect(of({}, { "chat_template.jinja": Uint8Array.of(0xff, 0xfe, 0x41) })).rejects.toThrow(/DSC5056.*UTF-8/s);
  await expect(of({}, { "chat_template.json": "{" })).rejects.toThrow(/DSC5056.*chat_template\.json:1:2.*JSON/s);
  await expect(of({}, { "chat_template.jinja": "version https://git-lfs.github.com/spec/v1\noid x\n" })).rejects.toThrow(
    /DSC5056.*Git LFS/s,
  );
});

test.each([
  ["a\n  {{ messages[0].content.encode('utf-8') }}", /DSC5057.*:2:\d+.*str\.encode/s],
  ["{{ raise_exception('turns must alternate') }}", /DSC5054.*:1:4.*turns must alternate/s],
  ["{{ tools.name.first }}", /DSC5059.*:1:\d+.*'None' has no attribute 'name'/s],
  ["{{ messages|first + 1 }}", /DSC5059.*unsupported operand/s],
  ["{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", /DSC5058.*steps/s],
])("%j is refused with its place", async (text, words) => {
  const template = await of({ chat_template: text });
  expect(() => template.render(turns)).toThrow(words);
});

test("a place in a long line is shown with what stands around it", async () => {
  await expect(of({ chat_template: `${"x".repeat(5000)}{{ 1 + }}${"y".repeat(5000)}` })).rejects.toThrow(
    /DSC5060.*:1:5008.*near: x+\{\{ 1 \+ \}\}y+/s,
  );
});
