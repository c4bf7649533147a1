// A function of TIR as TVMScript, which TVM's own parser reads (tvm.script.from_source). Scalars of int64 beside other values are
// written as they are; a value with a name for good is T.let, one that is set again has its type.
import type { Owner } from "../../ir/kernel/owner.ts";
import { Sections, type Heading } from "../sections.ts";
import { when } from "../text.ts";
import type { Binary, TirExpr, TirFunction, TirStmt } from "./ir.ts";

interface Line {
  text: string;
  /** The statement of the tile program that it begins. */
  tile?: Owner;
}

const infix: Partial<Record<Binary, string>> = {
  Add: "+",
  Sub: "-",
  Mul: "*",
  LT: "<",
  LE: "<=",
  EQ: "==",
  NE: "!=",
  left_shift: "<<",
  right_shift: ">>",
  bitwise_and: "&",
  bitwise_or: "|",
};

const functions: Partial<Record<Binary, string>> = { Mod: "truncmod", Min: "min", Max: "max", And: "And", Or: "Or" };

const special = (value: number): string => {
  if (Number.isNaN(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
};

function number(value: number, dtype: string): string {
  if (!Number.isFinite(value)) return JSON.stringify(special(value));
  const text = Object.is(value, -0) ? "-0" : String(value);
  return dtype.startsWith("float") && !/[.e]/.test(text) ? `${text}.0` : text;
}

/** A constant beside another operand takes its type and lanes. */
function beside(e: TirExpr, other: TirExpr): string {
  const scalar = e.kind === "broadcast" ? e.a : e;
  const constant = scalar.kind === "const" && other.kind !== "const" && other.kind !== "broadcast";
  const { dtype } = scalar;
  if (
    constant &&
    scalar.kind === "const" &&
    Number.isFinite(scalar.value) &&
    (dtype === "int64" || dtype === "float32" || dtype === "int32")
  )
    return scalar.value < 0 || Object.is(scalar.value, -0) ? `(${number(scalar.value, dtype)})` : number(scalar.value, dtype);
  return print(e);
}

const list = (args: readonly TirExpr[]): string => args.map(print).join(", ");

/** An expression, in parentheses where it is an operation. */
function print(e: TirExpr): string {
  switch (e.kind) {
    case "const":
      return `T.${e.dtype}(${number(e.value, e.dtype)})`;
    case "var":
    case "register":
      return e.name;
    case "binary":
      return operation(e);
    case "not":
      return `T.Not(${print(e.a)})`;
    case "cast":
      return `T.Cast("${e.dtype}", ${print(e.a)})`;
    case "reinterpret":
      return `T.reinterpret("${e.dtype}", ${print(e.a)})`;
    case "select":
      return `T.Select(${list([e.cond, e.a, e.b])})`;
    case "broadcast":
      return `T.Broadcast(${print(e.a)}, ${e.lanes})`;
    case "ramp":
      return `T.Ramp(${print(e.from)}, ${print(e.stride)}, ${e.lanes})`;
    case "shuffle":
      return `T.Shuffle([${list(e.vectors)}], [${e.lanes.join(", ")}])`;
    case "load":
      return `${e.from}[${print(e.at)}]`;
    case "intrinsic":
      return `T.call_llvm_pure_intrin("${e.dtype}", "${e.name}", ${list(e.args)})`;
  }
}

function operation({ op, a, b }: TirExpr & { kind: "binary" }): string {
  const sign = infix[op] ?? when(op === "Div" && a.dtype.startsWith("float"), "/");
  const [left, right] = [beside(a, b), beside(b, a)];
  return sign ? `(${left} ${sign} ${right})` : `T.${functions[op] ?? "truncdiv"}(${print(a)}, ${print(b)})`;
}

const indented = (lines: readonly Line[]): Line[] => lines.map((l) => ({ ...l, text: `    ${l.text}` }));
const block = (body: readonly TirStmt[]): Line[] => {
  const lines = body.flatMap(statement);
  return indented(body.some((s) => s.kind !== "note") ? lines : [...lines, { text: "pass" }]);
};

function statement(s: TirStmt): Line[] {
  const one = (text: string): Line[] => [{ text }];
  switch (s.kind) {
    case "note":
      return [{ text: `# ${s.text}`, ...(s.tile ? { tile: s.tile } : {}) }];
    case "bind":
      return one(`${s.name}: T.let = ${print(s.value)}`);
    case "register":
      return one(`${s.name}: T.${s.value.dtype} = ${print(s.value)}`);
    case "set":
      return one(`${s.name} = ${print(s.value)}`);
    case "buffer": {
      const { name, dtype, extent } = s.buffer;
      const align = Number(/\d+/.exec(dtype)![0]) / 8;
      return one(
        `${name} = T.decl_buffer((${print(extent)},), "${dtype}", data=T.reinterpret("handle", ${print(s.address)}), align=${align})`,
      );
    }
    case "store":
      return one(`${s.to}[${print(s.at)}] = ${print(s.value)}`);
    case "for": {
      const step = when(s.step !== 1, `, step=${print({ kind: "const", value: s.step, dtype: "int64" })}`);
      return [...one(`for ${s.name} in T.serial(${print(s.from)}, ${print(s.to)}${step}):`), ...block(s.body)];
    }
    case "if":
      return [...one(`if ${print(s.cond)}:`), ...block(s.then), ...(s.else.length ? [...one("else:"), ...block(s.else)] : [])];
  }
}

/** The whole text; `sections` say what its lines are. `head` are lines of comments about its use. */
export function printScript(f: TirFunction, head: readonly Heading[]): Sections {
  const s = new Sections();
  const takes = f.params.map((p) => `${p.name}: T.${p.dtype}`).join(", ");
  for (const [says, line] of head) s.add("header", [line === "" ? "#" : `# ${line}`], says);
  s.add("header", ["# from tvm.script import tirx as T", "", ""], "what it needs");
  s.add("entry", ["@T.prim_func(s_tir=True)", `def ${f.name}(${takes}):`]);
  let tile: Owner | undefined;
  for (const line of block(f.body)) {
    tile = line.tile ?? tile;
    s.add(tile === undefined ? "body" : "statement", [line.text], tile?.name, tile?.ops);
  }
  return s;
}
