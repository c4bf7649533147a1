// What people and tools say is text: the name of a control token in it does not become that token, so that nobody can end a turn
// and begin another by writing so. The names are broken by a character that stands nowhere else before the template is rendered,
// and the character is left out again when the text is encoded; the template's own tokens, and the model's, stay whole.
import type { ChatTemplate, Message } from "./chat-template.ts";
import { freeMark, type Tokenizer } from "./tokenizer.ts";

/** A rendered conversation: its text, and the ids of its end. */
export interface Rendered {
  text: string;
  /** Ids of the text from character `from` on. */
  ids(from: number): number[];
}

/** Renders a conversation in which only the template and the assistant write control tokens, unless `allowControlTokens`. */
export function renderSaid(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly Message[],
  allowControlTokens: boolean,
): Rendered {
  if (allowControlTokens) {
    const text = template.render(messages);
    return { text, ids: (from) => tokenizer.encode(text.slice(from), { special: false }) };
  }
  const mark = freeMark(messages.map((m) => m.content));
  const hidden = messages.map((m) => (m.role === "assistant" ? m : { ...m, content: tokenizer.hide(m.content, mark) }));
  const marked = template.render(hidden);
  return {
    text: marked.replaceAll(mark, ""),
    ids: (from) => tokenizer.encode(marked.slice(placeOf(marked, from, mark)), { special: false, mark }),
  };
}

/** Where the character stands that is number `n` of those that are not the mark. */
function placeOf(marked: string, n: number, mark: string): number {
  let at = 0;
  for (let left = n; left > 0; at++) if (marked[at] !== mark) left--;
  return at;
}
