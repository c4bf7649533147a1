// Reads what ir/kernel/print.ts writes: a line a statement, blocks by indentation. The same kernel comes back, and
// prints the same. Words and brackets are complained of here; what a well-formed statement may mean is checked by
// ir/kernel/verify.ts, with the place.
import { DiagnosticError, lineSpan, type Span } from "../diagnostic.ts";
import { packed } from "./build.ts";
import { kernelText } from "./diagnostics.ts";
import { parseIndex, type Scope } from "./parse-expression.ts";
import type { Block } from "./parse-place.ts";
import { parseStatement } from "./parse-statement.ts";
import { Reader } from "./reader.ts";
import type { BufferParam, Index, Kernel, Stmt } from "./stmt.ts";
import { verifyKernel } from "./verify.ts";

/**
 * Parses one kernel; throws a DiagnosticError at file:line:column. `file` is only for messages. Text after a line of
 * `;;` is left.
 */
export function parseKernel(text: string, file = "<text>"): Kernel {
  const parser = new KernelParser(text, file);
  const kernel = parser.kernel();
  verifyKernel(kernel, parser.spanOf);
  return kernel;
}

const dtypes = ["f32", "bf16", "e4m3", "i32"] as const;

class KernelParser {
  readonly #lines: readonly string[];
  readonly #file: string;
  readonly #places = new Map<Stmt, number>();
  #at = 0;
  #head = 0;

  constructor(text: string, file: string) {
    const lines = text.split(/\r?\n/);
    const rest = lines.findIndex((l) => l.startsWith(";;"));
    [this.#lines, this.#file] = [rest < 0 ? lines : lines.slice(0, rest), file];
  }

  /** The place of a word of a statement, of the statement, or of the kernel's head. */
  readonly spanOf = (s: Stmt | undefined, word?: string): Span => {
    const line = (s && this.#places.get(s)) ?? this.#head;
    return lineSpan(this.#file, line + 1, this.#lines[line], word);
  };

  /** Moves to the next line with something on it; undefined at the end. */
  #line(): string | undefined {
    while (this.#at < this.#lines.length && this.#lines[this.#at].replace(/#.*/, "").trim() === "") this.#at++;
    return this.#lines[this.#at];
  }

  #reader(): Reader {
    if (this.#line() !== undefined) return new Reader(this.#file, this.#at + 1, this.#lines[this.#at]);
    return new Reader(this.#file, Math.max(1, this.#lines.length), this.#lines.at(-1) ?? "");
  }

  kernel(): Kernel {
    const first = this.#reader();
    if (!first.is("kernel")) first.fail(`expected kernel, found ${first.peek().text}`, "a text begins: kernel name(");
    this.#head = this.#at++;
    first.take();
    const name = first.name("the name of the kernel").text;
    first.expect("(", "after the name of the kernel");
    first.end();
    const from = this.#at;
    const dims = this.#dims(first);
    const body = this.#at;
    this.#at = from;
    const scope: Block = { kernel: name, params: this.#params(name, new Set(dims)), integers: new Set(dims), tiles: new Map() };
    this.#at = body;
    const stmts = this.#block(0, scope);
    if (this.#line() !== undefined) this.#reader().fail("expected a statement of the kernel, set in by two blanks");
    return { name, summary: this.#summary(), params: scope.params, dims, body: stmts };
  }

  /** The line that closes the head: sizes of parameters are made of the dims it names. */
  #dims(head: Reader): string[] {
    while (this.#line() !== undefined && !this.#lines[this.#at].trim().startsWith(")")) this.#at++;
    if (this.#line() === undefined)
      throw new DiagnosticError(
        kernelText(
          { problem: "the brackets of the parameters do not close", help: "after the parameters stands: ) dims m, n:" },
          head.whole(),
        ),
      );
    const close = this.#reader();
    close.take();
    const dims = close.skip("dims") ? names(close, "a dim") : [];
    close.expect(":", "after the head of the kernel");
    close.end();
    this.#at++;
    return dims;
  }

  /** The comment right above the head. */
  #summary(): string {
    const above = this.#lines.slice(0, this.#head).findLast((l) => l.startsWith("# "));
    return above?.slice(2) ?? "";
  }

  #params(kernel: string, integers: Set<string>): BufferParam[] {
    const params: BufferParam[] = [];
    // A shape may name a size that the kernel is not passed; strides are computed with.
    const [any, known]: Scope[] = [
      { kernel, tiles: new Map() },
      { kernel, integers, tiles: new Map() },
    ];
    for (let r = this.#reader(); !r.is(")"); r = this.#reader()) {
      const access =
        (r.is("out") || r.is("inout")) && r.peek(1).kind === "name" ? r.oneOf(["out", "inout"] as const, "out or inout") : "in";
      const name = r.name("a parameter, such as out y: f32[m, 128],").text;
      r.expect(":", "after the name of a parameter");
      const dtype = r.oneOf(dtypes, "a dtype");
      const shape = sizes(r, any);
      const strides = r.skip("strides") ? sizes(r, known) : packed(shape);
      r.expect(",", "after a parameter");
      r.end();
      params.push({ name, dtype, access, shape, strides });
      this.#at++;
    }
    return params;
  }

  /** Statements that stand deeper than `outer` blanks, all alike. */
  #block(outer: number, scope: Block): Stmt[] {
    const body: Stmt[] = [];
    let inset = -1;
    for (let line = this.#line(); line !== undefined; line = this.#line()) {
      const here = line.search(/\S/);
      if (here <= outer) break;
      if (inset < 0) inset = here;
      const r = this.#reader();
      if (here !== inset)
        r.fail(
          `this line is set in by ${here} blanks, those of its block by ${inset}`,
          "what belongs to one loop or condition begins in one column",
        );
      const at = this.#at++;
      const { stmt, integers } = parseStatement(r, scope);
      this.#places.set(stmt, at);
      body.push(stmt);
      if (!("body" in stmt)) for (const i of integers) scope.integers.add(i);
      else
        stmt.body.push(
          ...this.#block(inset, { ...scope, integers: new Set([...scope.integers, ...integers]), tiles: new Map(scope.tiles) }),
        );
    }
    return body;
  }
}

/** Names with commas. */
function names(r: Reader, what: string): string[] {
  const out = [r.name(what).text];
  while (r.skip(",")) out.push(r.name(what).text);
  return out;
}

/** [m, 128] */
function sizes(r: Reader, scope: Scope): Index[] {
  r.expect("[", "before the sizes");
  const out: Index[] = [];
  if (!r.is("]"))
    do out.push(parseIndex(r, scope));
    while (r.skip(","));
  r.expect("]", "after the sizes");
  return out;
}
