// Writes one function: a stack of open statement lists, fresh locals with readable names, and counted loops.
// Loops compare signed and test before the first turn, so an empty range does nothing.
import { constant, get, i32, ins, plus, set, type Expr, type Local, type Stmt, type ValType, type WasmFunc } from "./wasm.ts";
import type { Temps } from "./math.ts";

export class Writer implements Temps {
  readonly func: WasmFunc;
  private open: Stmt[];
  private readonly names = new Map<string, number>();

  constructor(name: string, params: readonly (readonly [name: string, type: ValType])[], exported = true) {
    this.func = { name, params: [], result: null, locals: [], body: [], exported };
    this.open = this.func.body;
    for (const [n, type] of params) this.func.params.push({ name: this.fresh(n), type, index: this.func.params.length });
  }

  private fresh(hint: string): string {
    const clean = hint.replace(/[^A-Za-z0-9_.]/g, "_");
    const seen = this.names.get(clean) ?? 0;
    this.names.set(clean, seen + 1);
    return seen ? `${clean}.${seen}` : clean;
  }

  /** A parameter as an expression. */
  param(i: number): Expr {
    return get(this.func.params[i]);
  }

  local(type: ValType, hint: string): Local {
    const local = { name: this.fresh(hint), type, index: this.func.params.length + this.func.locals.length };
    this.func.locals.push(local);
    return local;
  }

  push(...stmts: Stmt[]): void {
    this.open.push(...stmts);
  }

  /** A comment above what follows; `ops` are of the statement that it is, and those around it of any other. */
  note(text: string, ops?: readonly string[]): void {
    this.open.push({ kind: "note", text, ...(ops ? { ops } : {}) });
  }

  /** Runs `write` with a new statement list open and gives that list. */
  inside(write: () => void): Stmt[] {
    const outer = this.open;
    const body: Stmt[] = [];
    this.open = body;
    write();
    this.open = outer;
    return body;
  }

  /** A local holding `value`. */
  define(hint: string, value: Expr): Local {
    const local = this.local(value.type!, hint);
    this.push(set(local, value));
    return local;
  }

  /** for (i = from; i < to; i += step): signed. `to` is evaluated once, before. A known single turn becomes no loop. */
  loop(hint: string, from: Expr, to: Expr, step: number | Expr, body: (i: Expr) => void): void {
    const [lo, hi] = [constant(from), constant(to)];
    const by = typeof step === "number" ? i32(step) : step;
    const width = constant(by);
    if (lo !== undefined && hi !== undefined) {
      if (hi <= lo) return;
      if (width !== undefined && lo + width >= hi) {
        body(from);
        return;
      }
    }
    const i = this.local("i32", hint);
    const end = hi !== undefined || to.op === "local.get" ? to : get(this.define(`${hint}_end`, to));
    this.push(set(i, from));
    const label = this.fresh(`for_${hint}`);
    const turn = this.inside(() => {
      body(get(i));
      this.push(set(i, plus(get(i), by)), { kind: "br", label, cond: ins("i32.lt_s", get(i), end) });
    });
    const run: Stmt = { kind: "loop", label, body: turn };
    // The first turn is certain where both ends are known.
    if (lo !== undefined && hi !== undefined) this.push(run);
    else this.push({ kind: "if", cond: ins("i32.lt_s", get(i), end), then: [run], else: [] });
  }

  /** if (cond) then; else otherwise. A constant condition keeps one branch. */
  when(cond: Expr, then: () => void, otherwise?: () => void): void {
    const known = constant(cond);
    if (known !== undefined) {
      if (known) then();
      else otherwise?.();
      return;
    }
    const yes = this.inside(then);
    const no = otherwise ? this.inside(otherwise) : [];
    if (yes.length || no.length) this.push({ kind: "if", cond, then: yes, else: no });
  }
}
