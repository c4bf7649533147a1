// The files around a model: read whole, as UTF-8, and never waited for. A file that is not there is undefined; one that is there
// and cannot be used is a diagnostic with its name and the place in it. Values are taken through a Part, which knows its path.
import { place, type DiagnosticError, type Span } from "../ir/diagnostic.ts";
import { findInJson, scanJson, spanAt, type JsonPath } from "../ir/json.ts";
import * as diagnostics from "./diagnostics.ts";
import { readRegular } from "./files.ts";
import { shownJson } from "./shown.ts";

/** The largest published tokenizer.json has 35 MB; a checkpoint given by mistake is turned away before it is read. */
const MOST_BYTES = 512 << 20;

/** Words of a path to a part that may hold more such parts. */
const DEEPEST = 64;

/** The diagnostic of a file that cannot be used, at a place in it. */
export type Unusable = (data: { why: string }, span: Span) => DiagnosticError;

/** The text of a file beside a model, without a byte order mark unless `keepMark`; undefined where there is no file. */
export async function readSideText(
  path: string,
  unusable: Unusable = diagnostics.badSideFile,
  keepMark = false,
): Promise<string | undefined> {
  const bytes = await readSideBytes(path, unusable);
  if (bytes === undefined) return undefined;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: keepMark }).decode(bytes);
  } catch {
    throw unusable({ why: "it is not UTF-8 text" }, place(path));
  }
  if (text.startsWith("version https://git-lfs.github.com/spec/"))
    throw unusable({ why: "it is a pointer of Git LFS: the file itself was not fetched (git lfs pull)" }, spanAt(path, text, 0));
  return text;
}

async function readSideBytes(path: string, unusable: Unusable): Promise<Uint8Array | undefined> {
  try {
    return await readRegular(path, MOST_BYTES);
  } catch (e) {
    const { code, message } = e as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unusable({ why: message }, place(path));
  }
}

/** A JSON file that holds an object; undefined where there is no such file. */
export async function readSideJson(path: string, unusable: Unusable = diagnostics.badSideFile): Promise<Part | undefined> {
  const text = await readSideText(path, unusable);
  if (text === undefined) return undefined;
  const part = parseSideJson(text, path, unusable);
  part.object();
  return part;
}

/** The value of a JSON text that stands in `file`. */
export function parseSideJson(text: string, file: string, unusable: Unusable = diagnostics.badSideFile): Part {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    const { from, to, problem } = scanJson(text, {}) ?? { from: 0, to: 1, problem: (e as Error).message };
    throw unusable({ why: `it is not JSON: ${problem}` }, spanAt(file, text, from, to));
  }
  return new Part({ file, text, unusable }, value, []);
}

interface Source {
  file: string;
  text: string;
  unusable: Unusable;
}

/** A value of a JSON file with the path that leads to it; every way to read it refuses another type with its place. */
export class Part {
  readonly value: unknown;
  private readonly path: JsonPath;
  private readonly source: Source;

  constructor(source: Source, value: unknown, path: JsonPath) {
    this.source = source;
    this.value = value;
    this.path = path;
  }

  get file(): string {
    return this.source.file;
  }

  /** "model.merges[3]"; empty for the whole file. */
  get name(): string {
    return this.path
      .map((p, i) => (typeof p === "number" ? `[${p}]` : /^\w+$/.test(p) ? `${i ? "." : ""}${p}` : `[${shownJson(p)}]`))
      .join("");
  }

  /** Where the value stands, or what it would stand in. */
  span(): Span {
    const { file, text } = this.source;
    for (let n = this.path.length; n >= 0; n--) {
      const range = findInJson(text, this.path.slice(0, n));
      if (range) return spanAt(file, text, range.from, range.to);
    }
    return place(file);
  }

  fail(why: string): never {
    throw this.source.unusable({ why: this.name === "" ? why : `${this.name} ${why}` }, this.span());
  }

  /** Refuses the value: it must be what `wanted` says. */
  wrong(wanted: string): never {
    return this.fail(
      this.value === undefined ? `is missing; it must be ${wanted}` : `is ${shownJson(this.value)}; it must be ${wanted}`,
    );
  }

  get(key: string): Part {
    const v =
      typeof this.value === "object" && this.value !== null && Object.hasOwn(this.value, key)
        ? (this.value as Record<string, unknown>)[key]
        : undefined;
    return new Part(this.source, v, [...this.path, key]);
  }

  /** There is a value, and it is not null. */
  get given(): boolean {
    return this.value !== undefined && this.value !== null;
  }

  object(): Record<string, unknown> {
    if (typeof this.value !== "object" || this.value === null || Array.isArray(this.value)) this.wrong("an object");
    return this.value as Record<string, unknown>;
  }

  /** The members of an object, each with its key. */
  entries(): [string, Part][] {
    return Object.entries(this.object()).map(([k, v]) => [k, new Part(this.source, v, [...this.path, k])]);
  }

  list(): Part[] {
    if (!Array.isArray(this.value)) this.wrong("a list");
    return (this.value as unknown[]).map((v, i) => new Part(this.source, v, [...this.path, i]));
  }

  text(): string {
    if (typeof this.value !== "string") this.wrong("a text");
    return this.value as string;
  }

  textOr<T>(otherwise: T): string | T {
    return this.given ? this.text() : otherwise;
  }

  flag(otherwise: boolean): boolean {
    if (!this.given) return otherwise;
    if (typeof this.value !== "boolean") this.wrong("true or false");
    return this.value as boolean;
  }

  /** A number of which `holds` is true; `wanted` says so in words. */
  number(holds: (n: number) => boolean, wanted: string): number {
    if (typeof this.value !== "number" || !holds(this.value)) return this.wrong(wanted);
    return this.value;
  }

  whole(least = 0): number {
    return this.number((n) => Number.isSafeInteger(n) && n >= least, `a whole number from ${least} up`);
  }

  /** The word of `known` that names what this is, as its member "type". */
  kind<K extends string>(known: readonly K[]): K {
    this.object();
    if (this.path.length > DEEPEST) this.fail("is nested deeper than any tokenizer is");
    const type = this.get("type");
    const word = type.text();
    if (!known.includes(word as K)) throw diagnostics.unknownPart({ name: type.name, word, known }, type.span());
    return word as K;
  }
}
