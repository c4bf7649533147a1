// The options by which `run` chooses ids, and where their values come from when they are not given.
import { randomInt } from "node:crypto";
import type { Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { SAMPLING, Sampler, type Generation, type Sampling } from "../../runtime/index.ts";
import { onValue, usage } from "../diagnostics.ts";
import { taking } from "../taking.ts";

export interface SamplingFlags {
  temperature?: number;
  topK?: number;
  topP?: number;
  repeatPenalty?: number;
  seed?: number;
}

export const samplingFlags = <T>(y: Argv<T>): Argv<T & SamplingFlags> =>
  taking<T & SamplingFlags>(
    y
      .option("temperature", {
        type: "number",
        describe: "0 takes the most likely token (default: 0; --chat: generation_config.json)",
      })
      .option("top-k", { type: "number", describe: "draw from the K most likely tokens; 0 from all" })
      .option("top-p", { type: "number", describe: "draw from the fewest tokens that reach this probability" })
      .option("repeat-penalty", { type: "number", describe: "above 1 makes tokens that occurred less likely" })
      .option("seed", {
        type: "number",
        describe: "the same seed gives the same tokens (default: another each time)",
      }),
  );

/**
 * Checked options; a seed is drawn where one is used and none is given. For a chat, what is not given is as the checkpoint's
 * generation_config.json says. Refuses options that only count where ids are drawn, where none are.
 */
export function samplingOf(f: SamplingFlags, generation?: Generation): Sampling {
  const given = Object.fromEntries(SAMPLING.map((name) => [name, f[name]]).filter(([, v]) => v !== undefined)) as Sampling;
  checked(given);
  // A temperature of one's own draws, and by what the file says of drawing.
  const base = given.temperature ? generation?.drawing : generation?.sampling;
  const { options } = checked({ ...base, ...given });
  const idle =
    options.temperature === 0
      ? (["topK", "topP"] as const).find((name) => given[name] !== undefined && given[name] !== (name === "topK" ? 0 : 1))
      : undefined;
  if (idle)
    throw new DiagnosticError(
      usage({
        problem: `${words[idle]} counts where tokens are drawn, and at temperature 0 the most likely one is taken`,
        help: `give --temperature 0.7 as well, or leave ${words[idle]} out`,
        word: words[idle],
      }),
    );
  if (options.temperature === 0 && given.seed !== undefined)
    throw new DiagnosticError(
      usage({
        problem: "--seed counts where tokens are drawn, and at temperature 0 the most likely one is taken",
        help: "give --temperature 0.7 as well, or leave --seed out",
        word: "--seed",
      }),
    );
  return options.temperature > 0 && given.seed === undefined ? { ...options, seed: randomInt(2 ** 32) } : options;
}

const words: Record<string, string> = {
  temperature: "--temperature",
  topK: "--top-k",
  topP: "--top-p",
  repeatPenalty: "--repeat-penalty",
  seed: "--seed",
};

/** The sampler's own checks, said of the word on the command line. */
function checked(s: Sampling): Sampler {
  try {
    return new Sampler(s);
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    throw new DiagnosticError(
      e.diagnostics.map((d) => {
        const [option, ...rest] = d.title.split(" ");
        return { ...d, title: [words[option] ?? option, ...rest].join(" "), spans: [onValue(words[option])] };
      }),
    );
  }
}
