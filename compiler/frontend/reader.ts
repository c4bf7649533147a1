// Typed access to the keys of a config. A value of the wrong kind or out of range becomes a finding and a harmless
// stand-in, so that one run reports many. Every look-up is noted: which keys a field of the spec came from is observed,
// never written down by hand.
import type { Diagnostic, Span } from "../../ir/diagnostic.ts";
import { inconsistent, unsupported, wrongKind } from "./diagnostics.ts";
import type { Json } from "./json.ts";
import type { Source } from "./source.ts";

/** Bounds of a whole number; a value outside is refused, for no size of any published model comes near. */
export interface Bounds {
  least?: number;
  most?: number;
}

/** Keys that wrapped configs keep beside text_config, or in it. */
export const OUTSIDE: readonly string[] = [
  "quantization_config",
  "torch_dtype",
  "dtype",
  "bos_token_id",
  "eos_token_id",
  "tie_word_embeddings",
];

export class Reader {
  readonly found: Diagnostic[];
  /** Full paths of keys that have no value and no published default. */
  readonly missing: Set<string>;
  /** Config keys behind each field, filled by `field`. */
  readonly keys: Record<string, string[]> = {};
  /** What the config has at those that are there, as JSON. */
  readonly values: Record<string, string> = {};
  readonly file: string;
  readonly prefix: string;
  readonly #source: Source;
  readonly #outer: Reader | undefined;
  #noted = new Map<string, boolean>();

  /** Reads below `prefix` ("text_config."); `outer` answers for keys that wrapped configs keep one level up. */
  constructor(source: Source, prefix = "", outer?: Reader) {
    this.#source = source;
    this.prefix = prefix;
    this.file = source.file;
    this.#outer = outer;
    this.found = outer?.found ?? [];
    this.missing = outer?.missing ?? new Set();
  }

  /** Runs `body` and records the keys it looked up as the origin of `name`: those present, or all when none is. */
  field<T>(name: string, body: () => T): T {
    const before = this.#noted;
    this.#noted = new Map();
    const value = body();
    const here = [...this.#noted.keys()];
    const present = here.filter((k) => this.#noted.get(k));
    this.keys[name] = [...new Set([...(this.keys[name] ?? []), ...(present.length ? present : here)])];
    // A field may be read within another, whose keys these are, too.
    for (const [k, is] of this.#noted) before.set(k, is);
    this.#noted = before;
    return value;
  }

  /** The value at a dotted path; undefined when absent. */
  raw(path: string): Json | undefined {
    const value = this.#look(path);
    // Origins name top-level keys: "rope_scaling" rather than each of its members.
    const key = this.prefix + path.split(".")[0];
    this.#noted.set(key, (this.#noted.get(key) ?? false) || value !== undefined);
    const whole = this.#look(path.split(".")[0]);
    if (whole !== undefined) this.values[key] ??= JSON.stringify(whole);
    return value;
  }

  #look(path: string): Json | undefined {
    let at: Json | undefined = this.#source.value;
    for (const k of (this.prefix + path).split(".")) {
      if (typeof at !== "object" || at === null || !Object.hasOwn(at, k)) return this.#outer?.shared(path);
      at = (at as { [key: string]: Json })[k];
    }
    return at;
  }

  /** What a wrapped model may find in the outer config. */
  shared(path: string): Json | undefined {
    return OUTSIDE.includes(path.split(".")[0]) ? this.#look(path) : undefined;
  }

  /** Whether a key has a value other than null. */
  has(path: string): boolean {
    const v = this.raw(path);
    return v !== undefined && v !== null;
  }

  /** Where the value stands: in the file, in --set, or in the outer config; for an absent one, where it should stand. */
  span(path: string): Span | undefined {
    const here = this.#source.spanOf(this.prefix + path) ?? (this.#outer ? this.#source.spanOf(path) : undefined);
    return here ?? this.#source.spanOf((this.prefix + path).split(".").slice(0, -1).join("."));
  }

  say(d: Diagnostic): void {
    this.found.push(d);
  }

  /** Whether one of the keys is missing, so that a rule about its stand-in would mean nothing. */
  lacks(...paths: string[]): boolean {
    return paths.some((p) => this.missing.has(this.prefix + p));
  }

  /** Reports a value that is well-formed, but that no compiled model can have. */
  refuse(path: string, rule: string, nearest: string): void {
    if (this.lacks(path)) return;
    this.say(unsupported({ key: this.prefix + path, got: show(this.raw(path)), rule, nearest }, this.span(path)));
  }

  /** Two keys for one thing must not say different things. */
  agree(a: string, b: string, same: (v: Json | undefined) => Json | undefined = (v) => v): void {
    if (!this.has(a) || !this.has(b) || same(this.raw(a)) === same(this.raw(b))) return;
    const [p, q] = [this.prefix + a, this.prefix + b];
    const rule = `"${p}" is ${show(this.raw(a))}, "${q}" is ${show(this.raw(b))}: two spellings of one setting`;
    this.say(inconsistent({ title: `"${p}" and "${q}" disagree`, rule, help: "remove one of the two" }, this.span(b)));
  }

  #kind(path: string, want: string): undefined {
    this.say(wrongKind({ key: this.prefix + path, want, got: show(this.raw(path)) }, this.span(path)));
    return undefined;
  }

  #lack<T>(path: string, standIn: T): T {
    this.missing.add(this.prefix + path);
    return standIn;
  }

  word(path: string): string | undefined {
    const v = this.raw(path);
    return v === undefined || v === null ? undefined : typeof v === "string" ? v : this.#kind(path, "a string");
  }

  list(path: string): Json[] | undefined {
    const v = this.raw(path);
    return v === undefined || v === null ? undefined : Array.isArray(v) ? v : this.#kind(path, "a list");
  }

  /** The members of an object at a path; undefined when absent or null. */
  members(path: string): string[] | undefined {
    const v = this.raw(path);
    if (v === undefined || v === null) return undefined;
    return typeof v === "object" && !Array.isArray(v) ? Object.keys(v) : this.#kind(path, "an object or null");
  }

  flag(path: string, initial: boolean): boolean {
    const v = this.raw(path);
    return v === undefined || v === null ? initial : typeof v === "boolean" ? v : (this.#kind(path, "true or false") ?? initial);
  }

  /** A finite number; without `initial` the key is required. */
  real(path: string, initial?: number): number {
    const v = this.raw(path);
    if (v === undefined || v === null) return initial ?? this.#lack(path, 1);
    return typeof v === "number" && Number.isFinite(v) ? v : (this.#kind(path, "a number") ?? initial ?? 1);
  }

  /** A whole number in bounds (from 1); without `initial` the key is required. */
  int(path: string, { least = 1, most = 2 ** 31 }: Bounds = {}, initial?: number): number {
    const v = this.raw(path);
    if (v === undefined || v === null) return initial ?? this.#lack(path, Math.max(least, 1));
    if (typeof v === "number" && Number.isInteger(v) && v >= least && v <= most) return v;
    if (typeof v === "number" && v > most)
      this.refuse(path, "no published model of this family comes near this size", String(most));
    else this.#kind(path, `a whole number of at least ${least}`);
    return initial ?? Math.max(least, 1);
  }

  /** A whole number where null and 0 both say "none"; the key itself is required unless `initial` is given. */
  intOrNone(path: string, bounds: Bounds = {}, initial?: null): number | null {
    const v = this.raw(path);
    if (v === undefined) return initial === null ? null : this.#lack(path, null);
    return v === null || v === 0 ? null : this.int(path, bounds);
  }
}

/** A value as a diagnostic quotes it: JSON, shortened. */
export function show(v: Json | undefined): string {
  const s = typeof v === "number" && !Number.isFinite(v) ? "a number too large" : (JSON.stringify(v) ?? "absent");
  return s.length > 40 ? s.slice(0, 37) + "..." : s;
}
