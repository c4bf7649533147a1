// The chat template of a checkpoint, rendered to the text that the model was trained to continue, as transformers renders it. What a
// template refuses (raise_exception), fails at or costs too much is a diagnostic with its words and its place in the template.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { place, type Span } from "../ir/diagnostic.ts";
import { made, optionsOf, shown, text as checkText } from "./arguments.ts";
import * as diagnostics from "./diagnostics.ts";
import { Fault, Template } from "./jinja/index.ts";
import { parseSideJson, readSideText, type Unusable } from "./side-file.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One message of a conversation, as templates read it. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** A checkpoint's chat template, ready to render. */
export interface ChatTemplate {
  /** The text of a conversation, up to where the assistant speaks next. Throws DSC5054, DSC5057, DSC5058 or DSC5059. */
  render(messages: readonly Message[]): string;
}

/** What a template is rendered with beside the messages. */
export interface TemplateOptions {
  /** Which of several templates; "default" when absent. */
  name?: string;
}

/** A template's text, and the file or key it stands in. */
interface Source {
  text: string;
  where: string;
}

/** Tokens that transformers hands to a template, where the checkpoint has them. */
const TOKENS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;

/**
 * The template that lies beside a tokenizer: chat_template.jinja and those of additional_chat_templates, else chat_template of
 * tokenizer_config.json, else of chat_template.json. Throws DSC5052 where there is none, DSC5061 where none has the name, DSC5056 where
 * a file or key cannot be read, DSC5057, DSC5058 or DSC5060 where the text is no template of ours.
 */
export async function loadChatTemplate(tokenizer: Tokenizer, options: TemplateOptions = {}): Promise<ChatTemplate> {
  const { name } = optionsOf("loadChatTemplate", options, ["name"]);
  made("loadChatTemplate", "tokenizer", tokenizer, ["encode", "decode"], "loadTokenizer(...)");
  if (name !== undefined) checkText("loadChatTemplate", "name", name, "the name of a template");
  const { folder, config } = tokenizer;
  const all = await templatesOf(folder, config);
  if (all.size === 0)
    throw diagnostics.noChatTemplate({ folder, why: "neither chat_template.jinja nor chat_template in tokenizer_config.json" });
  const source = all.get(name ?? "default");
  if (!source) throw diagnostics.noSuchTemplate({ folder, wanted: name, names: [...all.keys()].toSorted() });
  const template = placed(source, () => new Template(source.text));
  const tokens: Record<string, string> = {};
  for (const token of TOKENS) {
    const text = textOf(config[token]);
    if (text !== undefined) tokens[token] = text;
  }
  return {
    render: (messages) =>
      placed(source, () =>
        template.render({
          messages: conversation(messages),
          tools: null,
          documents: null,
          add_generation_prompt: true,
          ...tokens,
        }),
      ),
  };
}

/** Turns as a template gets them. */
function conversation(messages: readonly Message[]): unknown[] {
  if (!Array.isArray(messages))
    throw diagnostics.badArgument({
      call: "render",
      seen: `messages is ${shown(messages)}`,
      wanted: "an array of {role, content}",
    });
  return messages.map((m: Message | null, i) => {
    if (typeof m !== "object" || m === null || typeof m.role !== "string")
      throw diagnostics.badArgument({
        call: "render",
        seen: `message ${i} is ${shown(m)}`,
        wanted: "an object with role and content",
      });
    return { ...m };
  });
}

/** Templates by name; a single one is "default". */
async function templatesOf(folder: string, config: Record<string, unknown>): Promise<Map<string, Source>> {
  const files = new Map<string, Source>();
  const main = join(folder, "chat_template.jinja");
  const text = await readText(main);
  if (text !== undefined) files.set("default", { text, where: main });
  const more = join(folder, "additional_chat_templates");
  for (const name of (await namesIn(more)).filter((n) => n.endsWith(".jinja")).toSorted()) {
    const where = join(more, name);
    files.set(name.slice(0, -".jinja".length), { text: (await readText(where)) ?? "", where });
  }
  if (files.size) return files;
  const inConfig = named(config.chat_template, folder, `chat_template of ${join(folder, "tokenizer_config.json")}`);
  if (inConfig.size) return inConfig;
  return fromJsonFile(folder, join(folder, "chat_template.json"));
}

/** What older processors kept a template in: {"chat_template": ...}. */
async function fromJsonFile(folder: string, file: string): Promise<Map<string, Source>> {
  const text = await readSideText(file, unreadable);
  if (text === undefined) return new Map();
  const { value } = parseSideJson(text, file, unreadable);
  const inside = typeof value === "object" && value !== null ? (value as { chat_template?: unknown }).chat_template : value;
  return named(inside, folder, `chat_template of ${file}`);
}

/** One template, several with names in a list, or by name in an object. */
function named(value: unknown, folder: string, where: string): Map<string, Source> {
  if (value === undefined || value === null) return new Map();
  if (typeof value === "string") return new Map([["default", { text: value, where }]]);
  const shape = "it is a text, or a list of {name, template}";
  if (typeof value !== "object")
    throw diagnostics.unreadableTemplate({ folder, why: `it is ${JSON.stringify(value)}; ${shape}` }, place(where));
  const list: unknown[] = Array.isArray(value) ? value : Object.entries(value).map(([name, template]) => ({ name, template }));
  return new Map(
    list.map((entry, i) => {
      const { name, template } = (typeof entry === "object" && entry !== null ? entry : {}) as {
        name?: unknown;
        template?: unknown;
      };
      if (typeof name !== "string" || typeof template !== "string")
        throw diagnostics.unreadableTemplate({ folder, why: `entry ${i} is ${shown(entry)}; ${shape}` }, place(where));
      return [name, { text: template, where: `template "${name}" in ${where}` }];
    }),
  );
}

const unreadable: Unusable = ({ why }, span) => diagnostics.unreadableTemplate({ folder: span.file, why }, span);

/** The text of a template's file, a byte order mark among it: it is in the prompt with transformers, too. */
const readText = (file: string): Promise<string | undefined> => readSideText(file, unreadable, true);

const namesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

/** Runs what may fail with a fault of the template, which becomes a diagnostic at its line and column. */
function placed<T>({ text, where }: Source, run: () => T): T {
  try {
    return run();
  } catch (e) {
    if (!(e instanceof Fault)) throw e;
    const { line, column } = e.at ?? { line: 1, column: 1 };
    const whole = text.split(/\r\n|\r|\n/)[line - 1] ?? "";
    // Templates are often one line of thousands of characters: then the text around the place is shown.
    const short = whole.length <= 160 && column <= whole.length;
    const span: Span = { file: where, line, column, ...(short ? { text: whole } : {}) };
    throw diagnostics.templateFault[e.kind](
      { why: e.message, near: short ? undefined : whole.slice(Math.max(0, column - 21), column + 59) },
      span,
    );
  }
}

/** A token is written as text, or as an object that holds it. */
function textOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return typeof token === "object" && token !== null && "content" in token ? String(token.content) : undefined;
}
