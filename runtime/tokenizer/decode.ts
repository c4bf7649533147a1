// Ids to text. Byte-level vocabularies give bytes, and a stream of them gives characters as they become whole; other decoders
// change tokens one after another, and a stream compares the text of some ids with that of one more.
import type { Part } from "../side-file.ts";
import { fromByteText, lossyDecoder, utf8 } from "./bytes.ts";
import { patternOf, type CompilePattern } from "./pattern.ts";
import { markOf, prependSchemeOf } from "./split.ts";

/** The text of ids as they come: `push` gives what is new, `end` what was held back. */
export interface TextOfIds {
  push(id: number): string;
  end(): string;
}

export interface Decoding {
  decode(ids: readonly number[]): string;
  stream(): TextOfIds;
}

/** How tokens become text: as bytes, or by steps over a list of tokens. */
export type Decoder = "bytes" | ((tokens: string[]) => string[]);

const KINDS = [
  "Sequence",
  "ByteLevel",
  "Replace",
  "ByteFallback",
  "Fuse",
  "Strip",
  "Metaspace",
  "WordPiece",
  "BPEDecoder",
  "CTC",
] as const;

/** The decoder that a part of tokenizer.json describes. */
export function decoderOf(part: Part, compile: CompilePattern): Decoder {
  // The library puts a space between tokens where there is no decoder.
  if (!part.given) return (tokens) => tokens.map((t, i) => (i ? ` ${t}` : t));
  const kind = part.kind(KINDS);
  if (kind === "ByteLevel") return "bytes";
  if (kind !== "Sequence") return stepOf(part, kind, compile);
  const parts = part.get("decoders").list();
  const real = parts.filter((p) => p.kind(KINDS) !== "Fuse");
  if (real.length === 1 && real[0].kind(KINDS) === "ByteLevel") return "bytes";
  const steps = parts.map((p) => {
    const step = decoderOf(p, compile);
    return step === "bytes" ? byteStep : step;
  });
  return (tokens) => steps.reduce((t, step) => step(t), tokens);
}

const byteStep = (tokens: string[]): string[] => {
  const decoder = lossyDecoder();
  return [tokens.map((t) => decoder.decode(bytesOf(t), { stream: true })).join("") + decoder.decode()];
};

const bytesOf = (token: string): Uint8Array => fromByteText(token) ?? utf8(token);

function stepOf(
  part: Part,
  kind: Exclude<(typeof KINDS)[number], "Sequence" | "ByteLevel">,
  compile: CompilePattern,
): (tokens: string[]) => string[] {
  switch (kind) {
    case "Replace": {
      const pattern = patternOf(part.get("pattern"), compile);
      const content = part.get("content").text();
      return (tokens) => tokens.map((t) => t.replace(pattern, () => content));
    }
    case "ByteFallback":
      return byteFallback;
    case "Fuse":
      return (tokens) => [tokens.join("")];
    case "Strip": {
      const [content, start, stop] = [part.get("content").text(), part.get("start").whole(), part.get("stop").whole()];
      return (tokens) => tokens.map((t) => strip(t, content, start, stop));
    }
    case "Metaspace": {
      const [mark, scheme] = [markOf(part), prependSchemeOf(part)];
      return (tokens) =>
        tokens.map((t, i) => {
          const text = t.replaceAll(mark, " ");
          return i === 0 && scheme !== "never" && text.startsWith(" ") ? text.slice(1) : text;
        });
    }
    case "WordPiece": {
      const prefix = part.get("prefix").textOr("##");
      return (tokens) => tokens.map((t, i) => (i === 0 ? t : t.startsWith(prefix) ? t.slice(prefix.length) : ` ${t}`));
    }
    case "BPEDecoder": {
      const suffix = part.get("suffix").textOr("</w>");
      return (tokens) => tokens.map((t, i) => (suffix === "" ? t : t.replaceAll(suffix, i + 1 < tokens.length ? " " : "")));
    }
    case "CTC":
      return part.get("type").fail('is "CTC": a decoder of speech, which text models do not have');
  }
}

function strip(text: string, content: string, start: number, stop: number): string {
  const chars = Array.from(text);
  let from = 0;
  while (from < start && chars[from] === content) from++;
  let to = chars.length;
  while (to > from && chars.length - to < stop && chars[to - 1] === content) to--;
  return chars.slice(from, to).join("");
}

const byteOf = (token: string): number | undefined =>
  /^<0x[0-9A-Fa-f]{2}>$/.test(token) ? parseInt(token.slice(3, 5), 16) : undefined;

/** Tokens such as <0xE6> are bytes; a run of them is text together. */
function byteFallback(tokens: string[]): string[] {
  const out: string[] = [];
  let run: number[] = [];
  const flush = (): void => {
    if (run.length) out.push(lossyDecoder().decode(Uint8Array.from(run)));
    run = [];
  };
  for (const t of tokens) {
    const byte = byteOf(t);
    if (byte !== undefined) run.push(byte);
    else {
      flush();
      out.push(t);
    }
  }
  flush();
  return out;
}

/** Decodes by `decoder`, over tokens by id: undefined is left out. */
export function decodingOf(decoder: Decoder, token: (id: number) => { text: string; added: boolean } | undefined): Decoding {
  if (decoder === "bytes") return byteDecoding(token);
  const decode = (ids: readonly number[]): string => decoder(ids.flatMap((id) => token(id)?.text ?? [])).join("");
  return { decode, stream: () => new Windowed(decode, (id) => byteOf(token(id)?.text ?? "") !== undefined) };
}

function byteDecoding(token: (id: number) => { text: string; added: boolean } | undefined): Decoding {
  const known = new Map<number, Uint8Array>();
  const bytes = (id: number): Uint8Array => {
    let b = known.get(id);
    if (b === undefined) {
      const t = token(id);
      b = t === undefined ? new Uint8Array(0) : t.added ? utf8(t.text) : bytesOf(t.text);
      known.set(id, b);
    }
    return b;
  };
  const stream = (): TextOfIds => {
    const decoder = lossyDecoder();
    return { push: (id) => decoder.decode(bytes(id), { stream: true }), end: () => decoder.decode() };
  };
  return {
    stream,
    decode: (ids) => {
      const s = stream();
      return ids.map((id) => s.push(id)).join("") + s.end();
    },
  };
}

/** Ids that are decoded again with every new one, for the text of an id can depend on those before it. */
const CONTEXT = 8;

class Windowed implements TextOfIds {
  private readonly decode: (ids: readonly number[]) => string;
  private readonly isByte: (id: number) => boolean;
  private ids: number[] = [];
  /** Characters of the text of `ids` that were given out. */
  private shown = 0;

  constructor(decode: (ids: readonly number[]) => string, isByte: (id: number) => boolean) {
    this.decode = decode;
    this.isByte = isByte;
  }

  push(id: number): string {
    this.ids.push(id);
    const text = this.decode(this.ids);
    // Bytes of a character that are not whole yet decode to one U+FFFD; a real one comes with whatever follows it.
    const whole = text.endsWith("\ufffd") ? text.length - 1 : text.length;
    const fresh = text.slice(this.shown, whole);
    this.shown = Math.max(this.shown, whole);
    if (whole === text.length && this.ids.length >= 2 * CONTEXT) this.forget();
    return fresh;
  }

  end(): string {
    const fresh = this.decode(this.ids).slice(this.shown);
    this.shown += fresh.length;
    return fresh;
  }

  /** Keeps the last ids, from one on that is no byte: a run of bytes is one text, and its middle none. */
  private forget(): void {
    let from = this.ids.length - CONTEXT;
    while (from > 0 && this.isByte(this.ids[from])) from--;
    this.ids = this.ids.slice(from);
    this.shown = this.decode(this.ids).length;
  }
}
