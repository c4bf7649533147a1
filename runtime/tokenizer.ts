// Text to ids and back, from the files beside a model: tokenizer.json, or tiktoken.model where there is none, and what
// tokenizer_config.json, special_tokens_map.json and added_tokens.json say of special tokens. The package that translates
// patterns is loaded on first use only, so that ids in, ids out needs no tokenizer at all.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Diagnostic } from "../ir/diagnostic.ts";
import { text as checkText } from "./arguments.ts";
import * as diagnostics from "./diagnostics.ts";
import { parseSideJson, readSideText, type Part } from "./side-file.ts";
import { AddedTokens, isControl, type AddedToken } from "./tokenizer/added.ts";
import { decoderOf, decodingOf, type Decoder, type TextOfIds } from "./tokenizer/decode.ts";
import { normalizerOf, type Normalizer } from "./tokenizer/normalize.ts";
import type { CompilePattern } from "./tokenizer/pattern.ts";
import { aroundOf, type Around } from "./tokenizer/post.ts";
import { readSettings, specOf, type Settings } from "./tokenizer/settings.ts";
import { preTokenizerOf, type PreTokenizer } from "./tokenizer/split.ts";
import { readTiktoken } from "./tokenizer/tiktoken.ts";
import { vocabularyOf, type PackageModels, type Vocabulary } from "./tokenizer/vocabulary.ts";

/** Options of `Tokenizer.encode`. */
export interface EncodeOptions {
  /** Add what the tokenizer puts around a text by itself, such as a leading <bos> (default: true). */
  special?: boolean;
  /** Take the names of control tokens for these tokens (default: true); false makes them the text they are written in. */
  control?: boolean;
  /** A text made by `hide` with this mark: what is hidden stays text, everything else is as `control` says. */
  mark?: string;
}

/** A checkpoint's tokenizer: text to ids and back. */
export interface Tokenizer {
  /** The folder it was read from. */
  readonly folder: string;
  /** Ids of a text. */
  encode(text: string, options?: EncodeOptions): number[];
  /** The text of ids; special tokens are left out unless `special`. Bytes that are no UTF-8 become U+FFFD. */
  decode(ids: readonly number[], options?: { special?: boolean }): string;
  /** The text of ids as they come, whole characters at a time. */
  stream(options?: { special?: boolean }): TextOfIds;
  /** The id of a token such as "<｜User｜>". */
  id(token: string): number | undefined;
  /** The text with `mark`, which must not stand in it, inside all that would be a control token. */
  hide(text: string, mark: string): string;
  /** What `encode` puts around a text unless `special` is false. */
  readonly around: Readonly<Around>;
  /** tokenizer_config.json, with the special tokens of special_tokens_map.json where those count. */
  readonly config: Record<string, unknown>;
  /** What its files leave open or contradict. */
  readonly warnings: readonly Diagnostic[];
}

/** What a vocabulary file gives, of either format. */
interface Parts {
  vocabulary: Vocabulary;
  normalize: Normalizer | undefined;
  split: PreTokenizer;
  decoder: Decoder;
  /** What the file itself puts around a text; undefined where it leaves that to tokenizer_config.json. */
  around: Around | undefined;
  added: AddedToken[];
  warnings: Diagnostic[];
}

interface TokenizerPackage extends PackageModels {
  compile: CompilePattern;
}

/** What is used of the package beside its main class; its type declarations do not resolve for ES modules. */
interface PackageExports extends PackageModels {
  SplitPreTokenizer: new (config: object) => { pattern: RegExp };
}

async function loadPackage(): Promise<TokenizerPackage> {
  const loaded = (await import("@huggingface/tokenizers").catch((e: Error) => {
    throw diagnostics.noTokenizerPackage({ why: e.message });
  })) as unknown as PackageExports;
  const { SplitPreTokenizer, Unigram, WordPiece } = loaded;
  return { compile: (Regex) => new SplitPreTokenizer({ pattern: { Regex } }).pattern, Unigram, WordPiece };
}

/** Reads the tokenizer of a folder. Throws DSC5050 where there is none, DSC5070 to DSC5072 where a file cannot be used. */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  checkText("loadTokenizer", "folder", folder, "a folder with tokenizer.json or tiktoken.model");
  const file = join(folder, "tokenizer.json");
  const text = await readSideText(file);
  const settings = await readSettings(folder);
  const tools = await loadPackage();
  if (text !== undefined) return assemble(folder, settings, partsOfJson(parseSideJson(text, file), settings, tools));
  const tiktoken = await readTiktoken(folder, settings, tools.compile);
  if (tiktoken === undefined) throw diagnostics.noTokenizer({ folder, why: await whatIsThere(folder) });
  return assemble(folder, settings, { ...tiktoken, normalize: undefined, decoder: "bytes", around: undefined });
}

/** Why a folder has no tokenizer: vocabularies of other kinds are named. */
async function whatIsThere(folder: string): Promise<string> {
  const none = "it has neither tokenizer.json nor tiktoken.model";
  const names = await readdir(folder).catch(() => []);
  const other = names
    .toSorted()
    .find((n) =>
      /^(?:tokenizer|spiece|sentencepiece.*)\.model$|^(?:vocab\.json|merges\.txt|vocab\.txt|tekken\.json)$|\.tiktoken$/.test(n),
    );
  if (other === undefined) return none;
  return `${none}; it has ${other}, of which transformers makes tokenizer.json: AutoTokenizer.from_pretrained(".").save_pretrained(".")`;
}

function partsOfJson(part: Part, settings: Settings, tools: TokenizerPackage): Parts {
  part.object();
  const vocabulary = vocabularyOf(part.get("model"), tools);
  const { compile } = tools;
  const listed = part.get("added_tokens");
  const added = (listed.given ? listed.list() : []).map((p) => ({ ...specOf(p, { special: false }), id: p.get("id").whole() }));
  return {
    vocabulary,
    normalize: normalizerOf(part.get("normalizer"), compile),
    split: preTokenizerOf(part.get("pre_tokenizer"), compile),
    decoder: decoderOf(part.get("decoder"), compile),
    around: aroundOf(part.get("post_processor")),
    ...addMissing(added, vocabulary.ids, settings),
  };
}

/** Tokens that only tokenizer_config.json or an older file names: their id is the vocabulary's, the one they say, or the next. */
function addMissing(
  listed: AddedToken[],
  ids: ReadonlyMap<string, number>,
  { numbered }: Settings,
): Pick<Parts, "added" | "warnings"> {
  const added = [...listed];
  const warnings: Diagnostic[] = [];
  const contents = new Set(added.map((t) => t.content));
  const taken = new Set([...ids.values(), ...added.map((t) => t.id)]);
  for (const { id: said, token, part } of numbered) {
    if (contents.has(token.content)) continue;
    const id = ids.get(token.content) ?? (taken.has(said) ? nextId(taken) : said);
    if (id !== said)
      warnings.push(
        diagnostics.tokenMoved(
          {
            content: token.content,
            said,
            got: id,
            why: ids.has(token.content) ? "it is in the vocabulary" : "another token has that id",
          },
          part.span(),
        ),
      );
    added.push({ ...token, id });
    contents.add(token.content);
    taken.add(id);
  }
  return { added, warnings };
}

function nextId(taken: Iterable<number>): number {
  let most = -1;
  for (const id of taken) most = Math.max(most, id);
  return most + 1;
}

/** Tokens with a name are special, and are found in a text, whether or not the vocabulary file says so. */
function nameTokens(added: AddedToken[], ids: ReadonlyMap<string, number>, { named }: Settings): void {
  for (const { token } of named) {
    const known = added.find((t) => t.content === token.content);
    if (known) known.special = true;
    else if (token.content !== "") {
      const id = ids.get(token.content) ?? nextId([...ids.values(), ...added.map((t) => t.id)]);
      added.push({ ...token, normalized: false, id });
    }
  }
}

function assemble(
  folder: string,
  settings: Settings,
  { vocabulary, normalize, split, decoder, around: own, added: list, warnings }: Parts,
): Tokenizer {
  nameTokens(list, vocabulary.ids, settings);
  const added = new AddedTokens(list, normalize);
  const idOf = (token: string): number | undefined => added.byContent.get(token)?.id ?? vocabulary.ids.get(token);
  const around = own ?? aroundByFlags(settings, idOf);
  const barred = new Set(list.filter(isControl).map((t) => t.id));
  const texts = new Map([...vocabulary.ids].map(([token, id]) => [id, token]));
  const decoding = (special: boolean): ReturnType<typeof decodingOf> =>
    decodingOf(decoder, (id) => {
      const token = added.byId.get(id);
      if (token) return token.special && !special ? undefined : { text: added.shown.get(id)!, added: true };
      const text = texts.get(id);
      return text === undefined ? undefined : { text, added: false };
    });
  const [plain, whole] = [decoding(false), decoding(true)];
  const encodeText = (text: string, mark: string | undefined): number[] => {
    const ids: number[] = [];
    for (const section of added.split(text)) {
      if (typeof section === "number") ids.push(section);
      else {
        const shown = mark === undefined ? section.text : section.text.replaceAll(mark, "");
        for (const piece of split({ texts: [shown], atStart: section.atStart }).texts)
          for (const id of vocabulary.encode(piece, barred)) ids.push(id);
      }
    }
    return ids;
  };
  return {
    folder,
    encode: (text, { special = true, control = true, mark } = {}) => {
      const free = control || mark !== undefined ? mark : freeMark([text]);
      const ids = encodeText(control || mark !== undefined ? text : added.hide(text, free!), free);
      return special ? [...around.before, ...ids, ...around.after] : ids;
    },
    decode: (ids, { special = false } = {}) => (special ? whole : plain).decode(ids),
    stream: ({ special = false } = {}) => (special ? whole : plain).stream(),
    id: idOf,
    hide: (text, mark) => added.hide(text, mark),
    around,
    config: settings.config,
    warnings,
  };
}

/** add_bos_token and add_eos_token of tokenizer_config.json. */
function aroundByFlags({ named, addBos, addEos }: Settings, idOf: (token: string) => number | undefined): Around {
  const ids = (name: string, wanted: boolean): number[] => {
    const token = named.find((n) => n.name === name)?.token.content;
    const id = token === undefined ? undefined : idOf(token);
    return wanted && id !== undefined ? [id] : [];
  };
  return { before: ids("bos_token", addBos), after: ids("eos_token", addEos) };
}

/** A character that stands in none of the texts, of those that Unicode says are no characters. */
export function freeMark(texts: readonly string[]): string {
  for (let code = 0xfdd0; ; code = code === 0xfdef ? 0xe000 : code + 1) {
    const mark = String.fromCharCode(code);
    if (!texts.some((t) => t.includes(mark))) return mark;
  }
}
