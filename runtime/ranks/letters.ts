// What rank 0 tells the others so that they do as it does: every call that changes a session, in the order in which it makes them. They
// hold sessions of their own with the same sequences and pages, and come to the same meetings.
import type { Sampling } from "../sample.ts";

/** `session` numbers the sessions of a model from 0 on. Ids of tokens are by sequence; rows of `hidden` travel as bytes, f32. */
export type Letter = { session: number } & (
  | { call: "open"; options: { maxTokens?: number; sequences?: number } }
  | { call: "append"; tokens: number[][]; entry: string; rows: "last" | "all"; sampling?: Sampling }
  | { call: "draft"; tokens: number[][] }
  // Steps ahead of their ids: each begins when it is told, after so many were looked at.
  | { call: "ahead"; first: (number | null)[]; steps: number; sampling?: Sampling }
  | { call: "begin"; taken: number }
  | { call: "end"; taken: number }
  | { call: "truncate"; sequence: number; length: number; draftLength?: number }
  | { call: "cutDraft"; sequence: number; length: number }
  | { call: "close" }
);

/** Who passes letters on. */
export interface Mail {
  /** Sends a letter; throws where the ranks have ended. */
  say(letter: Letter): void;
  /** Ends all ranks: what a letter said has failed here. */
  fail(error: unknown): void;
  /** Whether all ranks have ended, for whatever reason: letters are refused then. */
  readonly ended: boolean;
  /** Sends a letter, then makes the call that it says, once those before have ended. Where that fails, all ranks end. */
  turn<T>(letter: Letter, bytes: readonly Uint8Array[], call: () => Promise<T>): Promise<T>;
}
