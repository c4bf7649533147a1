// What a rank does that is not rank 0: it makes the calls that rank 0's letters say, on sessions of its own, until rank 0 is done.
import type { Session } from "../session.ts";
import type { Model } from "../model.ts";
import { misuse } from "../diagnostics.ts";
import { Sampler } from "../sample.ts";
import type { Stepping } from "../stepping.ts";
import type { Letter } from "./letters.ts";
import type { Spoke } from "./spoke.ts";

/** Settles when rank 0 is done; rejects with what ended the ranks. */
export async function follow(model: Model, spoke: Spoke): Promise<void> {
  const sessions = new Map<number, Followed>();
  for (let next = await spoke.letter(); next; next = await spoke.letter()) await obey(model, sessions, next.letter, next.bytes);
}

interface Followed {
  session: Session;
  /** Steps that it makes ahead of their ids now. */
  stepping?: Stepping;
}

async function obey(model: Model, sessions: Map<number, Followed>, letter: Letter, bytes: Uint8Array): Promise<void> {
  if (letter.call === "open") return void sessions.set(letter.session, { session: model.session(letter.options) });
  const followed = sessions.get(letter.session);
  if (!followed) throw misuse({ what: `rank 0 speaks of session ${letter.session}, which it did not open` });
  const { session, stepping } = followed;
  switch (letter.call) {
    case "append": {
      const { tokens, entry, rows, sampling } = letter;
      await session.append(entry, tokens, rows, sampling && new Sampler(sampling));
      return;
    }
    case "draft": {
      await session.draft(letter.tokens, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
      return;
    }
    case "ahead": {
      const { first, steps, sampling } = letter;
      followed.stepping = session.stepping(first, steps, sampling && new Sampler(sampling));
      return;
    }
    case "begin":
    case "end": {
      if (!stepping) throw misuse({ what: `rank 0 makes steps of session ${letter.session} that it did not announce` });
      await stepping.upTo(letter.taken);
      if (letter.call === "begin") stepping.begin();
      else await stepping.end();
      return;
    }
    case "truncate":
      return session.truncate(letter.sequence, letter.length, letter.draftLength);
    case "cutDraft":
      return session.cutDraft(letter.sequence, letter.length);
    case "close": {
      session.close();
      sessions.delete(letter.session);
    }
  }
}
