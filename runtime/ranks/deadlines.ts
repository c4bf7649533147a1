// How long ranks wait for each other, in milliseconds; variables of the environment say otherwise, in seconds.
import * as diagnostics from "../diagnostics.ts";
import { variable } from "../user-cache.ts";

export interface Deadlines {
  /** Until all have come. */
  join: number;
  /** A rank that has said nothing for so long is gone. */
  silence: number;
  /** A rank that lives, and has not come to where the others wait. */
  meeting: number;
  /** A rank's part of what GPUs exchange by themselves, once a kernel waits for it. */
  exchange: number;
}

const seconds = (name: string, usual: number): number => {
  const text = variable(name);
  const given = text === undefined ? usual : Number(text);
  if (!(given > 0 && given <= 86_400))
    throw diagnostics.badLaunch({
      seen: `${name}=${text}`,
      why: "it is no number of seconds from above 0 to 86400",
      help: `leave ${name} out, or give seconds`,
    });
  return given * 1000;
};

/** DSC_JOIN_SECONDS (60), DSC_SILENCE_SECONDS (3), DSC_MEETING_SECONDS (300), DSC_EXCHANGE_SECONDS (20). */
export const deadlines = (): Deadlines => ({
  join: seconds("DSC_JOIN_SECONDS", 60),
  silence: seconds("DSC_SILENCE_SECONDS", 3),
  meeting: seconds("DSC_MEETING_SECONDS", 300),
  exchange: seconds("DSC_EXCHANGE_SECONDS", 20),
});
