// The same module as text: folded WebAssembly text format, which any assembler for it accepts. Names and notes come from
// the lowering, so that a person can follow a kernel from its tile program down to its lanes.
import type { Owner } from "../../ir/kernel/owner.ts";
import { opcodes } from "./opcodes.ts";
import { MAX_PAGES } from "./encode.ts";
import type { Expr, Stmt, WasmFunc, WasmModule } from "./wasm.ts";
import { Sections } from "../sections.ts";
import { when } from "../text.ts";

/** The readable form of a module. */
export function wat(module: WasmModule): Sections {
  const text = new Sections().add(
    "header",
    module.header.map((h) => (h ? `;; ${h}` : ";;")),
    "summary",
  );
  const out = new Out(text);
  out.push("(module", `  (import "env" "memory" (memory 1 ${MAX_PAGES} shared))`);
  for (const f of module.funcs) printFunc(out, f);
  out.push(")");
  return text;
}

/** Lines, each of the note that stands above it in its list or around it. */
class Out {
  note: Owner | undefined;
  readonly #text: Sections;

  constructor(text: Sections) {
    this.#text = text;
  }

  push(...lines: string[]): void {
    this.#text.add(this.note === undefined ? "entry" : "statement", lines, this.note?.name, this.note?.ops);
  }
}

function printFunc(out: Out, f: WasmFunc): void {
  const exported = f.exported ? ` (export "${f.name}")` : "";
  const params = f.params.map((p) => ` (param $${p.name} ${p.type})`).join("");
  out.push("", `  (func $${f.name}${exported}${params}${when(f.result, ` (result ${f.result})`)}`);
  for (const type of ["i32", "f32", "f64", "v128"] as const) {
    // Declared in index order in the binary; grouped here, since names carry the meaning.
    const names = f.locals.filter((l) => l.type === type).map((l) => `(local $${l.name} ${type})`);
    for (let i = 0; i < names.length; i += 6) out.push(`    ${names.slice(i, i + 6).join(" ")}`);
  }
  printStmts(out, f.body, "    ");
  out.push("  )");
}

function printStmts(out: Out, body: readonly Stmt[], pad: string): void {
  const { note } = out;
  let here = note;
  for (const s of body) {
    out.note = here;
    switch (s.kind) {
      case "note":
        out.note = here = { name: s.text, ops: s.ops ?? note?.ops ?? [] };
        out.push(`${pad};; ${s.text}`);
        break;
      case "set":
        layout(out, pad, `(local.set $${s.local.name} `, s.value, ")");
        break;
      case "do":
        layout(out, pad, s.value.type ? "(drop " : "", s.value, s.value.type ? ")" : "");
        break;
      case "return":
        layout(out, pad, "(return ", s.value, ")");
        break;
      case "block":
      case "loop":
        out.push(`${pad}(${s.kind} $${s.label}`);
        printStmts(out, s.body, pad + "  ");
        out.push(`${pad})`);
        break;
      case "if":
        layout(out, pad, "(if ", s.cond, "");
        out.push(`${pad}  (then`);
        printStmts(out, s.then, pad + "    ");
        out.push(`${pad}  )`);
        if (s.else.length) {
          out.push(`${pad}  (else`);
          printStmts(out, s.else, pad + "    ");
          out.push(`${pad}  )`);
        }
        out.push(`${pad})`);
        break;
      case "br":
        if (s.cond) layout(out, pad, `(br_if $${s.label} `, s.cond, ")");
        else out.push(`${pad}(br $${s.label})`);
    }
    out.note = here;
  }
  out.note = note;
}

/** Columns of a line. */
const WIDE = 130;

/** One line when it fits, else operands on lines of their own. */
function layout(out: Out, pad: string, before: string, e: Expr, after: string): void {
  const alone = "local" in e || !e.args.length;
  const whole = text(e, alone ? Infinity : WIDE - pad.length - before.length - after.length);
  if (whole !== undefined) out.push(pad + before + whole + after);
  else if (!alone) {
    out.push(`${pad}${before}(${head(e)}`);
    e.args.forEach((a, i) => layout(out, pad + "  ", "", a, i === e.args.length - 1 ? ")" + after : ""));
  }
}

/** An expression as text of at most so many characters; undefined where it is longer, without writing it to its end. */
function text(e: Expr, room: number): string | undefined {
  let out = `(${head(e)}`;
  if (!("local" in e))
    for (const a of e.args) {
      const of = text(a, room - out.length - 2);
      if (of === undefined) return undefined;
      out += ` ${of}`;
    }
  out += ")";
  return out.length <= room ? out : undefined;
}

function head(e: Expr): string {
  if ("local" in e) return `local.get $${e.local.name}`;
  if (e.op === "select") return `select (result ${e.type})`;
  const imm = (e as { imm: readonly number[] }).imm;
  switch (opcodes[e.op].imm) {
    case "none":
      return e.op;
    case "mem":
      return imm[0] ? `${e.op} offset=${imm[0]}` : e.op;
    case "mem lane":
      return `${e.op}${when(imm[0], ` offset=${imm[0]}`)} ${imm[1]}`;
    case "const":
      return e.op === "v128.const" ? constantVector(imm) : `${e.op} ${number(imm[0])}`;
    default:
      return `${e.op} ${imm.join(" ")}`;
  }
}

const number = (n: number): string =>
  n === Infinity ? "inf" : n === -Infinity ? "-inf" : n !== n ? "nan" : Object.is(n, -0) ? "-0" : String(n);

const constant = new Uint8Array(16);
const [words, floats] = [new Int32Array(constant.buffer), new Float32Array(constant.buffer)];
const isPlain = (x: number): boolean => x === 0 || (Math.abs(x) > 1e-30 && Math.abs(x) < 1e38) || Math.abs(x) === Infinity;

/** As floats where the bits are a plain float, else as hexadecimal words. */
function constantVector(bytes: readonly number[]): string {
  constant.set(bytes);
  if (floats.every(isPlain)) return `v128.const f32x4 ${Array.from(floats, number).join(" ")}`;
  return `v128.const i32x4 ${Array.from(words, (w) => (Math.abs(w) < 4096 ? String(w) : "0x" + (w >>> 0).toString(16))).join(" ")}`;
}
