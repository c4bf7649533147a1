// The bytes of a module: sections, LEB128, structured control. Deterministic; the memory is imported and shared, so one
// instance per thread sees the same buffers. It writes what wasm.ts describes and nothing else.
import { opcodes, type ValType } from "./opcodes.ts";
import type { Expr, Stmt, WasmFunc, WasmModule } from "./wasm.ts";

/** Pages of 64 KiB: an importer may give any shared memory up to 4 GiB. */
export const MAX_PAGES = 65536;

const valtypes: Record<ValType, number> = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** Growing byte buffer with LEB128 writers. */
class Bytes {
  private data = new Uint8Array(1024);
  private length = 0;

  put(...bytes: number[]): void {
    for (const b of bytes) {
      if (this.length === this.data.length) this.grow(this.length * 2);
      this.data[this.length++] = b;
    }
  }
  append(other: Uint8Array): void {
    if (this.length + other.length > this.data.length) this.grow(2 * (this.length + other.length));
    this.data.set(other, this.length);
    this.length += other.length;
  }
  private grow(size: number): void {
    const next = new Uint8Array(size);
    next.set(this.data.subarray(0, this.length));
    this.data = next;
  }
  unsigned(n: number): void {
    let rest = n >>> 0;
    while (rest >= 0x80) {
      this.put((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.put(rest);
  }
  signed(n: number): void {
    let rest = n | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && !(low & 0x40)) || (rest === -1 && low & 0x40)) return this.put(low);
      this.put(low | 0x80);
    }
  }
  name(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.unsigned(bytes.length);
    this.append(bytes);
  }
  float(n: number): void {
    this.append(new Uint8Array(Float32Array.of(n).buffer));
  }
  /** A section or a body: what `write` gives, behind its length. */
  sized(write: (b: Bytes) => void): void {
    const inner = new Bytes();
    write(inner);
    this.unsigned(inner.length);
    this.append(inner.take());
  }
  take(): Uint8Array {
    return this.data.slice(0, this.length);
  }
}

/** The binary form of a module. */
export function encode(module: WasmModule): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  out.put(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
  const index = new Map(module.funcs.map((f, i) => [f, i]));
  const section = (id: number, write: (b: Bytes) => void): void => {
    out.put(id);
    out.sized(write);
  };
  section(1, (b) => {
    b.unsigned(module.funcs.length);
    for (const f of module.funcs) {
      b.put(0x60);
      b.unsigned(f.params.length);
      b.put(...f.params.map((p) => valtypes[p.type]));
      if (f.result) b.put(1, valtypes[f.result]);
      else b.put(0);
    }
  });
  section(2, (b) => {
    b.unsigned(1);
    b.name("env");
    b.name("memory");
    b.put(0x02, 0x03); // a memory; limits with a maximum, shared
    b.unsigned(1);
    b.unsigned(MAX_PAGES);
  });
  section(3, (b) => {
    b.unsigned(module.funcs.length);
    for (const i of module.funcs.keys()) b.unsigned(i);
  });
  section(7, (b) => {
    const exported = module.funcs.filter((f) => f.exported);
    b.unsigned(exported.length);
    for (const f of exported) {
      b.name(f.name);
      b.put(0);
      b.unsigned(index.get(f)!);
    }
  });
  section(10, (b) => {
    b.unsigned(module.funcs.length);
    for (const f of module.funcs) b.sized((body) => encodeBody(body, f));
  });
  return out.take() as Uint8Array<ArrayBuffer>;
}

function encodeBody(b: Bytes, f: WasmFunc): void {
  const runs: { type: ValType; count: number }[] = [];
  for (const l of f.locals) {
    const last = runs.at(-1);
    if (last?.type === l.type) last.count++;
    else runs.push({ type: l.type, count: 1 });
  }
  b.unsigned(runs.length);
  for (const r of runs) {
    b.unsigned(r.count);
    b.put(valtypes[r.type]);
  }
  encodeStmts(b, f.body, []);
  b.put(0x0b);
}

function encodeStmts(b: Bytes, body: readonly Stmt[], labels: readonly string[]): void {
  for (const s of body) {
    switch (s.kind) {
      case "note":
        break;
      case "set":
        encodeExpr(b, s.value);
        b.put(0x21);
        b.unsigned(s.local.index);
        break;
      case "do":
        encodeExpr(b, s.value);
        if (s.value.type) b.put(0x1a);
        break;
      case "return":
        encodeExpr(b, s.value);
        b.put(0x0f);
        break;
      case "block":
      case "loop":
        b.put(s.kind === "block" ? 0x02 : 0x03, 0x40);
        encodeStmts(b, s.body, [s.label, ...labels]);
        b.put(0x0b);
        break;
      case "if":
        encodeExpr(b, s.cond);
        b.put(0x04, 0x40);
        encodeStmts(b, s.then, ["", ...labels]);
        if (s.else.length) {
          b.put(0x05);
          encodeStmts(b, s.else, ["", ...labels]);
        }
        b.put(0x0b);
        break;
      case "br": {
        const depth = labels.indexOf(s.label);
        if (depth < 0) throw new TypeError(`branch to ${s.label}, which does not enclose it`);
        if (s.cond) encodeExpr(b, s.cond);
        b.put(s.cond ? 0x0d : 0x0c);
        b.unsigned(depth);
      }
    }
  }
}

function encodeExpr(b: Bytes, e: Expr): void {
  if ("local" in e) {
    b.put(0x20);
    b.unsigned(e.local.index);
    return;
  }
  for (const a of e.args) encodeExpr(b, a);
  if (e.op === "select") return b.put(0x1c, 0x01, valtypes[e.type!]);
  const o = opcodes[e.op];
  const imm = (e as { imm: readonly number[] }).imm;
  b.put(...o.bytes);
  switch (o.imm) {
    case "mem":
    case "mem lane":
      b.unsigned(o.align);
      b.unsigned(imm[0]);
      if (o.imm === "mem lane") b.put(imm[1]);
      break;
    case "lane":
      b.put(imm[0]);
      break;
    case "const":
      if (e.op === "i32.const") b.signed(imm[0]);
      else if (e.op === "f32.const") b.float(imm[0]);
      else b.put(...imm);
      break;
    case "shuffle":
      b.put(...imm);
  }
}
