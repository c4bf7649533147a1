// tiktoken.model: a line for each token, its bytes in base64 and its rank, which is its id. Kimi-K2 and Moonlight ship no other
// vocabulary. The file says neither how a text is split nor which special tokens there are: the pattern is in the Python file
// that comes with it, and is the same in all of them; special tokens are named by added_tokens_decoder, from the first id on
// that the file leaves free.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { place, type Diagnostic } from "../../ir/diagnostic.ts";
import { spanAt } from "../../ir/json.ts";
import * as diagnostics from "../diagnostics.ts";
import { readSideText } from "../side-file.ts";
import type { AddedToken } from "./added.ts";
import { BYTE_CHARS, toByteText } from "./bytes.ts";
import { MOST_IDS, mergeAll, rankedMerges } from "./bpe.ts";
import { rewritePattern, type CompilePattern } from "./pattern.ts";
import type { Settings } from "./settings.ts";
import { splitAt, type PreTokenizer } from "./split.ts";
import { cached, type Vocabulary } from "./vocabulary.ts";

const TIKTOKEN_FILE = "tiktoken.model";

/** Ids kept for special tokens behind the vocabulary; those without a name are <|reserved_token_ID|>. */
const RESERVED = 256;

const LETTERS = ["Lu", "Lt", "Lm", "Lo", "M"].map((c) => `\\p{${c}}`).join("");
const SMALL = ["Ll", "Lm", "Lo", "M"].map((c) => `\\p{${c}}`).join("");
const but = (letters: string): string => `[${letters}&&[^\\p{Han}]]`;
const ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";

/** How Kimi-K2 and Moonlight split a text (pat_str of their tokenization_*.py): Han alone, words by case, digits by threes. */
const KIMI_PATTERN = [
  "[\\p{Han}]+",
  `[^\\r\\n\\p{L}\\p{N}]?${but(LETTERS)}*${but(SMALL)}+${ENDINGS}`,
  `[^\\r\\n\\p{L}\\p{N}]?${but(LETTERS)}+${but(SMALL)}*${ENDINGS}`,
  "\\p{N}{1,3}",
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
  "\\s*[\\r\\n]+",
  "\\s+(?!\\S)",
  "\\s+",
].join("|");

export interface Tiktoken {
  vocabulary: Vocabulary;
  split: PreTokenizer;
  added: AddedToken[];
  warnings: Diagnostic[];
}

/** Reads tiktoken.model of a folder; undefined where there is none. */
export async function readTiktoken(folder: string, settings: Settings, compile: CompilePattern): Promise<Tiktoken | undefined> {
  const file = join(folder, TIKTOKEN_FILE);
  const text = await readSideText(file);
  if (text === undefined) return undefined;
  const tokens = ranksOf(text, file);
  const ids = new Map(tokens.map((t, id) => [t, id]));
  const merges = rankedMerges(ids, tokens);
  const byteOf = (c: string): number => {
    const id = ids.get(c);
    if (id !== undefined) return id;
    const byte = `0x${BYTE_CHARS.indexOf(c).toString(16)}`;
    const others = BYTE_CHARS.filter((b) => !ids.has(b)).length - 1;
    const why = `the text has the byte ${byte}, and the vocabulary no token for it, nor for ${others} other bytes`;
    throw diagnostics.badTiktoken({ why }, place(file));
  };
  const encode = (piece: string): number[] => {
    const whole = ids.get(piece);
    return whole === undefined ? mergeAll(Array.from(piece, byteOf), merges) : [whole];
  };
  const { pattern, warnings } = await patternIn(folder, settings);
  let split: PreTokenizer;
  try {
    split = splitAt(compile(rewritePattern(pattern)), "Isolated");
  } catch (e) {
    throw diagnostics.badTiktoken(
      { why: `the pattern beside it is none that JavaScript can run: ${(e as Error).message}` },
      place(file),
    );
  }
  return {
    vocabulary: { ids, encode: cached(encode) },
    split: (pieces) => {
      const texts = pieces.texts.flatMap(slices);
      return { texts: split({ texts, atStart: pieces.atStart }).texts.map(toByteText), atStart: pieces.atStart };
    },
    added: reservedOf(tokens.length, settings),
    warnings,
  };
}

/** Tokens as byte text, by rank. Ranks are 0, 1, 2, ... without a gap, for special tokens follow the last. */
function ranksOf(text: string, file: string): string[] {
  const tokens: string[] = [];
  const seen = new Set<string>();
  let at = 0;
  let count = 0;
  const fail = (why: string): never => {
    throw diagnostics.badTiktoken({ why }, spanAt(file, text, at));
  };
  for (const line of text.split("\n")) {
    const m = /^([A-Za-z0-9+/]+={0,2}) (\d{1,8})\s*$/.exec(line);
    if (m) {
      const [, base64, number] = m;
      const bytes = base64.length % 4 === 0 ? Buffer.from(base64, "base64") : fail("a token is base64, and this is cut short");
      const rank = Number(number);
      const token = Array.from(bytes, (b) => BYTE_CHARS[b]).join("");
      if (rank >= MOST_IDS) fail(`the rank ${rank} is beyond any vocabulary`);
      if (tokens[rank] !== undefined) fail(`the rank ${rank} is given a second time`);
      if (seen.has(token)) fail("the token is given a second time");
      seen.add(token);
      tokens[rank] = token;
      count++;
    } else if (line.trim() !== "") fail("a line is a token in base64, a space and its rank");
    at += line.length + 1;
  }
  at = 0;
  if (count === 0) fail("it has no token");
  if (tokens.length !== count) fail(`it has ${count} tokens and ranks up to ${tokens.length - 1}: some are missing`);
  return tokens;
}

/** The pattern that a Python file beside the vocabulary gives as pat_str, or else Kimi's. */
async function patternIn(folder: string, { config }: Settings): Promise<{ pattern: string; warnings: Diagnostic[] }> {
  const names = (await readdir(folder).catch(() => [])).filter((n) => /^tokenization_\w+\.py$/.test(n)).toSorted();
  for (const name of names) {
    const list = /\bpat_str\s*=\s*"\|"\.join\(\s*\[([\s\S]*?)\]\s*\)/.exec((await readSideText(join(folder, name))) ?? "")?.[1];
    const parts = [...(list ?? "").matchAll(/r"""([\s\S]*?)"""/g)].map((m) => m[1]);
    if (parts.length) return { pattern: parts.join("|"), warnings: [] };
  }
  const known = config.tokenizer_class === "TikTokenTokenizer" || isKimi(config.auto_map);
  return { pattern: KIMI_PATTERN, warnings: known ? [] : [diagnostics.assumedPattern({ file: join(folder, TIKTOKEN_FILE) })] };
}

/** auto_map names the class of the tokenizer, as {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", null]}. */
function isKimi(autoMap: unknown): boolean {
  const named =
    typeof autoMap === "object" && autoMap !== null ? (autoMap as { AutoTokenizer?: unknown }).AutoTokenizer : undefined;
  return [named].flat().some((name) => typeof name === "string" && name.endsWith(".TikTokenTokenizer"));
}

/** The special tokens behind the vocabulary. */
function reservedOf(from: number, { numbered }: Settings): AddedToken[] {
  const given = new Map(numbered.map(({ id, token }) => [id, token]));
  const last = numbered.reduce((most, { id }) => Math.max(most, id + 1), from + RESERVED);
  if (last > MOST_IDS) numbered.at(-1)!.part.fail(`has an id beyond any vocabulary, which ends at ${MOST_IDS - 1}`);
  return Array.from({ length: last - from }, (_, i) => {
    const id = from + i;
    const token = given.get(id);
    const plain = { lstrip: false, rstrip: false, singleWord: false, normalized: false };
    // Every one of them is found in a text; only those the file calls special are left out of decoded text.
    return { id, content: token?.content ?? `<|reserved_token_${id}|>`, special: token?.special ?? false, ...plain };
  });
}

/** Most characters that are split as one text, and the longest run of white space or of anything else in it. */
const LONGEST_TEXT = 400_000;
const LONGEST_RUN = 25_000;

const isSpace = (c: string): boolean => /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/.test(c);

/** The model's own code cuts a text that is longer, or has longer runs, before it is split. */
function slices(text: string): string[] {
  if (text.length <= LONGEST_RUN) return [text];
  const out: string[] = [];
  let from = 0;
  let at = 0;
  let chars = 0;
  let run = 0;
  let wasSpace: boolean | undefined;
  for (const c of text) {
    const space = isSpace(c);
    run = space === wasSpace ? run + 1 : 1;
    if (run > LONGEST_RUN || chars % LONGEST_TEXT === 0) {
      if (at > from) out.push(text.slice(from, at));
      from = at;
      run = 1;
    }
    wasSpace = space;
    at += c.length;
    chars++;
  }
  return [...out, text.slice(from)];
}
