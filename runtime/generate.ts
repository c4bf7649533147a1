// Generation as an async iterator: a step is one call of the main model for every sequence that still goes on, the first being
// the prefill. A sequence that has finished sits out; the steps end when all have. With drafts (draft.ts) a step can give a
// sequence several ids. A signal is looked at between calls; one that is running is awaited, and what was opened is closed.
import { idLists, made, maybeFlag, maybeSignal, maybeStops, optionsOf, shown } from "./arguments.ts";
import { Continuation, type GenerateOptions, type GenerateStep } from "./continuation.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Model } from "./model.ts";
import { SAMPLING } from "./sample.ts";
import type { Session } from "./session.ts";

export type { Finish, GenerateOptions, GenerateStep } from "./continuation.ts";

/** Continues a batch of prompts. Opens a session for exactly this and closes it at the end, however it ends. */
export async function* generate(
  model: Model,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, void, undefined> {
  made("generate", "model", model, ["session", "close"], "load(...)");
  idLists("generate", "prompts", prompts);
  checkOptions("generate", options);
  const longest = prompts.reduce((most, p) => Math.max(most, p.length), 0);
  const empty = prompts.findIndex((p) => p.length === 0);
  if (empty >= 0 || prompts.length === 0)
    throw diagnostics.misuse({
      what: prompts.length ? `prompt ${empty} is empty` : "there is no prompt",
      help: "give every sequence at least one token",
    });
  // The last id is chosen but never fed back.
  const session = model.session({ maxTokens: Math.max(1, longest + options.maxNew - 1), sequences: prompts.length });
  try {
    yield* proceed(session, prompts, options);
  } finally {
    session.close();
  }
}

/** The options of `generate`, by name. */
export const GENERATE_OPTIONS = ["maxNew", "stop", "draft", "ahead", "signal", ...SAMPLING] as const;

function checkOptions(call: string, options: GenerateOptions): void {
  const { maxNew, draft = 0, stop, ahead, signal } = optionsOf(call, options, GENERATE_OPTIONS, "maxNew, the ids to make");
  maybeStops(call, stop);
  maybeFlag(call, "ahead", ahead);
  maybeSignal(call, signal);
  if (!(Number.isSafeInteger(maxNew) && maxNew >= 1))
    throw diagnostics.misuse({ what: `maxNew is ${shown(maxNew)}`, help: "give a whole number of at least 1" });
  if (!(Number.isInteger(draft) && draft >= 0 && draft <= 4))
    throw diagnostics.misuse({ what: `draft is ${shown(draft)}`, help: "give a whole number from 0 to 4" });
}

/** Adds rows to what a session holds, sequence by sequence, and continues them. The session stays open. */
export async function* proceed(
  session: Session,
  rows: readonly ArrayLike<number>[],
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, void, undefined> {
  made("proceed", "session", session, ["run", "truncate"], "model.session()");
  idLists("proceed", "rows", rows);
  checkOptions("proceed", options);
  yield* new Continuation(session, rows, options).steps();
}
