// Text in, text out: a prompt continued and streamed, whole characters at a time.
import * as diagnostics from "./diagnostics.ts";
import { generate, type GenerateOptions } from "./generate.ts";
import type { Model } from "./model.ts";
import { TextStream, type Tokenizer } from "./tokenizer.ts";

/** The ids of a text, after the token that begins one where the model has such a token and the tokenizer does not add it. */
export function encodePrompt(tokenizer: Tokenizer, text: string, bos: number | null): number[] {
  const ids = tokenizer.encode(text);
  const whole = bos !== null && ids[0] !== bos ? [bos, ...ids] : ids;
  if (whole.length === 0) throw diagnostics.misuse("the prompt is empty, and the model has no token that begins a text");
  return whole;
}

/** Continues a text and streams what is new. Stops at the model's end token, after `maxNew` ids, or by `signal`. */
export async function* stream(model: Model, tokenizer: Tokenizer, prompt: string, options: GenerateOptions): AsyncGenerator<string, void, undefined> {
  const { bos, eos } = model.manifest.model;
  const text = new TextStream(tokenizer);
  for await (const step of generate(model, [encodePrompt(tokenizer, prompt, bos)], { stop: eos, ahead: true, ...options })) {
    const fresh = step.ids[0].map((id) => text.push(id)).join("");
    if (fresh) yield fresh;
  }
  const rest = text.end();
  if (rest) yield rest;
}
