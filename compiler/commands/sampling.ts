// The options by which `run` chooses ids, and where their values come from when they are not given.
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { Sampler, type Sampling } from "../../runtime/index.ts";
import { onValue } from "../diagnostics.ts";

export interface SamplingFlags {
  temperature?: number;
  topK?: number;
  topP?: number;
  repeatPenalty?: number;
  seed?: number;
}

export const samplingFlags = <T>(y: Argv<T>): Argv<T & SamplingFlags> =>
  y
    .option("temperature", { type: "number", describe: "0 takes the most likely token (default: 0; --chat: generation_config.json)" })
    .option("top-k", { type: "number", describe: "draw from the K most likely tokens; 0 from all" })
    .option("top-p", { type: "number", describe: "draw from the fewest tokens that reach this probability" })
    .option("repeat-penalty", { type: "number", describe: "above 1 makes tokens that occurred less likely" })
    .option("seed", { type: "number", describe: "the same seed gives the same tokens (default: another each time)" }) as unknown as Argv<T & SamplingFlags>;

/** Checked options; a seed is drawn where one is used and none is given. `folder` has the checkpoint's own wishes, for a chat. */
export function samplingOf(f: SamplingFlags, folder?: string): Sampling {
  const wishes = folder === undefined ? {} : wishesOf(folder);
  const given = { temperature: f.temperature, topK: f.topK, topP: f.topP, repeatPenalty: f.repeatPenalty, seed: f.seed };
  const merged: Sampling = { ...wishes, ...Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) };
  const { options } = checked(merged);
  return options.temperature > 0 && merged.seed === undefined ? { ...options, seed: randomInt(2 ** 32) } : options;
}

const words: Record<string, string> = { temperature: "--temperature", topK: "--top-k", topP: "--top-p", repeatPenalty: "--repeat-penalty", seed: "--seed" };

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

/** generation_config.json: temperature, top_k and top_p where it asks for sampling. */
function wishesOf(folder: string): Sampling {
  let c: Record<string, unknown>;
  try {
    c = JSON.parse(readFileSync(path.join(folder, "generation_config.json"), "utf8")) as Record<string, unknown>;
  } catch {
    return {};
  }
  if (c.do_sample !== true) return {};
  const number = (key: string): number | undefined => (typeof c[key] === "number" ? c[key] : undefined);
  const wishes = { temperature: number("temperature") ?? 1, topK: number("top_k"), topP: number("top_p") };
  return Object.fromEntries(Object.entries(wishes).filter(([, v]) => v !== undefined));
}
