// A kernel of loops as a function of TIR: its arguments are numbers in a row, as launchers of C take them (codegen/c/library.ts), so that
// the runtime calls either library alike.
import type { Index, Kernel } from "../../ir/kernel/stmt.ts";
import { index, inScope } from "../loops/indices.ts";
import { i64, int, minus, named, plus, times, type Expr, type LoopKernel, type Memory, type Stmt } from "../loops/ir.ts";
import { BEGIN, END, SCRATCH } from "../loops/lower.ts";
import { called, expression, maskOf, nameOf, stored, type Place } from "./expression.ts";
import { across, binary, cast, int64, load, variable, withLanes, type TirExpr, type TirFunction, type TirStmt } from "./ir.ts";

class Lowering implements Place {
  readonly fma: boolean;
  readonly registers = new Set<string>();
  readonly #taken = new Map<string, number>();
  #open: TirStmt[] = [];

  constructor(fma: boolean, taken: Iterable<string>) {
    this.fma = fma;
    for (const name of taken) this.#taken.set(name, 1);
  }

  keep(hint: string, value: TirExpr): TirExpr {
    if (value.kind === "var" || value.kind === "const") return value;
    return this.#named(this.#fresh(hint), value);
  }

  /** A name for a value. TVM's analysis of names knows no masks: they are variables, lanes of 0 and 1. */
  #named(name: string, value: TirExpr): TirExpr {
    const { dtype } = value;
    if (!dtype.startsWith("boolx")) {
      this.#open.push({ kind: "bind", name, value });
      return variable(name, dtype);
    }
    this.#open.push({ kind: "register", name, value: cast(dtype.replace("bool", "int32"), value) });
    return maskOf(name, dtype);
  }

  #fresh(hint: string): string {
    const seen = this.#taken.get(hint) ?? 0;
    this.#taken.set(hint, seen + 1);
    return seen ? this.#fresh(`${hint}_${seen}`) : hint;
  }

  /** Statements that writing these takes. */
  block(list: readonly Stmt[]): TirStmt[] {
    return this.inside(() => list.forEach((s) => this.#statement(s)));
  }

  inside(write: () => void): TirStmt[] {
    const outer = this.#open;
    const made: TirStmt[] = [];
    this.#open = made;
    write();
    this.#open = outer;
    return made;
  }

  push(s: TirStmt): void {
    this.#open.push(s);
  }

  #statement(s: Stmt): void {
    switch (s.kind) {
      case "note":
        return this.push({ kind: "note", text: s.text, ...(s.tile ? { tile: s.tile } : {}) });
      case "let":
        return void this.#named(nameOf(s.name), expression(this, s.value));
      case "var": {
        const value = expression(this, s.value);
        this.registers.add(nameOf(s.name));
        return this.push({ kind: "register", name: nameOf(s.name), value });
      }
      case "set":
        return this.push({ kind: "set", name: nameOf(s.name), value: expression(this, s.value) });
      case "matrixRow":
      case "matrixProduct":
        throw new TypeError(`${s.kind}: processors of target tvm have no registers of tiles`);
      case "prefetch":
        // TVM has no word for it; it changes no value.
        return;
      case "store":
        return this.#store(s.to, expression(this, s.at), expression(this, s.value), s.value.type.lanes);
      case "for": {
        const [from, to] = [expression(this, s.from), expression(this, s.to)];
        return this.push({ kind: "for", name: nameOf(s.name), from, to, step: s.step, body: this.block(s.body) });
      }
      case "if": {
        const cond = expression(this, s.cond);
        return this.push({ kind: "if", cond, then: this.block(s.then), else: this.block(s.else) });
      }
    }
  }

  #store(to: Memory, at: TirExpr, value: TirExpr, lanes: number): void {
    const element = stored[to.element];
    const codes = to.element === "bf16" || to.element === "e4m3";
    const bits = codes
      ? cast(withLanes(element, lanes), called(this, `code_${to.element as "bf16" | "e4m3"}`, value, lanes))
      : value;
    this.push({ kind: "store", to: nameOf(to.name), at: across(at, lanes), value: bits });
  }
}

/** Elements of a buffer whose size a kernel is not told: pages of the cache. */
const UNTOLD = 2 ** 40;

/** Elements from the first of a buffer to its last. */
function extentOf({ shape, strides }: Kernel["params"][number], dims: readonly string[]): Expr {
  const env = new Map(dims.map((d) => [d, named(d, i64)]));
  if (![...shape, ...strides].every((i) => inScope(env, i))) return int(UNTOLD);
  const at = (i: Index): Expr => index(env, i);
  return shape.reduce<Expr>((sum, s, axis) => plus(sum, times(minus(at(s), int(1)), at(strides[axis]))), int(1));
}

/** So much further on. */
const after = (from: TirExpr, by: number): TirExpr => (by === 0 ? from : binary("Add", from, int64(by)));

const names = (list: readonly Stmt[]): string[] =>
  list.flatMap((s) => {
    if (s.kind === "for") return [s.name, ...names(s.body)];
    if (s.kind === "if") return [...names(s.then), ...names(s.else)];
    return "name" in s ? [s.name] : [];
  });

/** The function of a kernel; `fma`: the processor multiplies and adds at once. */
export function lowerToTir(k: LoopKernel, { params }: Kernel, fma: boolean): TirFunction {
  const taken = new Set([BEGIN, END, SCRATCH, ...k.buffers.map((b) => b.name), ...k.dims, ...names(k.body)].map(nameOf));
  const free = (name: string): string => (taken.has(name) ? free(`${name}_`) : name);
  // Arguments lie at `args`, from `first` on.
  const [args, first, at] = ["args", "first", "args_at"].map(free);
  const w = new Lowering(fma, [...taken, args, first, at]);
  const argument = (i: number): TirExpr => cast("int64", load(args, after(variable(first, "int64"), i), "float64"));
  const head = w.inside(() => {
    const extent = after(variable(first, "int64"), k.buffers.length + k.dims.length);
    w.push({ kind: "buffer", buffer: { name: args, dtype: "float64", extent }, address: variable(at, "int64") });
    for (const [i, d] of k.dims.entries()) w.push({ kind: "bind", name: nameOf(d), value: argument(k.buffers.length + i) });
    for (const [i, b] of k.buffers.entries()) {
      const elements = expression(w, extentOf(params[i], k.dims));
      const buffer = { name: nameOf(b.name), dtype: stored[b.element], extent: elements };
      w.push({ kind: "buffer", buffer, address: argument(i) });
    }
    for (const [i, m] of k.scratch.entries()) {
      const bytes = (k.scratch[i + 1]?.scratch ?? k.scratchBytes) - m.scratch!;
      const buffer = { name: nameOf(m.name), dtype: stored[m.element], extent: int64(bytes / 4) };
      w.push({ kind: "buffer", buffer, address: after(variable(SCRATCH, "int64"), m.scratch!) });
    }
  });
  return {
    name: nameOf(k.name),
    params: [at, first, BEGIN, END, SCRATCH].map((name) => ({ name, dtype: "int64" })),
    body: [...head, ...w.block(k.body)],
  };
}
