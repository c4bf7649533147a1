// Writes the body of one kernel: a stack of open statement lists, fresh names, counted loops. A loop tests before its first turn, so an
// empty range does nothing.
import type { Owner } from "../../ir/kernel/owner.ts";
import { int, known, named, plus, constantOf, type Expr, type Stmt, type Type } from "./ir.ts";

export class Writer {
  readonly body: Stmt[] = [];
  #open: Stmt[] = this.body;
  readonly #names = new Map<string, number>();
  /** Registers that outlive the block that first writes them: declared where the kernel begins. */
  readonly registers: Stmt[] = [];

  constructor(taken: readonly string[]) {
    for (const name of taken) this.#names.set(name, 1);
  }

  /** A name that nothing has yet. */
  fresh(hint: string): string {
    const clean = hint.replace(/\W/g, "_");
    const seen = this.#names.get(clean) ?? 0;
    this.#names.set(clean, seen + 1);
    return seen ? this.fresh(`${clean}_${seen}`) : clean;
  }

  push(...stmts: Stmt[]): void {
    this.#open.push(...stmts);
  }

  note(text: string, tile?: Owner): void {
    this.push({ kind: "note", text, ...(tile ? { tile } : {}) });
  }

  /** A name for a value, unless it has one or is a constant. */
  keep(value: Expr, hint: string): Expr {
    if (value.kind === "name" || value.kind === "const") return value;
    const name = this.fresh(hint);
    this.push({ kind: "let", name, value });
    return named(name, value.type);
  }

  /** A register with its first value. */
  register(hint: string, value: Expr): Expr & { kind: "name" } {
    const name = this.fresh(hint);
    this.push({ kind: "var", name, value });
    return named(name, value.type);
  }

  /** A register of the whole kernel. */
  global(hint: string, type: Type): Expr & { kind: "name" } {
    const name = this.fresh(hint);
    this.registers.push({ kind: "var", name, value: constantOf(0, type) });
    return named(name, type);
  }

  set(to: Expr, value: Expr): void {
    if (to.kind !== "name") throw new TypeError("only a register can be set");
    this.push({ kind: "set", name: to.name, value });
  }

  #inside(write: () => void): Stmt[] {
    const outer = this.#open;
    const body: Stmt[] = [];
    this.#open = body;
    write();
    this.#open = outer;
    return body;
  }

  /** for (i = from; i < to; i += step). A single turn that is certain becomes no loop. */
  loop(hint: string, from: Expr, to: Expr, step: number, body: (i: Expr) => void): void {
    const [lo, hi] = [known(from), known(to)];
    if (lo !== undefined && hi !== undefined) {
      if (hi <= lo) return;
      if (lo + step >= hi) return body(from);
    }
    const end = this.keep(to, `${hint}_end`);
    const name = this.fresh(hint);
    this.push({ kind: "for", name, from, to: end, step, body: this.#inside(() => body(named(name, int(0).type))) });
  }

  /** if (cond) then; else otherwise. */
  when(cond: Expr, then: () => void, otherwise: () => void = () => {}): void {
    const value = known(cond);
    if (value !== undefined) return value ? then() : otherwise();
    const [yes, no] = [this.#inside(then), this.#inside(otherwise)];
    if (yes.length || no.length) this.push({ kind: "if", cond, then: yes, else: no });
  }
}

/** Numbers from `from` on, as indices after an index. */
export const run = (first: Expr, count: number): Expr[] => Array.from({ length: count }, (_, d) => plus(first, int(d)));
