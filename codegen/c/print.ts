// The text of a kernel of loops as C with vector extensions: one function over grid cells, comments where statements of the tile program
// begin. It needs vectors.h of its processor, and nothing else.
import type { Owner } from "../../ir/kernel/owner.ts";
import { BEGIN, END, SCRATCH } from "../loops/lower.ts";
import type { LoopKernel, Stmt, VectorFunction } from "../loops/ir.ts";
import { Sections, type Heading } from "../sections.ts";
import { when } from "../text.ts";
import { elements, nameOf, pointer, print, suffix, typeOf } from "./expression.ts";

interface Line {
  text: string;
  /** The statement of the tile program that it begins. */
  tile?: Owner;
}

function statement(s: Stmt, types: Map<string, string>): Line[] {
  const one = (text: string): Line[] => [{ text }];
  switch (s.kind) {
    case "note":
      return s.tile ? [{ text: `// ${s.text}`, tile: s.tile }] : one(`// ${s.text}`);
    case "let":
      return one(`const ${typeOf(s.value.type)} ${nameOf(s.name)} = ${print(s.value)};`);
    case "var":
      return one(`${typeOf(s.value.type)} ${nameOf(s.name)} = ${print(s.value)};`);
    case "set":
      return one(`${nameOf(s.name)} = ${print(s.value)};`);
    case "prefetch":
      return one(`__builtin_prefetch(${pointer(s.from, s.at)});`);
    case "matrixRow":
      return one(`matrix_row(${nameOf(s.to.name)}, ${pointer(s.from, s.at)}, ${print(s.row)}, ${print(s.columns)}, ${s.tiles});`);
    case "matrixProduct": {
      const panels = [s.a, s.b, s.sums].map((m) => nameOf(m.name)).join(", ");
      return one(`matrix_product(${panels}, ${s.stride}, ${print(s.m)}, ${print(s.n)}, ${print(s.columns)}, ${s.tiles});`);
    }
    case "store": {
      const { element } = s.to;
      const { lanes } = s.value.type;
      if (lanes > 1) return one(`store_${element}x${lanes}(${pointer(s.to, s.at)}, ${print(s.value)});`);
      const value = element === "bf16" || element === "e4m3" ? `code_${element}_f32(${print(s.value)})` : print(s.value);
      return one(`${nameOf(s.to.name)}[${print(s.at)}] = ${value};`);
    }
    case "for": {
      const i = nameOf(s.name);
      const step = s.step === 1 ? `${i}++` : `${i} += ${s.step}`;
      return [
        ...one(`for (int64_t ${i} = ${print(s.from)}; ${i} < ${print(s.to)}; ${step}) {`),
        ...block(s.body, types),
        ...one("}"),
      ];
    }
    case "if":
      return [
        ...one(`if (${print(s.cond)}) {`),
        ...block(s.then, types),
        ...(s.else.length ? [...one("} else {"), ...block(s.else, types)] : []),
        ...one("}"),
      ];
  }
}

const block = (list: readonly Stmt[], types = new Map<string, string>()): Line[] =>
  list.flatMap((s) => statement(s, types)).map((l) => ({ ...l, text: `  ${l.text}` }));

/** A parameter list. */
function signature(k: LoopKernel): string[] {
  return [
    `int64_t ${BEGIN}`,
    `int64_t ${END}`,
    `char *${SCRATCH}`,
    ...k.buffers.map((b) => `${when(b.access === "in", "const ")}${elements[b.element]} *${nameOf(b.name)}`),
    ...k.dims.map((d) => `int64_t ${nameOf(d)}`),
  ];
}

/** The whole text; `sections` say what its lines are. `head` are lines of comments about its use. */
export function printC(k: LoopKernel, head: readonly Heading[]): Sections {
  const s = new Sections();
  for (const [says, line] of head) s.add("header", [line === "" ? "//" : `// ${line}`], says);
  s.add("header", ['#include "vectors.h"', ""], "what it needs");
  s.add("entry", [`void ${nameOf(k.name)}(`, `    ${signature(k).join(",\n    ")}) {`].join("\n"));
  s.add(
    "body",
    k.scratch.map(
      (m) => `  ${elements[m.element]} *const ${nameOf(m.name)} = (${elements[m.element]} *)(${SCRATCH} + ${m.scratch});`,
    ),
  );
  let tile: Owner | undefined;
  for (const line of block(k.body)) {
    tile = line.tile ?? tile;
    s.add(tile === undefined ? "body" : "statement", [line.text], tile?.name, tile?.ops);
  }
  return s.add("body", ["}"]);
}

/** A function of vectors as C. */
export function printFunction({ name, summary, params, body, result }: VectorFunction): string[] {
  const takes = params.map((p) => `${typeOf(p.type)} ${nameOf(p.name)}`).join(", ");
  return [
    `// ${summary}`,
    `static inline ${typeOf(result.type)} ${name}_${suffix(params[0].type)}(${takes}) {`,
    ...block(body).map((l) => l.text),
    `  return ${print(result)};`,
    "}",
  ];
}
