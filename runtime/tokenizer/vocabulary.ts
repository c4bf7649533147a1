// The model of a tokenizer.json: pieces to ids. BPE is our own (bpe.ts); Unigram and WordPiece are the tokenizers package's.
import type { Part } from "../side-file.ts";
import { MOST_IDS, listedMerges, mergeAll } from "./bpe.ts";

export interface Vocabulary {
  ids: Map<string, number>;
  /** The ids of a piece; `barred` are ids that no text may become. */
  encode(piece: string, barred: ReadonlySet<number>): number[];
}

/** Models of the package, as far as they are used. */
export interface PackageModels {
  Unigram: new (config: never, eos?: string) => { encode(pieces: string[]): string[]; unk_token_id?: number };
  WordPiece: new (config: never) => { encode(pieces: string[]): string[]; unk_token_id?: number };
}

const KINDS = ["BPE", "WordLevel", "Unigram", "WordPiece"] as const;

/** Reads `model` of a tokenizer.json. Files of old libraries name no type: one with merges is BPE. */
export function vocabularyOf(part: Part, models: PackageModels): Vocabulary {
  part.object();
  const kind = !part.get("type").given && part.get("merges").given ? "BPE" : part.kind(KINDS);
  if (kind === "Unigram") return unigram(part, models);
  const ids = idsOf(part.get("vocab"));
  if (kind === "BPE") return bpe(part, ids);
  const unknown = part.get("unk_token").textOr(kind === "WordPiece" ? "[UNK]" : "<unk>");
  const unk = ids.get(unknown);
  if (kind === "WordLevel") return { ids, encode: (piece) => [ids.get(piece) ?? unk].filter((id) => id !== undefined) };
  if (unk === undefined) part.get("unk_token").fail(`names ${JSON.stringify(unknown)}, which is not in vocab`);
  const inner = new models.WordPiece({ continuing_subword_prefix: "##", unk_token: unknown, ...part.object() } as never);
  return { ids, encode: (piece) => inner.encode([piece]).map((t) => ids.get(t) ?? unk!) };
}

function idsOf(part: Part): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [token, id] of Object.entries(part.object())) {
    if (typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < MOST_IDS) ids.set(token, id);
    else part.get(token).wrong(`a whole number from 0 to ${MOST_IDS - 1}`);
  }
  return ids;
}

function unigram(part: Part, models: PackageModels): Vocabulary {
  const ids = new Map<string, number>();
  for (const [i, entry] of part.get("vocab").list().entries()) {
    const [token, score] = entry.list();
    if (typeof token?.value !== "string" || typeof score?.value !== "number") entry.fail("must be a token and its score");
    ids.set(token.value as string, i);
  }
  if (part.get("byte_fallback").flag(false)) part.get("byte_fallback").fail("is true, which dsc does not do for a Unigram model");
  const unk = part.get("unk_id").given ? part.get("unk_id").whole() : undefined;
  if (unk === undefined || unk >= ids.size) part.get("unk_id").fail(`must be an id below ${ids.size}`);
  const inner = new models.Unigram(part.object() as never);
  const encode = (piece: string): number[] => {
    const all = inner.encode([piece]).map((t) => ids.get(t) ?? unk!);
    // What is unknown is one token, however long.
    return all.filter((id, i) => id !== unk || all[i - 1] !== unk);
  };
  return { ids, encode };
}

function bpe(part: Part, ids: Map<string, number>): Vocabulary {
  const prefix = part.get("continuing_subword_prefix").textOr("");
  const suffix = part.get("end_of_word_suffix").textOr("");
  const merges = listedMerges(mergesOf(part.get("merges"), ids, prefix));
  const ignoreMerges = part.get("ignore_merges").flag(false);
  const unknown = part.get("unk_token").textOr(undefined);
  const unk = unknown === undefined ? undefined : ids.get(unknown);
  if (unknown !== undefined && unk === undefined)
    part.get("unk_token").fail(`names ${JSON.stringify(unknown)}, which is not in vocab`);
  const options = {
    prefix,
    suffix,
    unk,
    fuseUnk: part.get("fuse_unk").flag(false),
    byteFallback: part.get("byte_fallback").flag(false),
  };
  const encode = (piece: string, barred: ReadonlySet<number>): number[] => {
    const whole = ignoreMerges ? ids.get(piece) : undefined;
    return whole !== undefined && !barred.has(whole) ? [whole] : mergeAll(symbolsOf(piece, ids, options), merges);
  };
  return { ids, encode: cached(encode) };
}

function mergesOf(part: Part, ids: ReadonlyMap<string, number>, prefix: string): [number, number, number][] {
  if (!Array.isArray(part.value)) part.list();
  // Not by Parts: there are hundreds of thousands.
  return (part.value as unknown[]).map((merge, i) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const at = (): Part => part.list()[i];
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string" || typeof pair[1] !== "string")
      return at().fail('must be two tokens, as "a b" or ["a", "b"]');
    const [left, right] = pair as [string, string];
    const merged = left + (prefix && right.startsWith(prefix) ? right.slice(prefix.length) : right);
    const of = (token: string): number => ids.get(token) ?? at().fail(`needs ${JSON.stringify(token)}, which is not in vocab`);
    return [of(left), of(right), of(merged)];
  });
}

interface SymbolOptions {
  prefix: string;
  suffix: string;
  unk: number | undefined;
  fuseUnk: boolean;
  byteFallback: boolean;
}

/** The ids of a piece's characters: bytes, the unknown token or nothing for those that have none. */
function symbolsOf(
  piece: string,
  ids: ReadonlyMap<string, number>,
  { prefix, suffix, unk, fuseUnk, byteFallback }: SymbolOptions,
): number[] {
  const out: number[] = [];
  const chars = Array.from(piece);
  let wasUnknown = false;
  for (const [i, char] of chars.entries()) {
    const id = ids.get((i > 0 ? prefix : "") + char + (i + 1 === chars.length ? suffix : ""));
    const bytes =
      id === undefined && byteFallback
        ? Array.from(new TextEncoder().encode(char), (b) => ids.get(`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`))
        : undefined;
    if (id !== undefined) out.push(id);
    else if (bytes?.every((b) => b !== undefined)) out.push(...bytes);
    else {
      if (unk !== undefined && !(fuseUnk && wasUnknown)) out.push(unk);
      wasUnknown = true;
      continue;
    }
    wasUnknown = false;
  }
  return out;
}

/** Pieces repeat: most of a text is words seen before. Long ones are not kept, and when many are kept they are let go. */
export function cached(encode: Vocabulary["encode"]): Vocabulary["encode"] {
  const known = new Map<string, number[]>();
  return (piece, barred) => {
    if (piece.length > 64) return encode(piece, barred);
    let ids = known.get(piece);
    if (ids === undefined) {
      ids = encode(piece, barred);
      if (known.size >= 1 << 16) known.clear();
      known.set(piece, ids);
    }
    return ids;
  };
}
