// Expressions of a template, in Jinja's order of precedence.
import { Fault, type At } from "./errors.ts";
import { unescape, type Token, type TokenKind } from "./lexer.ts";
import type { Call, Expr } from "./nodes.ts";

/** Parentheses, operators and blocks inside each other, at most: deeper ones would end the stack. */
const DEPTH = 150;

const COMPARISONS = ["==", "!=", "<", "<=", ">", ">="];
const KEYWORD_VALUES: Readonly<Record<string, null | boolean>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};

export class ExpressionParser {
  protected readonly tokens: readonly Token[];
  protected next = 0;
  private depth = 0;

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
  }

  protected get token(): Token {
    return this.tokens[this.next];
  }

  protected is(kind: TokenKind, text?: string, ahead = 0): boolean {
    const t = this.tokens[Math.min(this.next + ahead, this.tokens.length - 1)];
    return t.kind === kind && (text === undefined || t.text === text);
  }

  protected op(text: string): boolean {
    return this.is("op", text);
  }

  protected take(): Token {
    return this.tokens[this.next++];
  }

  protected skip(kind: TokenKind, text?: string): boolean {
    if (!this.is(kind, text)) return false;
    this.next++;
    return true;
  }

  protected expect(kind: TokenKind, text?: string): Token {
    if (this.is(kind, text)) return this.take();
    throw this.wrong(`expected ${text === undefined ? said[kind] : `'${text}'`}, got ${this.seen()}`);
  }

  protected wrong(message: string, at: At = this.token.at): Fault {
    return new Fault("syntax", message, at);
  }

  protected seen(): string {
    const { kind, text } = this.token;
    return kind === "name" || kind === "op" || kind === "int" || kind === "float" ? `'${text}'` : said[kind];
  }

  protected deeper<T>(parse: () => T): T {
    if (++this.depth > DEPTH) throw new Fault("budget", `it nests more than ${DEPTH} expressions and blocks`, this.token.at);
    try {
      return parse();
    } finally {
      this.depth--;
    }
  }

  protected expression(withIf = true): Expr {
    return this.deeper(() => (withIf ? this.conditional() : this.or()));
  }

  private conditional(): Expr {
    const { at } = this.token;
    let then = this.or();
    while (this.skip("name", "if")) {
      const test = this.or();
      const otherwise = this.skip("name", "else") ? this.expression() : undefined;
      then = { kind: "if", at, test, then, otherwise };
    }
    return then;
  }

  private or(): Expr {
    let left = this.and();
    while (this.skip("name", "or")) left = { kind: "or", at: left.at, left, right: this.and() };
    return left;
  }

  private and(): Expr {
    let left = this.not();
    while (this.skip("name", "and")) left = { kind: "and", at: left.at, left, right: this.not() };
    return left;
  }

  private not(): Expr {
    if (!this.is("name", "not")) return this.compare();
    const { at } = this.take();
    return { kind: "not", at, of: this.deeper(() => this.not()) };
  }

  private compare(): Expr {
    const first = this.sum();
    const rest: [string, Expr][] = [];
    for (;;) {
      if (this.token.kind === "op" && COMPARISONS.includes(this.token.text)) rest.push([this.take().text, this.sum()]);
      else if (this.skip("name", "in")) rest.push(["in", this.sum()]);
      else if (this.is("name", "not") && this.is("name", "in", 1)) {
        this.next += 2;
        rest.push(["not in", this.sum()]);
      } else return rest.length ? { kind: "compare", at: first.at, first, rest } : first;
    }
  }

  private sum(): Expr {
    let left = this.concat();
    while (this.op("+") || this.op("-")) left = { kind: "binary", at: left.at, op: this.take().text, left, right: this.concat() };
    return left;
  }

  private concat(): Expr {
    const parts = [this.product()];
    while (this.skip("op", "~")) parts.push(this.product());
    return parts.length > 1 ? { kind: "concat", at: parts[0].at, parts } : parts[0];
  }

  private product(): Expr {
    let left = this.power();
    while (["*", "/", "//", "%"].some((o) => this.op(o)))
      left = { kind: "binary", at: left.at, op: this.take().text, left, right: this.power() };
    return left;
  }

  private power(): Expr {
    let left = this.unary();
    while (this.skip("op", "**")) left = { kind: "binary", at: left.at, op: "**", left, right: this.unary() };
    return left;
  }

  protected unary(filters = true): Expr {
    const { at } = this.token;
    let node: Expr;
    if (this.skip("op", "-")) node = { kind: "neg", at, of: this.deeper(() => this.unary(false)) };
    else if (this.skip("op", "+")) node = { kind: "pos", at, of: this.deeper(() => this.unary(false)) };
    else node = this.primary();
    node = this.postfix(node);
    return filters ? this.filters(node) : node;
  }

  protected primary(): Expr {
    const t = this.token;
    const { at } = t;
    if (t.kind === "name") {
      this.next++;
      return Object.hasOwn(KEYWORD_VALUES, t.text)
        ? { kind: "const", at, value: KEYWORD_VALUES[t.text] }
        : { kind: "name", at, name: t.text };
    }
    if (t.kind === "string") {
      let value = "";
      while (this.token.kind === "string") value += unescape(this.token.text, this.take().at);
      return { kind: "const", at, value };
    }
    if (t.kind === "int" || t.kind === "float") {
      this.next++;
      const digits = t.text.replaceAll("_", "");
      if (digits.length > 4300) throw this.wrong("a number of more than 4300 digits", at);
      return { kind: "const", at, value: t.kind === "int" ? BigInt(digits) : Number(digits) };
    }
    if (this.skip("op", "(")) {
      const inside = this.tuple(true);
      this.expect("op", ")");
      return inside;
    }
    if (this.skip("op", "[")) return { kind: "list", at, items: this.list("]") };
    if (this.skip("op", "{")) return this.dict(at);
    throw this.wrong(`unexpected ${this.seen()}`);
  }

  private list(close: string): Expr[] {
    const items: Expr[] = [];
    while (!this.op(close)) {
      if (items.length) this.expect("op", ",");
      if (this.op(close)) break;
      items.push(this.expression());
    }
    this.expect("op", close);
    return items;
  }

  private dict(at: At): Expr {
    const pairs: [Expr, Expr][] = [];
    while (!this.op("}")) {
      if (pairs.length) this.expect("op", ",");
      if (this.op("}")) break;
      const key = this.expression();
      this.expect("op", ":");
      pairs.push([key, this.expression()]);
    }
    this.expect("op", "}");
    return { kind: "dict", at, pairs };
  }

  /** One expression, or several with commas, which are a tuple. */
  protected tuple(parenthesised = false, withIf = true): Expr {
    const { at } = this.token;
    const items: Expr[] = [];
    let several = false;
    for (;;) {
      if (items.length) {
        if (!this.skip("op", ",")) break;
        several = true;
      }
      if (this.token.kind === "/print" || this.token.kind === "/block" || this.op(")") || this.is("name", "in")) break;
      items.push(this.expression(withIf));
    }
    if (!several && items.length) return items[0];
    if (items.length === 0 && !parenthesised) throw this.wrong(`Expected an expression, got ${this.seen()}`);
    return { kind: "tuple", at, items };
  }

  protected postfix(of: Expr): Expr {
    let node = of;
    for (;;) {
      const { at } = this.token;
      if (this.skip("op", ".")) {
        const t = this.take();
        if (t.kind === "name") node = { kind: "attribute", at: t.at, of: node, name: t.text };
        else if (t.kind === "int")
          node = { kind: "item", at, of: node, index: { kind: "const", at: t.at, value: BigInt(t.text.replaceAll("_", "")) } };
        else throw this.wrong("expected name or number", t.at);
      } else if (this.skip("op", "[")) node = this.subscript(node, at);
      else if (this.op("(")) node = { kind: "call", at: node.at, of: node, args: this.call() };
      else return node;
    }
  }

  private subscript(of: Expr, at: At): Expr {
    const items: Expr[] = [];
    while (!this.op("]")) {
      if (items.length) this.expect("op", ",");
      const start = this.op(":") ? undefined : this.expression();
      if (!this.skip("op", ":")) {
        items.push(start!);
        continue;
      }
      const stop = this.op(":") || this.op("]") || this.op(",") ? undefined : this.expression();
      const step = this.skip("op", ":") && !this.op("]") && !this.op(",") ? this.expression() : undefined;
      if (items.length || !this.op("]")) throw new Fault("unsupported", "a subscript of several parts", at);
      this.expect("op", "]");
      return { kind: "slice", at, of, start, stop, step };
    }
    if (items.length === 0) throw this.wrong("expected an expression in [ ]");
    this.expect("op", "]");
    return { kind: "item", at, of, index: items.length === 1 ? items[0] : { kind: "tuple", at, items } };
  }

  protected call(): Call {
    this.expect("op", "(");
    const args: Call = { list: [], named: [] };
    let first = true;
    while (!this.op(")")) {
      if (!first) this.expect("op", ",");
      first = false;
      if (this.op(")")) break;
      const { at } = this.token;
      if (this.skip("op", "**")) {
        if (args.spreadNamed) throw this.wrong("invalid syntax for function call expression", at);
        args.spreadNamed = this.expression();
      } else if (this.skip("op", "*")) {
        if (args.spread || args.spreadNamed) throw this.wrong("invalid syntax for function call expression", at);
        args.spread = this.expression();
      } else if (this.token.kind === "name" && this.is("op", "=", 1)) {
        if (args.spreadNamed) throw this.wrong("invalid syntax for function call expression", at);
        const name = this.take().text;
        this.next++;
        args.named.push([name, this.expression()]);
      } else {
        if (args.spread || args.spreadNamed || args.named.length)
          throw this.wrong("invalid syntax for function call expression", at);
        args.list.push(this.expression());
      }
    }
    this.expect("op", ")");
    return args;
  }

  private filters(of: Expr): Expr {
    let node = of;
    for (;;) {
      if (this.op("|")) node = this.filter(node);
      else if (this.is("name", "is")) node = this.test(node);
      else if (this.op("(")) node = { kind: "call", at: node.at, of: node, args: this.call() };
      else return node;
    }
  }

  /** One filter or a chain of them; `first` is already behind the bar. */
  protected filter(of: Expr | undefined, first = false): Expr {
    let node = of;
    for (let started = first; started || this.op("|"); started = false) {
      if (!started) this.next++;
      const { at } = this.token;
      const name = this.dotted();
      node = { kind: "filter", at, of: node, name, args: this.op("(") ? this.call() : { list: [], named: [] } };
    }
    return node!;
  }

  private dotted(): string {
    let name = this.expect("name").text;
    while (this.skip("op", ".")) name += `.${this.expect("name").text}`;
    return name;
  }

  private test(of: Expr): Expr {
    this.next++;
    const negated = this.skip("name", "not");
    const { at } = this.token;
    const name = this.dotted();
    let args: Call = { list: [], named: [] };
    if (this.op("(")) args = this.call();
    else if (
      ["name", "string", "int", "float"].includes(this.token.kind)
        ? !["else", "or", "and"].some((w) => this.is("name", w))
        : this.op("[") || this.op("{")
    ) {
      if (this.is("name", "is")) throw this.wrong("You cannot chain multiple tests with is");
      args.list.push(this.postfix(this.primary()));
    }
    return { kind: "test", at, of, name, args, negated };
  }
}

const said: Readonly<Record<TokenKind, string>> = {
  text: "text",
  block: "begin of statement block",
  "/block": "end of statement block",
  print: "begin of print statement",
  "/print": "end of print statement",
  name: "a name",
  string: "a string",
  int: "a number",
  float: "a number",
  op: "an operator",
  end: "end of template",
};
