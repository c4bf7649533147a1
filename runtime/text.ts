// Text in, text out: a prompt continued and streamed, whole characters at a time.
import type { Diagnostic } from "../ir/diagnostic.ts";
import { made, optionsOf, text as checkText } from "./arguments.ts";
import * as diagnostics from "./diagnostics.ts";
import { GENERATE_OPTIONS, generate, type GenerateOptions } from "./generate.ts";
import { loadGeneration } from "./generation-config.ts";
import type { Model } from "./model.ts";
import { TextStream } from "./text-stream.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * The ids of a text with what the tokenizer puts around it: a <bos> only where its files say so, and not a second one. Names of
 * control tokens are these tokens: a prompt is what the model sees. An empty text is `bos`, where the model has it. `say` hears a
 * warning where the text begins with what the tokenizer would add.
 */
export function encodePrompt(tokenizer: Tokenizer, text: string, bos: number | null, say?: (d: Diagnostic) => void): number[] {
  made("encodePrompt", "tokenizer", tokenizer, ["encode", "decode"], "loadTokenizer(...)");
  checkText("encodePrompt", "text", text);
  const { before, after } = tokenizer.around;
  const ids = tokenizer.encode(text, { special: false });
  const twice = before.length > 0 && before.every((id, i) => ids[i] === id);
  if (twice) say?.(diagnostics.beginsTwice({ token: tokenizer.decode(before, { special: true }) }));
  const whole = [...(twice ? [] : before), ...ids, ...after];
  if (whole.length === 0 && bos !== null) return [bos];
  if (whole.length === 0)
    throw diagnostics.misuse({ what: "the prompt is empty, and the model has no token that begins a text" });
  return whole;
}

/**
 * Continues a text and streams what is new. Stops at an end token of generation_config.json, or else of config.json, after
 * `maxNew` ids, or by `signal`.
 */
export async function* stream(
  model: Model,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions,
): AsyncGenerator<string, void, undefined> {
  made("stream", "model", model, ["session", "close"], "load(...)");
  made("stream", "tokenizer", tokenizer, ["encode", "decode"], "loadTokenizer(...)");
  optionsOf("stream", options, GENERATE_OPTIONS, "maxNew, the ids to make");
  const { bos } = model.manifest.model;
  const eos = (await loadGeneration(tokenizer.folder))?.eos ?? model.manifest.model.eos;
  const text = new TextStream(tokenizer);
  for await (const step of generate(model, [encodePrompt(tokenizer, prompt, bos)], { stop: eos, ahead: true, ...options })) {
    const fresh = step.ids[0].map((id) => text.push(id)).join("");
    if (fresh) yield fresh;
  }
  const rest = text.end();
  if (rest) yield rest;
}
