// The net under refactoring: a digest of every kernel text and manifest that published models and all fixtures compile to, for every
// target and with every option that changes kernels. A refactoring changes none. A commit that means to change them says so and
// rewrites test/golden/digests with `npm run bless`; `code` leaves comments out, and of CUDA where lines begin and break, so better words
// and a better layout show in `text` alone.
import { createHash } from "node:crypto";
import path from "node:path";
import { expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { lowerToWasm } from "../../codegen/cpu/lower.ts";
import { printCuda } from "../../codegen/cuda/printed/print.ts";
import { families } from "../../codegen/kernels/index.ts";
import { processors } from "../../codegen/loops/processor.ts";
import { targetOf } from "../../codegen/target.ts";
import { printTriton } from "../../codegen/triton/print.ts";
import { build } from "../../compiler/driver/build.ts";
import { frontend } from "../../compiler/driver/frontend.ts";
import { optimise } from "../../compiler/driver/optimise.ts";
import { processorFor } from "../../compiler/driver/processor.ts";
import { select } from "../../compiler/driver/select.ts";
import { standard } from "../../passes/index.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { parseKernel } from "../../ir/kernel/parse.ts";
import { printKernel } from "../../ir/kernel/print.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { fixtures, read, supported, textOf, type Config } from "../frontend/configs.ts";
import { golden } from "./golden.ts";

const published: Readonly<Record<string, Config>> = {
  "DeepSeek-R1": supported["DeepSeek-R1"],
  "DeepSeek-V2-Lite": supported["DeepSeek-V2-Lite"],
  "Kimi-K2": supported["Kimi-K2"],
  "printed-model": read("examples/printed-model/config.json"),
};

type Options = Partial<CompileOptions>;
const written = (o: Options): string => Object.entries(o).map(([k, v]) => ` ${k}=${String(v)}`).join("");

/** Options that change the kernels of a target, each alone. */
const variants: Readonly<Record<Exclude<CompileOptions["target"], "c" | "tvm">, readonly Options[]>> = {
  cpu: [{}, { passes: "none" }, { attention: "expanded" }, { attention: "absorbed" }, { actQuant: "none" }, { taps: true }],
  cuda: [
    { activations: "bf16" },
    { activations: "f32" },
    { activations: "bf16", passes: "none" },
    { activations: "bf16", deterministic: true },
    { activations: "bf16", natives: "none" },
    { activations: "bf16", attention: "expanded" },
    { activations: "bf16", attention: "absorbed" },
    { activations: "bf16", actQuant: "none" },
  ],
  triton: [{ activations: "bf16" }, { activations: "f32" }, { activations: "bf16", passes: "none" }],
};

const digest = (...parts: (string | Uint8Array)[]): string => {
  const hash = createHash("sha256");
  for (const p of parts) hash.update(p);
  return hash.digest("hex").slice(0, 12);
};

/** A text without its comments and the blanks at line ends. */
const code = (text: string): string =>
  text
    .split("\n")
    .filter((line) => !/^\s*(\/\/|#(?!include|define|pragma|if|end|else)|;;)/.test(line))
    .map((line) => line.replace(/\s+(\/\/|;;) .*$/, "").trimEnd())
    .join("\n");

/** The tokens of a CUDA text: where a line begins or breaks says nothing, but that a directive has one of its own. */
const tokens = (text: string): string =>
  code(text)
    .replaceAll(/^\s*#.*$/gm, (line) => `;${line.trim()};`)
    .replaceAll(/\s+/g, " ")
    .replaceAll(/ ?([^\w ]) ?/g, "$1");

/** Every problem that a tile program was made for. */
const problems = new Map<string, [family: string, problem: Problem]>();

function lines(config: Config, options: Options, name: string, target: CompileOptions["target"], f32: boolean): string[] {
  const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
  // What a checkpoint in f32 makes of a config that says bfloat16 (compiler/checkpoint-dtypes.ts).
  if (f32) spec.dtype = "f32";
  const { manifest, files } = compileSpec(spec, { ...defaults, ...options, target });
  const meaning = target === "cuda" ? tokens : code;
  const kernels = Object.entries({ ...manifest.kernels, ...manifest.system }).map(([kernel, k]) => {
    const text = String(files.get(k.text));
    return `  ${kernel} text ${digest(text)} code ${k.binary && files.get(k.binary) ? digest(files.get(k.binary)!) : digest(meaning(text))}`;
  });
  for (const [kernel, problem] of Object.entries(JSON.parse(String(files.get("problems.json"))) as Record<string, Problem>)) {
    const { family } = manifest.kernels[kernel];
    if (families[family]) problems.set(`${family} ${JSON.stringify(problem)}`, [family, problem]);
  }
  // Digests of texts change with their words; the rest of a manifest is what the runtime does.
  const { files: _, ...plan } = manifest;
  return [`${name}${written(options)}: ${kernels.length} kernels, manifest ${digest(JSON.stringify(plan))}`, ...kernels];
}

for (const target of ["cpu", "cuda", "triton"] as const)
  test(`kernels and manifests for ${target} are those of test/golden/digests/${target}.txt`, () => {
    const got = [
      ...variants[target].flatMap((o) => Object.entries(published).flatMap(([name, config]) => lines(config, o, name, target, false))),
      ...variants[target].slice(0, 3).flatMap((o) => fixtures.flatMap((f) => lines(read(`${f}/config.json`), o, path.basename(f), target, !f.endsWith("fp8")))),
    ].join("\n");
    golden(`digests/${target}.txt`, `${got}\n`);
  });

/** Kernels in C, and what the runtime does, for a processor. No compiler has a part in it: the library is left out. */
function linesInC(config: Config, name: string, arch: string): string[] {
  const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
  const options: CompileOptions = { ...defaults, target: "c", arch };
  const target = targetOf("c", { activations: "f32", ...processorFor(options) });
  const optimised = optimise(spec, frontend(spec, options), options, standard);
  const { kernels, functions, files } = build(optimised.outcome.module, select(optimised, target, undefined), target, spec);
  const { files: texts, facts } = target.library!(kernels);
  for (const [file, text] of texts) files.set(file, text);
  const own = [...files].map(([file, text]) => `  ${path.basename(file)} text ${digest(text)} code ${digest(code(String(text)))}`);
  const plan = digest(JSON.stringify([kernels, functions, facts]));
  return [`${name} arch=${arch}: ${Object.keys(kernels).length} kernels, plan ${plan}`, ...own];
}

test("kernels and plans for c are those of test/golden/digests/c.txt", () => {
  const best = processors.find((p) => p.name === "x86-64-v4")!;
  const small = [...Object.keys(published).filter((n) => n.startsWith("printed")).map((n) => [n, published[n]] as const), ...fixtures.map((f) => [path.basename(f), read(`${f}/config.json`)] as const)];
  const got = [
    ...["DeepSeek-R1", "DeepSeek-V2-Lite"].flatMap((name) => linesInC(published[name], name, best.name)),
    ...small.flatMap(([name, config]) => linesInC(config, name, best.name)),
    // Of other processors those that have all kinds of kernels between them.
    ...processors.filter((p) => p !== best).flatMap(({ name: arch }) => small.filter(([n]) => /^printed|fp8/.test(n)).flatMap(([name, config]) => linesInC(config, name, arch))),
  ].join("\n");
  golden("digests/c.txt", `${got}\n`);
});

/** The text a target makes of a kernel, or why it makes none: tiles of the CPU are too large for a block of a GPU. */
function orRefusal(print: (k: Kernel) => string, kernel: Kernel): string {
  try {
    return print(kernel);
  } catch (e) {
    if (e instanceof DiagnosticError) return e.message;
    throw e;
  }
}

test("every tile program among them parses back, to the same text and, lowered or printed, to the same code", () => {
  expect(problems.size).toBeGreaterThan(300);
  for (const [family, problem] of problems.values()) {
    const kernel = families[family].kernel(problem);
    const text = printKernel(kernel);
    const parsed = parseKernel(text, `${kernel.name}.txt`);
    expect(printKernel(parsed)).toBe(text);
    for (const print of [(k: Kernel) => lowerToWasm(k).text, (k: Kernel) => printTriton(k).source, (k: Kernel) => printCuda(k, h200).source])
      expect(orRefusal(print, parsed)).toBe(orRefusal(print, kernel));
  }
});
