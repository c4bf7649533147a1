// Statements of a template: those of Jinja, break and continue of its loop controls, and the `generation` block that transformers adds,
// which marks what the assistant says and renders as what stands in it.
import { Fault } from "./errors.ts";
import { Lexer } from "./lexer.ts";
import type { Expr, Signature, Stmt, Target } from "./nodes.ts";
import { ExpressionParser } from "./parse-expression.ts";

/** Tags of Jinja that need other files or settings. */
const OTHER_FILES = ["extends", "include", "import", "from"];

class Parser extends ExpressionParser {
  private loops = 0;

  template(): Stmt[] {
    const body = this.body([]);
    if (this.token.kind !== "end") throw this.wrong(`unexpected ${this.seen()}`);
    return body;
  }

  /** Statements up to a tag that is one of `ends`, which is not taken. */
  private body(ends: readonly string[]): Stmt[] {
    return this.deeper(() => {
      const out: Stmt[] = [];
      for (;;) {
        const { kind, text, at } = this.token;
        if (kind === "end") {
          if (ends.length)
            throw this.wrong(`Unexpected end of template. Jinja was looking for ${ends.map((e) => `'${e}'`).join(" or ")}.`);
          return out;
        }
        if (kind === "text") {
          this.next++;
          out.push({ kind: "text", at, text });
        } else if (kind === "print") {
          this.next++;
          const of = this.tuple();
          this.expect("/print");
          out.push({ kind: "print", at, of });
        } else {
          if (ends.some((e) => this.is("name", e, 1))) return out;
          out.push(this.statement());
        }
      }
    });
  }

  /** A body, its closing tag, and the end of that. */
  private closed(end: string): Stmt[] {
    this.expect("/block");
    const body = this.body([end]);
    this.next += 2;
    this.expect("/block");
    return body;
  }

  private statement(): Stmt {
    const { at } = this.expect("block");
    const tag = this.expect("name").text;
    switch (tag) {
      case "for":
        return this.for(at);
      case "if":
        return this.if(at);
      case "set":
        return this.set(at);
      case "macro":
        return { kind: "macro", at, macro: this.macro(this.expect("name").text, "endmacro") };
      case "call":
        return this.callBlock(at);
      case "filter": {
        const filter = this.filter(undefined, true);
        return { kind: "filterblock", at, filter, body: this.closed("endfilter") };
      }
      case "with":
        return this.with(at);
      case "block":
        return this.block(at);
      case "generation":
        return { kind: "scope", at, body: this.closed("endgeneration") };
      case "break":
      case "continue":
        this.expect("/block");
        if (this.loops === 0) throw this.wrong(`'${tag}' outside loop`, at);
        return { kind: tag, at };
      case "autoescape":
        throw new Fault("unsupported", "{% autoescape %}", at);
    }
    if (OTHER_FILES.includes(tag))
      throw new Fault("unsupported", `{% ${tag} %} (a chat template is one file; transformers refuses it too)`, at);
    throw this.wrong(`Encountered unknown tag '${tag}'.`, at);
  }

  private for(at: Stmt["at"]): Stmt {
    const target = this.target("in");
    this.expect("name", "in");
    const over = this.tuple(false, false);
    const filter = this.skip("name", "if") ? this.expression() : undefined;
    const recursive = this.skip("name", "recursive");
    this.expect("/block");
    this.loops++;
    const body = this.body(["endfor", "else"]);
    this.loops--;
    this.next++;
    const otherwise = this.take().text === "else" ? this.closed("endfor") : (this.expect("/block"), []);
    return { kind: "for", at, target, over, filter, recursive, body, otherwise };
  }

  private if(at: Stmt["at"]): Stmt {
    const branches: [Expr, Stmt[]][] = [];
    for (;;) {
      const test = this.tuple(false, false);
      this.expect("/block");
      branches.push([test, this.body(["elif", "else", "endif"])]);
      this.next++;
      const tag = this.take().text;
      if (tag === "elif") continue;
      const otherwise = tag === "else" ? this.closed("endif") : (this.expect("/block"), []);
      return { kind: "if", at, branches, otherwise };
    }
  }

  private set(at: Stmt["at"]): Stmt {
    const target = this.target();
    if (this.skip("op", "=")) {
      const value = this.tuple();
      this.expect("/block");
      return { kind: "set", at, target, value };
    }
    const filter = this.op("|") ? this.filter(undefined) : undefined;
    return { kind: "capture", at, target, filter, body: this.closed("endset") };
  }

  /** `end` is the word that ends it, where there is one. */
  private target(end?: string): Target {
    const { at } = this.token;
    const items: Target[] = [];
    let several = false;
    while (!(end !== undefined && this.is("name", end)) && !this.op("=")) {
      if (this.op("(")) {
        this.next++;
        const inner = this.target();
        this.expect("op", ")");
        items.push(inner);
      } else {
        const t = this.expect("name");
        if (["true", "false", "none", "True", "False", "None"].includes(t.text))
          throw this.wrong(`can't assign to '${t.text}'`, t.at);
        if (this.skip("op", ".")) items.push({ kind: "attribute", at: t.at, of: t.text, name: this.expect("name").text });
        else items.push({ kind: "name", at: t.at, name: t.text });
      }
      if (!this.skip("op", ",")) break;
      several = true;
    }
    if (items.length === 0) throw this.wrong(`expected a name, got ${this.seen()}`);
    return several ? { kind: "several", at, items } : items[0];
  }

  /** Parameters in parentheses, and the body. */
  private macro(name: string, end: string): Signature {
    return { name, ...this.parameters(), body: this.outsideLoops(end) };
  }

  private parameters(): Pick<Signature, "params" | "defaults"> {
    const params: string[] = [];
    const defaults: Expr[] = [];
    this.expect("op", "(");
    while (!this.skip("op", ")")) {
      if (params.length) this.expect("op", ",");
      params.push(this.expect("name").text);
      if (this.skip("op", "=")) defaults.push(this.expression());
      else if (defaults.length) throw this.wrong("non-default argument follows default argument");
    }
    return { params, defaults };
  }

  /** A body that is a function of its own: break and continue do not reach out of it. */
  private outsideLoops(end: string): Stmt[] {
    const { loops } = this;
    this.loops = 0;
    const body = this.closed(end);
    this.loops = loops;
    return body;
  }

  private callBlock(at: Stmt["at"]): Stmt {
    const given = this.op("(") ? this.parameters() : { params: [], defaults: [] };
    const call = this.expression();
    if (call.kind !== "call") throw this.wrong("expected call", at);
    return { kind: "callblock", at, call, macro: { name: "caller", ...given, body: this.outsideLoops("endcall") } };
  }

  private with(at: Stmt["at"]): Stmt {
    const targets: Target[] = [];
    const values: Expr[] = [];
    while (this.token.kind !== "/block") {
      if (targets.length) this.expect("op", ",");
      const t = this.expect("name");
      targets.push({ kind: "name", at: t.at, name: t.text });
      this.expect("op", "=");
      values.push(this.expression());
    }
    return { kind: "with", at, targets, values, body: this.closed("endwith") };
  }

  private block(at: Stmt["at"]): Stmt {
    this.expect("name");
    this.skip("name", "scoped");
    if (this.skip("name", "required")) throw new Fault("unsupported", "a required block", at);
    this.expect("/block");
    const body = this.body(["endblock"]);
    this.next += 2;
    this.skip("name");
    this.expect("/block");
    return { kind: "scope", at, body };
  }
}

/** The tree of a template. Throws a `Fault` with its place. */
export const parse = (source: string): Stmt[] => new Parser(new Lexer(source).read()).template();
