// What `run` continues: ids from the command line or a file, or the ids of a text. Refused before any weight is read.
import { existsSync, readFileSync } from "node:fs";
import type { ModelFacts } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { encodePrompt, type Tokenizer } from "../../runtime/index.ts";
import { badIds, cannotReadText, idOutside, tooManyPositions } from "../diagnostics.ts";
import { readRegularSync, readTextSync } from "../../runtime/files.ts";
import { say } from "../tell.ts";

export interface Prompts {
  batch: number[][];
  /** The ids were given as an array of arrays, so the answer is too. */
  nested: boolean;
}

/** 1,2,3 or a JSON file with an array of ids, or of such arrays. */
export function readIds(word: string): Prompts {
  let value: unknown;
  if (/^\s*-?\d+(\s*,\s*-?\d+)*\s*$/.test(word)) value = word.split(",").map(Number);
  else if (word.trim() === "") throw new DiagnosticError(badIds({ what: JSON.stringify(word), problem: "there are no ids" }));
  else if (word.includes(",") && !existsSync(word))
    throw new DiagnosticError(
      badIds({
        what: word,
        problem: `${
          word
            .split(",")
            .map((w) => w.trim())
            .find((w) => !/^-?\d+$/.test(w)) || "an empty word"
        } is no id`,
      }),
    );
  else {
    let text: string;
    try {
      text = readTextSync(word);
    } catch (e) {
      throw new DiagnosticError(badIds({ what: word, problem: (e as Error).message }));
    }
    try {
      value = JSON.parse(text);
    } catch (e) {
      throw new DiagnosticError(badIds({ what: word, problem: `not JSON: ${(e as Error).message}` }));
    }
  }
  const isIds = (v: unknown): v is number[] =>
    Array.isArray(v) && v.length > 0 && v.every((x) => typeof x === "number" && Number.isSafeInteger(x) && x >= 0);
  if (isIds(value)) return { batch: [value], nested: false };
  const lists: unknown[] = Array.isArray(value) ? value : [];
  if (lists.length > 0 && lists.every(isIds)) return { batch: lists, nested: true };
  throw new DiagnosticError(
    badIds({
      what: word,
      problem: "ids are whole numbers from 0 up, in an array or an array of such arrays, none of them empty",
    }),
  );
}

/** The text of --prompt, of stdin where it is -, or of --prompt-file, without a last line break. */
export function promptText({ prompt, promptFile }: { prompt?: string; promptFile?: string }): string | undefined {
  if (promptFile === undefined && prompt !== "-") return prompt;
  const name = promptFile ?? "stdin";
  try {
    const text = new TextDecoder("utf-8", { fatal: true })
      .decode(promptFile === undefined ? readFileSync(0) : readRegularSync(promptFile))
      .replace(/\r?\n$/, "");
    if (text === "") throw new Error("it is empty");
    return text;
  } catch (e) {
    throw new DiagnosticError(cannotReadText({ file: name, problem: (e as Error).message }));
  }
}

/** The ids of a text, with what its tokenizer puts around it; where that begins twice, a word on stderr. */
export const promptOf = (tokenizer: Tokenizer, prompt: string, bos: number | null): Prompts => ({
  batch: [encodePrompt(tokenizer, prompt, bos, say)],
  nested: false,
});

/** Before any weight is read: ids in the vocabulary, and positions for what is asked (the last new token needs none). */
export function checkFit(batch: readonly number[][], maxNew: number, { vocab, maxPositions }: ModelFacts): void {
  for (const [b, ids] of batch.entries()) {
    const at = ids.findIndex((id) => id >= vocab);
    if (at >= 0) throw new DiagnosticError(idOutside({ sequence: batch.length > 1 ? b : undefined, at, id: ids[at], vocab }));
    if (ids.length + maxNew - 1 > maxPositions)
      throw new DiagnosticError(
        tooManyPositions({ sequence: batch.length > 1 ? b : undefined, prompt: ids.length, maxNew, positions: maxPositions }),
      );
  }
}
