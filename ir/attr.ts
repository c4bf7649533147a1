// Attributes of ops: plain values with a kind, a default, and a text form. A node's attributes always hold every
// declared key, in declaration order, so that equal meanings have equal text.

/** A value of an attribute. */
export type AttrValue = number | string | boolean | readonly (number | string)[];
/** Attributes of a node, every declared key in its order. */
export type Attrs = Readonly<Record<string, AttrValue>>;

/** The kind of an attribute: what values it takes, and its default. */
export interface AttrKind<T extends AttrValue = AttrValue> {
  kind: "f32" | "int" | "word" | "bool" | "list";
  initial?: T;
  /** Words allowed, for kind "word". */
  choices?: readonly string[];
}

/** A kind with a default: the key may be left out. */
export type Defaulted<T extends AttrValue> = AttrKind<T> & { initial: T };

/** The values of declared attributes, by key: what a node of the op has. */
export type AttrValues<A> = { readonly [K in keyof A]: A[K] extends AttrKind<infer T> ? T : never };

/** What a builder is given: words as any text (`infer` refuses those that are no choice), keys with a default or without. */
export type AttrsGiven<A> = { [K in keyof A as A[K] extends Defaulted<AttrValue> ? never : K]: Loose<A[K]> } & {
  [K in keyof A as A[K] extends Defaulted<AttrValue> ? K : never]?: Loose<A[K]>;
};
type Loose<K> = K extends AttrKind<infer T> ? (T extends string ? string : T) : never;

type Numbers = readonly (number | string)[];

/** With a default, or without: two kinds, since the key is then required. */
function declared<T extends AttrValue>(kind: AttrKind["kind"]): { (): AttrKind<T>; (initial: T): Defaulted<T> } {
  return (initial?: T): Defaulted<T> => ({ kind, ...(initial === undefined ? {} : { initial }) }) as Defaulted<T>;
}

function word(): AttrKind<string>;
function word<const C extends string>(choices: readonly C[]): AttrKind<C>;
function word<const C extends string>(choices: readonly C[], initial: NoInfer<C>): Defaulted<C>;
function word(choices?: readonly string[], initial?: string): AttrKind<string> {
  return { kind: "word", ...(choices ? { choices } : {}), ...(initial === undefined ? {} : { initial }) };
}

/** Declares attributes: `attr.f32(1e-6)`, `attr.int()`, `attr.word(["f32", "ue8m0"], "f32")`. Without a default the key is required. */
export const attr = {
  f32: declared<number>("f32"),
  int: declared<number>("int"),
  bool: declared<boolean>("bool"),
  list: declared<Numbers>("list"),
  word,
};

/** "?eps", a hole in the pattern of a rule: it fits any kind. A function has none (ir/verify.ts). */
export const isHole = (v: unknown): v is `?${string}` => typeof v === "string" && v.startsWith("?");

/** Why a value does not fit its kind, or null. */
export function attrProblem(kind: AttrKind<AttrValue>, v: AttrValue | undefined): string | null {
  if (v === undefined) return "is required";
  if (isHole(v)) return null;
  const ok =
    kind.kind === "f32"
      ? typeof v === "number"
      : kind.kind === "int"
        ? Number.isInteger(v)
        : kind.kind === "bool"
          ? typeof v === "boolean"
          : kind.kind === "word"
            ? typeof v === "string"
            : Array.isArray(v);
  if (!ok) return `must be ${kind.kind === "word" ? "a word" : `of kind ${kind.kind}`}, got ${JSON.stringify(v)}`;
  if (kind.choices && !kind.choices.includes(v as string))
    return `must be one of ${kind.choices.join(", ")}, got ${JSON.stringify(v)}`;
  return null;
}

/** "{eps = 1e-6, scale = ue8m0}"; empty when there is nothing to say. */
export function printAttrs(attrs: Attrs, kinds: Record<string, AttrKind<AttrValue>>): string {
  const parts = Object.entries(attrs)
    .filter(([k, v]) => kinds[k]?.initial === undefined || printAttr(kinds[k].initial!) !== printAttr(v))
    .map(([k, v]) => `${k} = ${printAttr(v)}`);
  return parts.length ? ` {${parts.join(", ")}}` : "";
}

function printAttr(v: AttrValue): string {
  if (Array.isArray(v)) return `[${v.map((x) => printAttr(x)).join(", ")}]`;
  if (typeof v === "string") return /^[A-Za-z_][\w.>/-]*$/.test(v) && !["true", "false"].includes(v) ? v : JSON.stringify(v);
  return String(v);
}

/** Reads what `printAttrs` wrote (without braces); undefined when malformed. */
export function parseAttrs(text: string): Record<string, AttrValue> | undefined {
  const out: Record<string, AttrValue> = {};
  const re = /\s*([A-Za-z_]\w*)\s*=\s*(\[[^\]]*\]|"(?:[^"\\]|\\.)*"|[^,{}[\]]+)\s*(,|$)/y;
  let at = 0;
  let good = true;
  const scalar = (raw: string): number | string | boolean => scalarOf(raw) ?? ((good = false), raw);
  while (at < text.length) {
    re.lastIndex = at;
    const m = re.exec(text);
    if (!m) return undefined;
    const raw = m[2].trim();
    out[m[1]] = raw.startsWith("[")
      ? raw.slice(1, -1).trim() === ""
        ? []
        : (raw
            .slice(1, -1)
            .split(",")
            .map((x) => scalar(x.trim())) as (number | string)[])
      : scalar(raw);
    at = re.lastIndex;
    if (m[3] === "" && at < text.length) return undefined;
    if (m[3] === "") break;
  }
  return good ? out : undefined;
}

/** Undefined for a string with a broken escape, or more after its end. */
function scalarOf(raw: string): number | string | boolean | undefined {
  if (raw === "true") return true;
  if (raw === "false") return false;
  if (raw.startsWith('"')) {
    try {
      return JSON.parse(raw) as string;
    } catch {
      return undefined;
    }
  }
  return /^[-+]?(\d|\.\d|Infinity|NaN)/.test(raw) && !Number.isNaN(Number(raw)) ? Number(raw) : raw;
}
