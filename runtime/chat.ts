// A conversation: turns rendered by the checkpoint's own template, answers streamed, reasoning told apart. Only what is new goes
// through the model. Where the conversation so far is the beginning of the newly rendered text, its rows stay as they are and
// the rest is appended; where the template changes what was said (earlier reasoning left out), rows are kept up to the change.
import { made, maybeFlag, maybeSignal, maybeWhole, optionsOf, text } from "./arguments.ts";
import type { ChatTemplate, Message } from "./chat-template.ts";
import { loadChatTemplate } from "./chat-template.ts";
import * as diagnostics from "./diagnostics.ts";
import { loadGeneration, type Generation } from "./generation-config.ts";
import { SAMPLING, Sampler } from "./sample.ts";
import { proceed, type Finish, type GenerateOptions } from "./generate.ts";
import type { Model } from "./model.ts";
import { ReasoningStream, type Piece } from "./reasoning.ts";
import { renderSaid, type Rendered } from "./said.ts";
import type { Session } from "./session.ts";
import { TextStream } from "./text-stream.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Options of `chat`: those of generation, the system prompt, and whether names of control tokens count. */
export interface ChatOptions extends Omit<GenerateOptions, "maxNew" | "stop" | "signal"> {
  /** Said before the first turn, in the place the template gives it. */
  system?: string;
  /** Which of the checkpoint's templates, where it has several; "default" when absent. */
  template?: string;
  /** Take names of control tokens in what is said for these tokens; by default they are the text they are written in. */
  allowControlTokens?: boolean;
  /** Ids the whole conversation may have; the model's positions when absent. */
  maxTokens?: number;
  /** New ids of one answer; what is left of `maxTokens` when absent. */
  maxNew?: number;
}

/** What an answer took. */
export interface Turn {
  /** Rows the prefill of this turn went through: what was new. */
  prefilled: number;
  /** Rows kept of earlier turns. */
  kept: number;
  /** New ids, the end token included. */
  ids: number;
  finish: Finish | "abort";
  drafted: number;
  accepted: number;
}

const OPTIONS = ["system", "template", "allowControlTokens", "maxTokens", "maxNew", "draft", "ahead", ...SAMPLING] as const;

/** Where answers end, by generation_config.json. */
export type Ends = Partial<Pick<Generation, "eos" | "maxNew" | "maxLength">>;

/**
 * Opens a conversation with a model. The template lies beside the tokenizer, and so does generation_config.json, whose end tokens and
 * lengths count; how ids are chosen is `options` alone, and `loadGeneration` says what the file would choose.
 */
export async function chat(model: Model, tokenizer: Tokenizer, options: ChatOptions = {}): Promise<Chat> {
  made("chat", "model", model, ["session", "close"], "load(...)");
  made("chat", "tokenizer", tokenizer, ["encode", "decode"], "loadTokenizer(...)");
  optionsOf("chat", options, OPTIONS);
  if (options.system !== undefined) text("chat", "system", options.system);
  if (options.template !== undefined) text("chat", "template", options.template, "the name of a template");
  maybeWhole("chat", "maxNew", options.maxNew, 1);
  maybeWhole("chat", "draft", options.draft, 0, 4);
  maybeFlag("chat", "ahead", options.ahead);
  maybeFlag("chat", "allowControlTokens", options.allowControlTokens);
  void new Sampler(options);
  return new Chat(
    model,
    tokenizer,
    await loadChatTemplate(tokenizer, options.template === undefined ? {} : { name: options.template }),
    options,
    await loadGeneration(tokenizer.folder),
  );
}

/** A conversation over a model: rendered by the checkpoint's template, its rows kept from turn to turn. */
export class Chat {
  /** The conversation so far; an answer that was stopped is in it as far as it came. */
  readonly messages: Message[] = [];
  /** What the last answer took. */
  last: Turn | undefined;
  private readonly model: Model;
  private readonly tokenizer: Tokenizer;
  private readonly template: ChatTemplate;
  private readonly options: ChatOptions;
  private readonly ends: Ends;
  private readonly session: Session;
  private busy = false;
  private closed = false;

  constructor(model: Model, tokenizer: Tokenizer, template: ChatTemplate, options: ChatOptions, ends: Ends = {}) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.template = template;
    this.options = options;
    this.ends = ends;
    this.session = model.session({ maxTokens: options.maxTokens ?? model.manifest.model.maxPositions, sequences: 1 });
    this.begin();
  }

  /** Says something and streams the answer. Aborting ends the answer without an error; what was said of it stays. */
  async *say(said: string, options: { signal?: AbortSignal } = {}): AsyncGenerator<Piece, void, undefined> {
    text("say", "text", said);
    maybeSignal("say", optionsOf("say", options, ["signal"]).signal);
    if (this.closed) throw diagnostics.misuse({ what: "the conversation is closed" });
    if (this.busy)
      throw diagnostics.misuse({ what: "the conversation is answering", help: "await one answer before the next, or abort it" });
    this.busy = true;
    try {
      yield* this.answer(said, options.signal);
    } finally {
      this.busy = false;
    }
  }

  /** Forgets the conversation, but not the system message. */
  reset(): void {
    if (this.busy) throw diagnostics.misuse({ what: "the conversation is answering", help: "await the answer, or abort it" });
    this.begin();
    this.session.truncate(0, 0);
  }

  /** `using talk = await chat(...)` closes it at the end of its block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Gives the cache back. */
  close(): void {
    this.closed = true;
    this.session.close();
  }

  private begin(): void {
    this.messages.length = 0;
    if (this.options.system !== undefined) this.messages.push({ role: "system", content: this.options.system });
  }

  private async *answer(said: string, signal: AbortSignal | undefined): AsyncGenerator<Piece, void, undefined> {
    const { session, tokenizer, options, ends } = this;
    const chosen = Object.fromEntries(
      [...SAMPLING, "draft" as const].map((name) => [name, options[name]]).filter(([, v]) => v !== undefined),
    ) as ChatOptions;
    const user: Message = { role: "user", content: said };
    const prompt = renderSaid(tokenizer, this.template, [...this.messages, user], options.allowControlTokens ?? false);
    const { kept, rows } = this.plan(prompt);
    const left = Math.min(session.maxTokens + 1, ends.maxLength ?? Infinity) - kept - rows.length;
    if (left < 1)
      throw diagnostics.conversationFull({
        needed: kept + rows.length,
        capacity: Math.min(session.maxTokens, ends.maxLength ?? Infinity),
      });
    session.truncate(0, kept);
    const turn: Turn = { prefilled: rows.length, kept, ids: 0, finish: "length", drafted: 0, accepted: 0 };
    const eos = ends.eos ?? this.model.manifest.model.eos;
    // Marks of reasoning may be special tokens, so none are left out but the end.
    const stream = new TextStream(tokenizer, { special: true });
    const pieces = new ReasoningStream(prompt.text);
    let answer = "";
    let rest = "";
    const shown = (fresh: string): Piece[] => {
      answer += fresh;
      return pieces.push(fresh);
    };
    this.last = turn;
    try {
      const steps = proceed(session, [rows], {
        ...chosen,
        maxNew: Math.min(left, options.maxNew ?? ends.maxNew ?? Infinity),
        stop: eos,
        ahead: true,
        ...(signal ? { signal } : {}),
      });
      for await (const step of steps) {
        turn.ids += step.ids[0].length;
        turn.drafted += step.drafted;
        turn.accepted += step.accepted;
        for (const id of step.ids[0]) if (!eos.includes(id)) yield* shown(stream.push(id));
        turn.finish = step.finish[0] ?? turn.finish;
      }
    } catch (e) {
      if (!signal?.aborted) throw e;
      turn.finish = "abort";
    } finally {
      // Also where the reader stops listening: what was said stays said. Reasoning cut short is closed, so that templates drop it.
      rest = stream.end();
      const content = answer + rest + (pieces.reasoning ? "</think>" : "");
      if (turn.ids > 0) this.messages.push(user, { role: "assistant", content });
    }
    yield* pieces.push(rest);
    yield* pieces.end();
  }

  /** Rows to keep and rows to add for a rendered conversation. */
  private plan(prompt: Rendered): { kept: number; rows: number[] } {
    const held = [...this.session.cached(0)];
    const text = this.tokenizer.decode(held, { special: true });
    // The answer's own ids stay, where encoding its text anew might split it otherwise.
    if (held.length > 0 && prompt.text.startsWith(text) && prompt.text.length > text.length)
      return { kept: held.length, rows: prompt.ids(text.length) };
    const ids = prompt.ids(0);
    let kept = 0;
    while (kept < held.length && kept < ids.length - 1 && held[kept] === ids[kept]) kept++;
    return { kept, rows: ids.slice(kept) };
  }
}
