// What the files beside a vocabulary say of its special tokens: tokenizer_config.json, special_tokens_map.json and
// added_tokens.json, read as transformers 5 reads them. The two older files count only where tokenizer_config.json has no
// added_tokens_decoder; the map then wins over tokenizer_config.json.
import { join } from "node:path";
import { Part, readSideJson } from "../side-file.ts";
import type { AddedToken } from "./added.ts";

/** A token as such a file writes it: a text, or an object with flags. */
export type TokenSpec = Omit<AddedToken, "id">;

export interface Settings {
  /** tokenizer_config.json, with what special_tokens_map.json lays over it. */
  config: Record<string, unknown>;
  /** Tokens with an id in added_tokens_decoder or added_tokens.json, by id, each with where it was said. */
  numbered: { id: number; token: TokenSpec; part: Part }[];
  /** Tokens known by name or as additional ones: each is special. */
  named: { name: string; token: TokenSpec; part: Part }[];
  addBos: boolean;
  addEos: boolean;
}

/** bos_token and its like; other keys that end so name tokens of one model. */
const NAMED = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const isName = (key: string): boolean => /^\w+_token$/.test(key) && !key.startsWith("add_");

/** Reads the files of a folder; none of them has to be there. */
export async function readSettings(folder: string): Promise<Settings> {
  const config = await readSideJson(join(folder, "tokenizer_config.json"));
  const map = await readSideJson(join(folder, "special_tokens_map.json"));
  const added = await readSideJson(join(folder, "added_tokens.json"));
  const decoder = config?.get("added_tokens_decoder");
  const said = new Map<string, Part>(config?.entries() ?? []);
  if (!decoder?.given) for (const [key, part] of map?.entries() ?? []) said.set(key, part);
  const named = namedOf(said);
  const numbered = decoder?.given
    ? decoder.entries().map(([id, part]) => ({ id: idOf(id, part), token: specOf(part, { special: false }), part }))
    : (added?.entries() ?? []).map(([content, part]) => {
        const special = named.some((n) => n.token.content === content);
        return { id: part.whole(), token: spec(content, { special }), part };
      });
  return {
    config: Object.fromEntries([...said].map(([key, part]) => [key, part.value])),
    numbered: numbered.toSorted((a, b) => a.id - b.id),
    named,
    addBos: said.get("add_bos_token")?.flag(false) ?? false,
    addEos: said.get("add_eos_token")?.flag(false) ?? false,
  };
}

function namedOf(said: ReadonlyMap<string, Part>): Settings["named"] {
  const named: Settings["named"] = [];
  for (const [name, part] of said) {
    // A key of another model may end in _token and hold no token; those all models share hold one.
    const token = typeof part.value === "string" || part.get("content").given;
    if (isName(name) && part.given && (NAMED.includes(name) || token))
      named.push({ name, token: specOf(part, { special: true }), part });
  }
  const extra = said.get("extra_special_tokens")?.given
    ? said.get("extra_special_tokens")
    : said.get("additional_special_tokens");
  if (!extra?.given) return named;
  const parts = Array.isArray(extra.value) ? extra.list().map((p) => ["", p] as [string, Part]) : extra.entries();
  return [...named, ...parts.map(([name, part]) => ({ name, token: specOf(part, { special: true }), part }))];
}

const idOf = (key: string, part: Part): number => (/^\d{1,9}$/.test(key) ? Number(key) : part.fail("has a key that is no id"));

const spec = (content: string, flags: { special: boolean }): TokenSpec => ({
  content,
  lstrip: false,
  rstrip: false,
  singleWord: false,
  normalized: !flags.special,
  special: flags.special,
});

/** Reads a token; what it does not say of itself is as `flags` say. */
export function specOf(part: Part, flags: { special: boolean }): TokenSpec {
  if (typeof part.value === "string") return spec(part.value, flags);
  part.object();
  const special = part.get("special").flag(flags.special);
  return {
    content: part.get("content").text(),
    lstrip: part.get("lstrip").flag(false),
    rstrip: part.get("rstrip").flag(false),
    singleWord: part.get("single_word").flag(false),
    normalized: part.get("normalized").flag(!special),
    special: special || flags.special,
  };
}
