// Functions of TIR as TVM's own objects, by the constructors of the version that is pinned (version.ts). Runs in a process of its own.
import { array, call, float, map, type Argument, type TvmObject } from "../../runtime/tvm/index.ts";
import type { Binary, TirExpr, TirFunction, TirStmt } from "../../codegen/tir/ir.ts";

type Node = TvmObject;
const node = (name: string, ...args: Argument[]): Node => call(name, ...args) as Node;

/** Remembers what has been made of a word. */
function once(make: (word: string) => Node): (word: string) => Node {
  const known = new Map<string, Node>();
  return (word) => {
    let made = known.get(word);
    if (!made) known.set(word, (made = make(word)));
    return made;
  };
}

const prim = once((dtype) => node("ir.PrimType", dtype));
const operator = once((name) => node("ir.GetOp", name));
const intrinsicNumber = once((name) => {
  const id = call("target.llvm_lookup_intrinsic_id", name);
  if (id === 0) throw new Error(`LLVM has no intrinsic ${name}`);
  return node("ir.IntImm", "uint32", Number(id), null);
});

const whole = (value: number, dtype = "int32"): Node => node("ir.IntImm", dtype, value, null);
const called = (dtype: string, op: string, args: readonly Node[]): Node =>
  node("ir.Call", prim(dtype), operator(op), array(args), null, array([]), null);
const pointer = once((dtype) => node("ir.PointerType", prim(dtype), "global"));

/** How a scalar variable lies: TVM tells it from an array of one element by this. */
const scalarLayout = once(() => {
  const one = node("tirx.Iter", whole(1), whole(1), node("tirx.AxisGet", "m"));
  return node("tirx.TileLayout", array([one]), array([]), map([]));
});

/** Where a constructor's name is not that of its node. */
const binaries: Partial<Record<Binary, string>> = {
  left_shift: "prim.left_shift",
  right_shift: "prim.right_shift",
  bitwise_and: "prim.bitwise_and",
  bitwise_or: "prim.bitwise_or",
};

/** One function. */
class Builder {
  /** Values and loop variables by name. */
  readonly #vars = new Map<string, Node>();
  /** Arrays and registers by name. */
  readonly #buffers = new Map<string, Node>();

  variable(name: string, dtype: string): Node {
    const made = node("ir.Var", name, prim(dtype), null);
    this.#vars.set(name, made);
    return made;
  }

  #buffer(name: string, dtype: string, extent: Node, scope: "global" | "local"): Node {
    const bytes = scope === "global" ? Number(/\d+/.exec(dtype)![0]) / 8 : 64;
    const layout = scope === "global" ? null : scalarLayout("");
    const type = node("tirx.BufferType", scope, dtype, array([extent]), array([]), null, bytes, 0, layout, array([]), null);
    const made = node("tirx.BufferVar", name, type, null);
    this.#buffers.set(name, made);
    return made;
  }

  #known(from: Map<string, Node>, name: string): Node {
    const found = from.get(name);
    if (!found) throw new Error(`nothing is called ${name}`);
    return found;
  }

  expr(e: TirExpr): Node {
    switch (e.kind) {
      case "const":
        return e.dtype.startsWith("float") ? node("ir.FloatImm", e.dtype, float(e.value), null) : whole(e.value, e.dtype);
      case "var":
        return this.#known(this.#vars, e.name);
      case "register":
        return node("tirx.BufferLoad", this.#known(this.#buffers, e.name), array([whole(0)]), null);
      case "binary":
        return node(binaries[e.op] ?? `prim.${e.op}`, this.expr(e.a), this.expr(e.b), null);
      case "not":
        return node("prim.Not", this.expr(e.a), null);
      case "cast":
        return node("prim.Cast", prim(e.dtype), this.expr(e.a), null);
      case "reinterpret":
        return node("tirx.reinterpret", prim(e.dtype), this.expr(e.a), null);
      case "select":
        return node("prim.Select", this.expr(e.cond), this.expr(e.a), this.expr(e.b), null);
      case "broadcast":
        return node("prim.Broadcast", this.expr(e.a), whole(e.lanes), null);
      case "ramp":
        return node("prim.Ramp", this.expr(e.from), this.expr(e.stride), whole(e.lanes), null);
      case "shuffle":
        return node("prim.Shuffle", array(e.vectors.map((v) => this.expr(v))), array(e.lanes.map((l) => whole(l))), null);
      case "load":
        return node("tirx.BufferLoad", this.#known(this.#buffers, e.from), array([this.expr(e.at)]), null);
      case "intrinsic":
        return called(e.dtype, "tirx.call_llvm_pure_intrin", [intrinsicNumber(e.name), ...e.args.map((a) => this.expr(a))]);
    }
  }

  seq(list: readonly TirStmt[]): Node {
    const made = list.flatMap((s) => this.#statement(s));
    if (made.length === 1) return made[0];
    return made.length ? node("tirx.SeqStmt", array(made), null) : node("tirx.Evaluate", whole(0), null);
  }

  #store(buffer: Node, value: Node, at: Node): Node {
    return node("tirx.BufferStore", buffer, value, array([at]), null);
  }

  #extent(s: TirStmt & { kind: "for" }, from: Node, to: Node): Node {
    const lo = s.from.kind === "const" ? s.from.value : undefined;
    if (lo === 0) return to;
    return lo !== undefined && s.to.kind === "const" ? whole(s.to.value - lo, "int64") : node("prim.Sub", to, from, null);
  }

  #statement(s: TirStmt): Node[] {
    switch (s.kind) {
      case "note":
        return [];
      case "bind": {
        const value = this.expr(s.value);
        return [node("tirx.Bind", this.variable(s.name, s.value.dtype), value, null)];
      }
      case "register": {
        const value = this.expr(s.value);
        const buffer = this.#buffer(s.name, s.value.dtype, whole(1), "local");
        return [node("tirx.AllocBuffer", buffer, map([]), null), this.#store(buffer, value, whole(0))];
      }
      case "set":
        return [this.#store(this.#known(this.#buffers, s.name), this.expr(s.value), whole(0))];
      case "buffer": {
        const data = node("tirx.reinterpret", pointer("void"), this.expr(s.address), null);
        const { name, dtype, extent } = s.buffer;
        return [node("tirx.DeclBuffer", this.#buffer(name, dtype, this.expr(extent), "global"), data, null)];
      }
      case "store":
        return [this.#store(this.#known(this.#buffers, s.to), this.expr(s.value), this.expr(s.at))];
      case "for": {
        const [from, to] = [this.expr(s.from), this.expr(s.to)];
        const extent = this.#extent(s, from, to);
        const i = this.variable(s.name, "int64");
        const step = s.step === 1 ? null : whole(s.step, "int64");
        return [node("tirx.For", i, from, extent, 0, this.seq(s.body), null, map([]), step, null)];
      }
      case "if":
        return [node("tirx.IfThenElse", this.expr(s.cond), this.seq(s.then), s.else.length ? this.seq(s.else) : null, null)];
    }
  }
}

/** A function, exported under a name. */
function functionNode({ params, body }: TirFunction, symbol: string): Node {
  const b = new Builder();
  const takes = params.map((p) => b.variable(p.name, p.dtype));
  const attrs = node(
    "ffi.MakeObjectFromPackedArgs",
    "ir.DictAttrs",
    "__dict__",
    map([
      ["global_symbol", symbol],
      ["s_tir", true],
    ]),
  );
  return node("tirx.PrimFunc", array(takes), b.seq(body), node("ir.TypeMissing"), attrs, null);
}

/** Functions by the names that they are exported under. */
export const moduleOf = (functions: readonly (readonly [symbol: string, f: TirFunction])[]): Node =>
  node(
    "ir.IRModule",
    map(functions.map(([symbol, f]) => [node("ir.GlobalVar", symbol), functionNode(f, symbol)])),
    null,
    map([]),
  );
