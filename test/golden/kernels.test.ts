// Texts of tile programs, one document each. What is above `# ==>` is written by hand: a kernel, its summary a sentence of intent.
// Below it stands what `npm run bless` wrote: the diagnostic. In a kernel that is sound, lines
// `# run: m = 2, x = [1, 2] -> y = [2, 4]` are evaluated by the interpreter of tile programs; in place of outputs may stand the
// code and words of the error. An output that is not named is not compared.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { interpretKernel, type HostBuffer } from "../../ir/kernel/interpret.ts";
import { parseKernel } from "../../ir/kernel/parse.ts";
import { printKernel } from "../../ir/kernel/print.ts";
import type { Index, Kernel } from "../../ir/kernel/stmt.ts";
import { verifyKernel } from "../../ir/kernel/verify.ts";
import { bf16, e4m3Code, e4m3Values } from "../../ir/numeric.ts";
import { cases, kernelOf } from "../kernels/problems.ts";
import { programOf } from "../kernels/random-program.ts";
import { golden } from "./golden.ts";

const folder = path.join(import.meta.dirname, "kernels");
const ARROW = "# ==>";
const documents = (kind: string): string[] => (existsSync(path.join(folder, kind)) ? readdirSync(path.join(folder, kind)).map((f) => `${kind}/${f}`) : []);

const failure = (body: () => void): string => {
  try {
    body();
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    return e.message;
  }
  return "";
};

/** The document with what is below the arrow as it is now. */
function renew(file: string, below: (head: string) => string): void {
  const head = readFileSync(path.join(folder, file), "utf8").split(`${ARROW}\n`)[0].trimEnd();
  const now = `${head}\n${ARROW}\n${below(`${head}\n`).trimEnd().split("\n").map((l) => `# ${l}`.trimEnd()).join("\n")}\n`;
  golden(`kernels/${file}`, now);
}

describe("what is wrong with a text is said, with its place and what was expected", () => {
  for (const file of documents("errors"))
    test(file, () =>
      renew(file, (text) => {
        const said = failure(() => void parseKernel(text, path.basename(file)));
        expect(said, "the text is refused").not.toBe("");
        return said;
      }),
    );
});

/** [1, -2, Infinity] by name. */
const values = (text: string): Record<string, number[]> =>
  Object.fromEntries([...text.matchAll(/(\w+) = (?:\[([^\]]*)\]|(-?\d+))/g)].map((m) => [m[1], (m[2] ?? m[3]).split(",").filter((w) => w.trim() !== "").map(Number)]));

const bits = (v: number): number => new Uint32Array(Float32Array.of(bf16(v)).buffer)[0] >>> 16;
const real = (code: number): number => new Float32Array(Uint32Array.of(code << 16).buffer)[0];

function buffer(dtype: Kernel["params"][number]["dtype"], data: readonly number[]): HostBuffer {
  if (dtype === "f32") return Float32Array.from(data);
  if (dtype === "i32") return Int32Array.from(data);
  return dtype === "bf16" ? Uint16Array.from(data, bits) : Uint8Array.from(data, e4m3Code);
}

const sizeOf = (i: Index, dims: Record<string, number>): number => {
  if (typeof i !== "object") return typeof i === "number" ? i : dims[i];
  const [a, b] = [sizeOf(i.a, dims), sizeOf(i.b, dims)];
  return { add: a + b, sub: a - b, mul: a * b, div: Math.floor(a / b), mod: a - b * Math.floor(a / b), min: Math.min(a, b), max: Math.max(a, b) }[i.op];
};

/** The outputs of one `# run:` line. */
function evaluate(k: Kernel, given: Record<string, number[]>): Record<string, number[]> {
  const dims = Object.fromEntries(Object.entries(given).filter(([n]) => !k.params.some((p) => p.name === n)).map(([n, [v]]) => [n, v]));
  const buffers = Object.fromEntries(
    k.params.map((p) => {
      const length = p.shape.reduce<number>((n, i, axis) => n + (sizeOf(i, dims) - 1) * sizeOf(p.strides[axis], dims), 1);
      return [p.name, buffer(p.dtype, given[p.name] ?? Array.from({ length }, () => 0))];
    }),
  );
  interpretKernel(k, buffers, dims);
  const shown = { f32: (v: number) => v, i32: (v: number) => v, bf16: real, e4m3: (v: number) => e4m3Values[v] };
  return Object.fromEntries(k.params.map((p) => [p.name, Array.from(buffers[p.name], (v) => shown[p.dtype](v))]));
}

describe("a kernel does what its lines of run say", () => {
  for (const file of documents("run"))
    test(file, () => {
      const text = readFileSync(path.join(folder, file), "utf8");
      const kernel = parseKernel(text, path.basename(file));
      expect(text.replace(/^# run:.*\n/gm, "").trim(), "what is printed is what is written").toBe(printKernel(kernel).trim());
      const runs = [...text.matchAll(/^# run: (.*) -> (.*)$/gm)];
      expect(runs.length, "lines of run").toBeGreaterThan(0);
      for (const [line, before, after] of runs) {
        if (after.startsWith("DSC")) {
          const said = failure(() => void evaluate(kernel, values(before)));
          for (const word of [after.slice(0, 7), after.slice(8)]) expect(said, line).toContain(word);
        } else expect(evaluate(kernel, values(before)), line).toMatchObject(values(after));
      }
    });
});

test("every kernel family prints a text that reads back as the same kernel", () => {
  for (const k of cases.map(kernelOf)) {
    const text = printKernel(k);
    expect(printKernel(parseKernel(text)), k.name).toBe(text);
    verifyKernel(k);
  }
});

test("random tile programs read back as the same value", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5040), { minLength: 10, maxLength: 140, size: "max" }), (numbers) => {
      const k = programOf(numbers);
      const text = printKernel(k);
      const parsed = parseKernel(text);
      expect(printKernel(parsed)).toBe(text);
      expect(parsed).toEqual(k);
    }),
    { numRuns: 300, seed: 7 },
  );
});

test("a text cut or changed anywhere is refused with a place, or is a kernel", () => {
  const texts = cases.slice(0, 12).map((c) => printKernel(kernelOf(c)));
  const marks = ["", " ", "x", "0", "[", "]", "(", ",", ":", "=", "-", "^T", "\n", "é", "1e999", "by by"];
  fc.assert(
    fc.property(fc.constantFrom(...texts), fc.nat(), fc.nat(3), fc.constantFrom(...marks), (text, at, cut, mark) => {
      const i = at % text.length;
      const changed = text.slice(0, i) + mark + text.slice(i + cut);
      try {
        parseKernel(changed);
      } catch (e) {
        if (!(e instanceof DiagnosticError)) throw e;
        for (const d of e.diagnostics) expect(d.spans[0]?.line, `${d.title}\n${changed}`).toBeGreaterThan(0);
      }
    }),
    { numRuns: 600, seed: 11 },
  );
});

// What a kernel value can have and a text cannot, or only with a mark.
describe("a kernel value is verified without a text, and its places are lines of its printed text", () => {
  const base = cases.map(kernelOf).find((k) => k.name.startsWith("norm_quant_576") && k.params.some((p) => p.name === "gain"))!;
  const broken = (change: (k: { -readonly [K in keyof Kernel]: Kernel[K] }) => void): string => {
    const k = { ...base, params: [...base.params], body: [...base.body] };
    change(k);
    return failure(() => verifyKernel(k));
  };
  test("a buffer that is not declared", () => {
    const said = broken((k) => void (k.params = k.params.filter((p) => p.name !== "gain")));
    expect(said).toContain("DSC2109");
    expect(said).toMatch(/--> kernel norm_quant_576\w*:\d+:\d+/);
    expect(said).toContain("load gain");
  });
  test("an out buffer that nothing is stored in", () => {
    expect(broken((k) => void (k.params = [...k.params, { name: "more", dtype: "f32", access: "out", shape: ["m"], strides: [1] }]))).toContain("nothing is stored in out more");
  });
  test("no grid", () => {
    expect(broken((k) => void (k.body = k.body.slice(1)))).toContain("DSC2106");
  });
});

test("a diagnostic of a tile program keeps what its words were made of", () => {
  try {
    parseKernel("kernel k(\n    x: f32[4],\n):\n  grid i < 4\n  v = load xs[i]\n");
    expect.fail("it parses");
  } catch (e) {
    const [d] = (e as DiagnosticError).diagnostics;
    expect(JSON.parse(JSON.stringify(d))).toMatchObject({ code: "DSC2109", data: { kernel: "k", name: "xs", known: ["x"] }, spans: [{ line: 5, column: 12 }] });
  }
});
