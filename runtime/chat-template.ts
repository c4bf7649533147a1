// The chat template of a checkpoint: chat_template.jinja, or chat_template of tokenizer_config.json, rendered to the text that
// the model was trained to continue. What a template refuses (raise_exception) is a diagnostic with its words.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as diagnostics from "./diagnostics.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ChatTemplate {
  /** The text of a conversation, up to where the assistant speaks next. */
  render(messages: readonly Message[]): string;
}

/** The template that lies beside a tokenizer. */
export async function loadChatTemplate(tokenizer: Tokenizer): Promise<ChatTemplate> {
  const { folder, config } = tokenizer;
  const file = await readFile(join(folder, "chat_template.jinja"), "utf8").catch(() => undefined);
  const source = file ?? templateOf(config.chat_template);
  if (source === undefined) throw diagnostics.noChatTemplate(folder, "neither chat_template.jinja nor chat_template in tokenizer_config.json");
  const { Template } = await import("@huggingface/jinja").catch((e: Error) => {
    throw diagnostics.noTemplatePackage(e.message);
  });
  let template: InstanceType<typeof Template>;
  try {
    template = new Template(source);
  } catch (e) {
    throw diagnostics.noChatTemplate(folder, `the template is not understood: ${(e as Error).message}`);
  }
  const tokens = { bos_token: textOf(config.bos_token), eos_token: textOf(config.eos_token), pad_token: textOf(config.pad_token) };
  return {
    render(messages) {
      try {
        return template.render({ messages: messages.map((m) => ({ ...m })), add_generation_prompt: true, ...tokens });
      } catch (e) {
        throw diagnostics.templateRefused((e as Error).message);
      }
    },
  };
}

/** One template, or the one named "default" of several. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  return (value as { name?: string; template?: string }[]).find((t) => t.name === "default")?.template;
}

/** A token is written as text, or as an object that holds it. */
function textOf(token: unknown): string {
  if (typeof token === "string") return token;
  return typeof token === "object" && token !== null && "content" in token ? String(token.content) : "";
}
