// Reads what ir/print.ts writes. Widths are checked while parsing, on the line that made the mismatch.
import { parseAttrs, type AttrValue } from "./attr.ts";
import type { Piece, Share, Source } from "./artifact.ts";
import { DiagnosticError, didYouMean, type Span } from "./diagnostic.ts";
import { opMismatch, parseError, unknownOp, unknownValue, wrongType } from "./diagnostics.ts";
import { Graph, type Func, type Module, type NamedValue, type Region, type Value, type WeightDecl } from "./graph.ts";
import { parseMesh, type Mesh } from "./mesh.ts";
import { described, make, type Op } from "./op.ts";
import { opByName, opNamed } from "./ops/index.ts";
import { call, param, weight } from "./ops/module.ts";
import { dtypes, isDType } from "./dtype.ts";
import { placesOf } from "./places.ts";
import { MOST_AXES, openAxis, asTensor, parseType, printType, type Type } from "./types.ts";

/** A piece of a weight's source: where it goes, which rows, columns or part of a tensor it is, the tensor, and that of its scales. */
const PIECE = new RegExp(
  [
    /^(?:\[([^\]]*)\] )?/,
    /(?:rows (\d+)\.\.(\d+) )?(?:columns (\d+)\.\.(\d+) )?/,
    /(?:share ((?:(?:experts|rows|columns)\/(?:tp|ep|etp) )+))?(?:part (\d+) of (\d+) (rows|columns) )?/,
    /("[^"]*")(?: scaled ("[^"]*"))?$/,
  ]
    .map((r) => r.source)
    .join(""),
);

/** Parses a module; throws a DiagnosticError at file:line:column. `file` is only for messages. */
export function parseModule(text: string, file = "<text>"): Module {
  return new Parser(text, file).module();
}

type Load = Module["load"][number];

/** %a, %b = op %x, @w {key = value} { (%p: type) -> : types */
const STATEMENT = /^((?:%[\w.]+(?:, )?)+) = (\w+)((?: [%@][\w./-]+,?)*)(?: \{([^{}]*)\})?( \{ \(.*\) ->)?(?:\s* : (.+))?$/;

/** A line of a body, in pieces: operands, the head of a region and types as they are written. */
interface Statement {
  names: string[];
  op: string;
  operands: string;
  attrs: Record<string, AttrValue>;
  region: string | undefined;
  types: string | undefined;
}

/** Regions inside regions: those of models nest two deep. */
const DEEPEST = 32;

class Parser {
  readonly #lines: string[];
  readonly #file: string;
  #at = 0;
  #depth = 0;
  readonly #graph = new Graph();
  readonly #weights = new Map<string, WeightDecl>();
  readonly #funcs = new Map<string, Func>();

  constructor(text: string, file: string) {
    this.#lines = text.split(/\r?\n/);
    this.#file = file;
  }

  #span(word?: string, label?: string): Span {
    const raw = this.#lines[Math.min(this.#at, this.#lines.length - 1)] ?? "";
    const found = word ? raw.indexOf(word) : raw.search(/\S/);
    const column = Math.max(0, found) + 1;
    return {
      file: this.#file,
      line: Math.min(this.#at, this.#lines.length - 1) + 1,
      column,
      length: word?.length ?? raw.trim().length,
      text: raw,
      label,
    };
  }

  #fail(problem: string, word?: string, help?: string): never {
    throw new DiagnosticError(parseError({ problem, help }, this.#span(word)));
  }

  /** The next line with something on it, without comment and surrounding space. */
  #peek(): string | undefined {
    for (; this.#at < this.#lines.length; this.#at++) {
      const line = stripComment(this.#lines[this.#at]).trim();
      if (line !== "") return line;
    }
    return undefined;
  }

  module(): Module {
    let name = "module";
    const entries: Record<string, string> = {};
    const load: Load[] = [];
    let mesh: Mesh | undefined;
    for (let line = this.#peek(); line !== undefined; line = this.#peek()) {
      let m: RegExpExecArray | null;
      if ((m = /^module (\S+)$/.exec(line))) name = m[1];
      else if ((m = /^mesh \{(.*)\}$/.exec(line))) mesh = this.#mesh(m[1]);
      else if (line.startsWith("@")) this.#weight(line);
      else if (line.startsWith("func ")) {
        const f = this.#func(line);
        this.#funcs.set(f.name, f);
        continue;
      } else if ((m = /^entry (\w+) = @(\S+)$/.exec(line))) {
        if (!this.#funcs.has(m[2]))
          throw new DiagnosticError(
            unknownValue({ name: "@" + m[2], near: didYouMean(m[2], this.#funcs.keys()) }, this.#span("@" + m[2])),
          );
        entries[m[1]] = m[2];
        placesOf(this.#graph).entries.set(m[1], this.#span());
      } else if (line.startsWith("load ")) load.push(this.#load(line));
      else
        this.#fail(
          "expected a weight, a function, an entry or a load line",
          undefined,
          "lines begin with @name, func, entry or load",
        );
      this.#at++;
    }
    const first = [...this.#funcs.keys()].at(-1) ?? "";
    return {
      name,
      graph: this.#graph,
      weights: this.#weights,
      funcs: this.#funcs,
      entries: {
        prefill: entries.prefill ?? first,
        extend: entries.extend ?? first,
        decode: entries.decode ?? first,
        ...(entries.draft ? { draft: entries.draft } : {}),
      },
      load,
      ...(mesh ? { mesh } : {}),
    };
  }

  /** mesh {tp = 8, ep = 2} */
  #mesh(text: string): Mesh {
    try {
      return parseMesh(text, "mesh");
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      return this.#fail(e.diagnostics[0].title, text, "a mesh is: mesh {tp = 8}, or mesh {tp = 8, ep = 2}");
    }
  }

  #type(text: string): Type {
    const dtype = /^(?:cache )?\[[^\]]*\] (\S+)$/.exec(text.trim())?.[1];
    if (dtype !== undefined && !isDType(dtype)) {
      const near = didYouMean(dtype, dtypes);
      this.#fail(`${dtype} is not a dtype`, dtype, near ? `did you mean ${near}?` : `there are ${dtypes.join(", ")}`);
    }
    const type = parseType(text);
    if (!type) this.#fail(`${text.trim()} is not a type`, text.trim(), 'types look like "[T, 7168] bf16"');
    if (type!.kind === "tensor" && type!.dims.length > MOST_AXES)
      this.#fail(`a type has at most ${MOST_AXES} axes, and this one has ${type!.dims.length}`, text.trim());
    return type!;
  }

  #weight(line: string): void {
    const m = /^@(\S+) : (.+?)(?: layers (\d+\.\.\d+|\[[^\]]*\]))?(?: from (.*))?$/.exec(line);
    if (!m) this.#fail('a weight line is: @name : [dims] dtype layers 0..2 from "tensor"');
    const type = this.#type(m![2]);
    if (type.kind !== "tensor") this.#fail("a weight must be a tensor", m![2]);
    const open = openAxis(asTensor(type));
    if (open !== undefined) this.#fail(`the sizes of a weight are numbers, and ${open} is none`, m![2]);
    if (this.#weights.has(m![1])) this.#fail(`@${m![1]} is declared twice`, `@${m![1]}`);
    const layers = m![3] ? parseLayers(m![3]) : null;
    if (layers === undefined) this.#fail(`${m![3]} are no layers`, m![3], "layers are 3..60, or a list such as [0, 3]");
    this.#weights.set(m![1], {
      name: m![1],
      type: asTensor(type),
      layers: layers!,
      source: this.#source(m![4], m![1]),
      origin: [],
    });
  }

  /** load @load/w {layers = [0, 1]} -> w = @w.exact */
  #load(line: string): Load {
    const m =
      /^load @(\S+) \{layers = (\[[^\]]*\])\} -> (.*)$/.exec(line) ??
      this.#fail("a load line is: load @function {layers = [0, 1]} -> result = @weight");
    if (!this.#funcs.has(m[1]))
      throw new DiagnosticError(
        unknownValue({ name: "@" + m[1], near: didYouMean(m[1], this.#funcs.keys()) }, this.#span("@" + m[1])),
      );
    const layers = parseLayers(m[2]) ?? this.#fail(`${m[2]} are no layers`, m[2]);
    const writes = m[3].split(",").map((p): [string, string] => {
      const q = /^(\S+) = @(\S+)$/.exec(p.trim()) ?? this.#fail("what a load function writes is: result = @weight", p.trim());
      if (!this.#weights.has(q[2]))
        throw new DiagnosticError(
          unknownValue({ name: "@" + q[2], near: didYouMean(q[2], this.#weights.keys()) }, this.#span("@" + q[2])),
        );
      return [q[1], q[2]];
    });
    return { func: m[1], layers, writes: Object.fromEntries(writes) };
  }

  #source(text: string | undefined, name: string): Source {
    if (text === undefined) return { kind: "checkpoint", pieces: [{ at: [], tensor: name }] };
    try {
      if (text.startsWith("rope "))
        return { kind: "rope", ...(JSON.parse(text.slice(5)) as { invFreq: number[]; factor: number }) };
      if (text.startsWith("computed "))
        return { kind: "computed", ...(JSON.parse(text.slice(9)) as { by: string; result: string }) };
      const pieces = text.split(" + ").map((p): Piece => {
        const m = PIECE.exec(p)!;
        const at =
          m[1] === undefined
            ? []
            : m[1].split(",").map((x) => {
                const word = x.trim();
                return word === "*" || /^\d+\.\.\d+$/.test(word) ? (word as Piece["at"][number]) : Number(word);
              });
        return {
          at,
          ...(m[2] ? { rows: [Number(m[2]), Number(m[3])] } : {}),
          ...(m[4] ? { columns: [Number(m[4]), Number(m[5])] } : {}),
          ...(m[6] ? { share: shareOf(m[6]) } : {}),
          ...(m[7] ? { part: { of: m[9] as "rows" | "columns", index: Number(m[7]), count: Number(m[8]) } } : {}),
          tensor: JSON.parse(m[10]) as string,
          ...(m[11] ? { scales: JSON.parse(m[11]) as string } : {}),
        };
      });
      return { kind: "checkpoint", pieces };
    } catch {
      return this.#fail('a source is "tensor", rope {...} or computed {...}', text);
    }
  }

  #func(line: string): Func {
    const m = /^func @([\w./-]+)\((.*)\)(?: assume \{([^}]*)\})? \{$/.exec(line);
    if (!m) this.#fail("a function begins: func @name(%x: [T, 4] f32) {");
    const params: NamedValue[] = splitTop(m![2]).map((p) => {
      const q = /^%([\w.]+): (.+?)(?: from (\S+))?$/.exec(p.trim()) ?? this.#fail("a parameter is %name: type", p.trim());
      if (q[3] !== undefined && q[3] !== "ids")
        this.#fail(`a step brings no ${q[3]}`, q[3], "a parameter that a step brings along is: %ids: [T] i32 from ids");
      return { name: q[1], value: param(this.#graph, q[1], this.#type(q[2]), q[3] === "ids" ? q[3] : undefined) };
    });
    if (this.#funcs.has(m![1])) this.#fail(`@${m![1]} is defined twice`, `@${m![1]}`);
    placesOf(this.#graph).funcs.set(m![1], this.#span(`@${m![1]}`));
    const assume = Object.fromEntries(
      (m![3] ?? "")
        .split(",")
        .filter((p) => p.includes("="))
        .map((p) => [p.split("=")[0].trim(), Number(p.split("=")[1])]),
    );
    for (const [k, v] of Object.entries(assume))
      if (!Number.isFinite(v)) this.#fail(`${k} is assumed to be no number`, k, "sizes are assumed as {T = 16, B = 16}");
    const scope = new Map(params.map((p) => ["%" + p.name, p.value]));
    this.#at++;
    const end = this.#body(scope, "return");
    const results = splitTop(end).map((r): NamedValue => {
      const q = /^(?:([\w./]+) = )?([%@]\S+)$/.exec(r.trim());
      if (!q) this.#fail("return lists values: return y = %y", r.trim());
      return { name: q![1] ?? q![2].slice(1), value: this.#value(q![2], scope) };
    });
    this.#at++;
    if (this.#peek() !== "}") this.#fail("expected } after return");
    this.#at++;
    return { name: m![1], params, results, assume };
  }

  #value(word: string, scope: Map<string, Value>): Value {
    if (word.startsWith("@")) {
      const decl = this.#weights.get(word.slice(1));
      if (!decl)
        throw new DiagnosticError(
          unknownValue({ name: word, near: didYouMean(word.slice(1), this.#weights.keys()) }, this.#span(word)),
        );
      return weight(this.#graph, decl);
    }
    const v = scope.get(word);
    if (!v) throw new DiagnosticError(unknownValue({ name: word, near: didYouMean(word, scope.keys()) }, this.#span(word)));
    return v;
  }

  /** Statements up to `end`; gives the text after that word and stays on its line. */
  #body(scope: Map<string, Value>, end: string): string {
    for (let line = this.#peek(); ; line = this.#peek()) {
      if (line === undefined) this.#fail(`the text ends before ${end}`);
      if (line === end || line!.startsWith(end + " ")) return line!.slice(end.length).trim();
      const s = this.#statement(line!);
      if (s.op === "call") this.#call(s, scope);
      else this.#node(s, scope);
      this.#at++;
    }
  }

  #statement(line: string): Statement {
    const m = STATEMENT.exec(line) ?? this.#fail("a statement is: %y = op %x, @w {attr = 1} : type");
    const [, names, op, operands, attrs, region, types] = m;
    const read = parseAttrs(attrs ?? "");
    if (!read) this.#fail("attributes are {key = value, ...}", attrs);
    return { names: names.split(",").map((n) => n.trim()), op, operands, attrs: read!, region, types };
  }

  /** %y = call @function %a, %b {layer = 3} */
  #call({ names, operands, attrs, types }: Statement, scope: Map<string, Value>): void {
    const [name, ...words] = operands.trim().split(/[ ,]+/);
    const callee = this.#funcs.get(name.slice(1));
    if (!callee)
      throw new DiagnosticError(unknownValue({ name, near: didYouMean(name.slice(1), this.#funcs.keys()) }, this.#span(name)));
    const ins = words.map((w) => this.#value(w, scope));
    const out = Object.values(call(this.#graph, callee, ins, Number(attrs.layer ?? -1)));
    for (const v of out) this.#stands(v);
    this.#define(names, out, scope, types);
  }

  /** %y = op %a, @w {key = value}, with a region where the line opens one; stays on the last line. */
  #node(s: Statement, scope: Map<string, Value>): void {
    const at = this.#at;
    const op = opNamed(s.op);
    if (!op) throw new DiagnosticError(unknownOp({ name: s.op, near: didYouMean(s.op, opByName.keys()) }, this.#span(s.op)));
    this.#known(op, s.attrs);
    const words = s.operands
      .split(",")
      .map((a) => a.trim())
      .filter((a) => a !== "");
    const operands = words.map((w) => this.#value(w, scope));
    const inner = s.region ? this.#region(s.region, scope) : undefined;
    const stay = this.#at;
    this.#at = at;
    const problem = op!.infer(
      operands.map((o) => o.type),
      { ...defaults(op!.attrs), ...s.attrs },
      inner?.region,
    );
    if (typeof problem === "string")
      throw new DiagnosticError(
        opMismatch({ op: op!.name, problem, operands: operands.map(described) }, this.#span(words.at(-1))),
      );
    const results = make(op!, operands, s.attrs, inner?.region, this.#graph);
    this.#stands(results[0]);
    this.#at = stay;
    this.#define(s.names, results, scope, inner ? inner.types : s.types);
  }

  /** Refuses attributes that an op has not. */
  #known(op: Op, attrs: Record<string, AttrValue>): void {
    const strange = Object.keys(attrs).find((k) => !Object.hasOwn(op.attrs, k));
    if (strange === undefined) return;
    const near = didYouMean(strange, Object.keys(op.attrs));
    this.#fail(
      `${op.name} has no attribute ${strange}`,
      strange,
      near ? `did you mean ${near}?` : `dsc ops ${op.name} lists them`,
    );
  }

  /** { (%x: type) -> statements, yield, and on the line of its end the types of the results. */
  #region(head: string, scope: Map<string, Value>): { region: Region; types: string | undefined } {
    const inner = new Map(scope);
    const params = splitTop(/\((.*)\) ->$/.exec(head)![1]).map((p) => {
      const q = /^(%[\w.]+): (.+)$/.exec(p.trim()) ?? this.#fail("a parameter of a region is %name: type", p.trim());
      const v = param(this.#graph, q[1].slice(1), this.#type(q[2]));
      inner.set(q[1], v);
      return v;
    });
    if (++this.#depth > DEEPEST) this.#fail(`regions are nested more than ${DEEPEST} deep`);
    this.#at++;
    const yields = this.#body(inner, "yield");
    this.#depth--;
    const region = { params, results: yields.split(",").map((y) => this.#value(y.trim(), inner)) };
    this.#at++;
    const close = this.#peek() ?? "";
    if (!close.startsWith("}")) this.#fail("expected } after yield");
    return { region, types: /^\}(?:\s* : (.+))?$/.exec(close)?.[1] };
  }

  /** The line of a value's node; the first, where equal statements are one node. */
  #stands(v: Value | undefined): void {
    const { nodes } = placesOf(this.#graph);
    if (v && !nodes.has(v.node)) nodes.set(v.node, this.#span());
  }

  #define(names: string[], results: readonly Value[], scope: Map<string, Value>, types: string | undefined): void {
    if (names.length !== results.length) this.#fail(`${results.length} results, but ${names.length} names`, names[0]);
    const written = types ? splitTop(types) : [];
    for (const [i, n] of names.entries()) {
      if (written[i] !== undefined && written[i].trim() !== printType(results[i].type))
        throw new DiagnosticError(
          wrongType({ got: written[i].trim(), want: printType(results[i].type) }, this.#span(written[i].trim())),
        );
      if (scope.has(n)) this.#fail(`${n} is defined twice`, n);
      scope.set(n, results[i]);
      // "%4" is a number given while printing, not a name; so is what "%4.1" is a copy of.
      const hint = n.slice(1).replace(/\.\d+$/, "");
      if (!/^\d+$/.test(hint)) this.#graph.name(results[i], hint);
    }
  }
}

const defaults = (kinds: Readonly<Record<string, { initial?: AttrValue }>>): Record<string, AttrValue> =>
  Object.fromEntries(Object.entries(kinds).flatMap(([k, v]) => (v.initial === undefined ? [] : [[k, v.initial]])));

/** "experts/ep columns/etp" */
const shareOf = (words: string): Share =>
  Object.fromEntries(
    words
      .trim()
      .split(" ")
      .map((w) => w.split("/")),
  ) as Share;

/** Far above any model, far below what a list of them costs. */
const MOST_LAYERS = 100_000;

/** "3..60" or "[0, 3]"; undefined where it is neither. -1 stands for a function run once. */
function parseLayers(text: string): number[] | undefined {
  const run = /^(\d+)\.\.(\d+)$/.exec(text);
  const [from, to] = run ? [Number(run[1]), Number(run[2])] : [0, 0];
  if (run && (to < from || to > MOST_LAYERS)) return undefined;
  const layers = run
    ? Array.from({ length: to - from + 1 }, (_, i) => from + i)
    : text
        .slice(1, -1)
        .split(",")
        .filter((x) => x.trim() !== "")
        .map(Number);
  return layers.every((l) => Number.isSafeInteger(l) && l >= -1 && l <= MOST_LAYERS) ? layers : undefined;
}

function stripComment(line: string): string {
  const at = line.indexOf("//");
  return at < 0 ? line : line.slice(0, at);
}

/** Splits at commas outside brackets. */
function splitTop(text: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let from = 0;
  for (const [i, c] of [...text].entries()) {
    if (c === "[" || c === "(") depth++;
    else if (c === "]" || c === ")") depth--;
    else if (c === "," && depth === 0) {
      out.push(text.slice(from, i));
      from = i + 1;
    }
  }
  if (text.slice(from).trim() !== "") out.push(text.slice(from));
  return out;
}
