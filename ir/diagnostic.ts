// A diagnostic is made of data and places; all words of its code stand in one form. The CLI, tests and `dsc explain` render the
// same record. Each folder keeps its own `diagnostics.ts`, a value for each code: 1xxx configs, 2xxx graphs and tile programs,
// 3xxx passes, 4xxx targets, 5xxx the runtime, 6xxx the command line, 9xxx faults of dsc or of a plug-in.

/**
 * A place in a text: a config line, an IR line. Lines and columns count from 1; both are 0 where the place is a thing with a
 * name.
 */
export interface Span {
  file: string;
  line: number;
  column: number;
  /** Width of the underline in characters; 1 if absent. */
  length?: number;
  /** The whole text of the line, without its newline. */
  text?: string;
  /** What to say beside the underline. */
  label?: string;
}

/** What is wrong, or worth saying: words made of data, and the places they are about. */
export interface Diagnostic {
  severity: "error" | "warning" | "note";
  /** "DSC1204". Stable: users search for it and tests assert it. */
  code: string;
  title: string;
  spans: Span[];
  /** What was seen, what was expected, and where the expectation comes from. */
  notes: string[];
  /** One thing to try. */
  help?: string;
  /** What the words were made of: what another rendering starts from. */
  data: object;
}

/** All words of a code, in one place: the short form from its data, and the long one of `dsc explain` and docs/diagnostics.md. */
export interface Form<D> {
  /** The failure in a few words. */
  name: string;
  /** What was expected, and where the expectation comes from. */
  means: string;
  /** What gives it. A line that begins "$ " is a command that does, run from the root of the repository. */
  example: string;
  /** What to do. */
  fix: string;
  /** An error where absent. */
  severity?: Diagnostic["severity"];
  /** The places, where whoever makes it gives none. */
  at?: (data: D) => Span[];
  /** What to say beside the places that are given. */
  label?: (data: D) => string;
  short: (data: D, spans: readonly Span[]) => { title: string; notes?: readonly string[]; help?: string };
}

type Given<D> = {} extends D ? [data?: D, ...spans: (Span | undefined)[]] : [data: D, ...spans: (Span | undefined)[]];

/** A code that keeps its data: what is made of data and places, with all its words beside it. */
export interface Coded<D, Made = Diagnostic> {
  (...given: Given<D>): Made;
  readonly code: string;
  readonly form: Form<D>;
}

/** A code whose diagnostics are collected, shown or thrown by whoever makes them. */
export function coded<D extends object = {}>(code: string, form: Form<D>): Coded<D> {
  const make = (...[given, ...places]: Given<D>): Diagnostic => {
    const data = given ?? ({} as D);
    const told = places.filter((s) => s !== undefined).map((s) => (form.label ? { ...s, label: form.label(data) } : s));
    const spans = told.length ? told : (form.at?.(data) ?? []);
    const { title, notes = [], help } = form.short(data, spans);
    return {
      severity: form.severity ?? "error",
      code,
      title,
      spans,
      notes: [...notes],
      help,
      data: { ...data },
    };
  };
  return Object.assign(make, { code, form });
}

/** The same where there is one at a time: made to be thrown. */
export function thrown<D extends object = {}>(code: string, form: Form<D>): Coded<D, DiagnosticError> {
  const of = coded(code, form);
  return Object.assign((...given: Given<D>) => new DiagnosticError(of(...given)), { code, form });
}

/** The codes among the exports of a module, and in tables of them. */
export function codesIn(module: object): { code: string; form: Form<never> }[] {
  return Object.values(module).flatMap((v: unknown) => {
    if (typeof v === "function" && "code" in v && "form" in v) return [v as Coded<never>];
    return typeof v === "object" && v !== null ? codesIn(v) : [];
  });
}

/** Thrown when a stage ends with errors; carries every diagnostic of that stage, never a bare message. */
export class DiagnosticError extends Error {
  readonly diagnostics: Diagnostic[];
  constructor(diagnostics: Diagnostic | Diagnostic[]) {
    const list = Array.isArray(diagnostics) ? diagnostics : [diagnostics];
    super(list.map(render).join("\n"));
    this.name = "DiagnosticError";
    this.diagnostics = list;
  }

  /** The code of the first, such as "DSC5033". */
  get code(): string {
    return this.diagnostics[0]?.code ?? "";
  }
}

/** A place that is no line of a text: a binary file, a tensor, a function, a pass, an option. */
export const place = (name: string, label?: string): Span => ({
  file: name,
  line: 0,
  column: 0,
  ...(label === undefined ? {} : { label }),
});

/** The place of a word in a line of a text, where it stands there by itself; of the whole line, where no word is given or found. */
export function lineSpan(file: string, line: number, text: string, word?: string): Span {
  const found = word === undefined ? -1 : text.search(new RegExp(`(?<!\\w)${word.replace(/\W/g, "\\$&")}(?!\\w)`));
  if (found >= 0) return { file, line, column: found + 1, length: word!.length, text };
  return { file, line, column: Math.max(0, text.search(/\S/)) + 1, length: Math.max(1, text.trim().length), text };
}

/**
 * A text without the characters that steer a terminal: names in files of others may hold escape sequences, or turn the direction
 * of writing. Each is shown as one character of its own, so that columns stay.
 */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (c) => {
    const code = c.charCodeAt(0);
    return c === "\t" ? " " : code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
  });
}

/** The same for a note, which may have several lines. */
const lines = (text: string): string => text.split("\n").map(printable).join("\n");

/** The text a terminal shows, without colour: header, span with its line and underline, notes, help. */
export function render(d: Diagnostic): string {
  const out = [`${d.severity}[${d.code}]: ${printable(d.title)}`];
  for (const s of d.spans) {
    const margin = " ".repeat(String(s.line).length);
    out.push(`${margin}--> ${printable(s.file)}${s.line === 0 ? "" : `:${s.line}:${s.column}`}`);
    if (s.text !== undefined) {
      const underline = "^".repeat(Math.max(1, Math.min(s.length ?? 1, s.text.length - s.column + 1)));
      out.push(`${margin} |`, `${s.line} | ${printable(s.text)}`);
      out.push(`${margin} | ${" ".repeat(s.column - 1)}${underline}${s.label ? " " + printable(s.label) : ""}`);
    } else if (s.label) out.push(`${margin} = ${printable(s.label)}`);
  }
  for (const n of d.notes) out.push(`   = ${lines(n)}`);
  if (d.help) out.push(`   help: ${lines(d.help)}`);
  return out.join("\n");
}

/** The candidate nearest to `word` by edit distance, or undefined when none is near enough to suggest. */
export function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let distance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const c of candidates) {
    const d = editDistance(word.toLowerCase(), c.toLowerCase());
    if (d < distance) [best, distance] = [c, d];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, previous[j] + 1, row[j - 1] + 1));
    }
    previous = row;
  }
  return previous[b.length];
}
