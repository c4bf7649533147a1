// The text of kernels in TIR against what is compiled: TVM prints what its own parser makes of the text, in Python, and what its
// constructors make, and both are the same.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { tiled } from "../../codegen/cpu/target.ts";
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import { lowerToLoops } from "../../codegen/loops/lower.ts";
import { scheduleOf } from "../../codegen/loops/schedule.ts";
import { lowerToTir } from "../../codegen/tir/lower.ts";
import { printScript } from "../../codegen/tir/script.ts";
import { services } from "../../codegen/tir/services.ts";
import type { TirFunction } from "../../codegen/tir/ir.ts";
import { findTvmCompiler, type FoundCompiler } from "../../compiler/tvm/version.ts";
import { encode } from "../../compiler/tvm/wire.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { variable } from "../../runtime/user-cache.ts";
import { lacks } from "../conditions.ts";
import { attentionFamilies } from "../kernels/families/attention.ts";
import { cacheFamilies } from "../kernels/families/cache.ts";
import { denseFamilies } from "../kernels/families/dense.ts";
import { expertFamilies } from "../kernels/families/experts.ts";
import { moveFamilies } from "../kernels/families/moves.ts";
import { residualFamilies } from "../kernels/families/residual.ts";
import { rowFamilies } from "../kernels/families/rows.ts";

const cases = {
  ...rowFamilies,
  ...denseFamilies,
  ...attentionFamilies,
  ...cacheFamilies,
  ...expertFamilies,
  ...moveFamilies,
  ...residualFamilies,
};

/** The first kernel of every case. */
function kernels(): Kernel[] {
  const made: Kernel[] = [];
  for (const [family, checks] of Object.entries(cases) as [FamilyName, (typeof cases)[FamilyName]][])
    for (const check of Object.values(checks ?? {}))
      try {
        check((problem) => {
          made.push(families[family].kernel(tiled(family, problem) as never));
          throw new RangeError("one is enough");
        });
      } catch (e) {
        if (!(e instanceof RangeError)) throw e;
      }
  return made;
}

const built = (name: string): string => JSON.stringify(path.resolve(import.meta.dirname, "../../dist", name));

/** What the constructors make of functions, as TVM prints it. */
function printed(functions: readonly TirFunction[]): string[] {
  const { ffi, libraries } = findTvmCompiler() as FoundCompiler;
  const script = `
    import { readFileSync, writeSync } from "node:fs";
    import { call, map } from ${built("runtime/tvm/index.js")};
    import { openGlobally, useLibrary } from ${built("runtime/tvm/library.js")};
    import { moduleOf } from ${built("compiler/tvm/nodes.js")};
    import { decode } from ${built("compiler/tvm/wire.js")};
    const { ffi, libraries, functions } = decode(readFileSync(0, "utf8"));
    useLibrary(...ffi);
    for (const file of libraries) openGlobally(file);
    const texts = functions.map((f) => {
      const module = moduleOf([f]);
      const own = call("ir.Module_Lookup_str", module, f[0]);
      return call("node.TVMScriptPrinterScript", own, call("node.PrinterConfig", map([])));
    });
    const out = Buffer.from(JSON.stringify(texts));
    for (let done = 0; done < out.length; ) done += writeSync(1, out, done);`;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    input: encode({ ffi, libraries, target: {}, functions: functions.map((f) => [f.name, f]), object: "" }),
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  expect([run.status, run.signal, run.error], run.stderr).toEqual([0, null, undefined]);
  return JSON.parse(run.stdout) as string[];
}

const parsed = `
import json, sys, tvm
for text in json.load(open(sys.argv[1])):
    sys.stdout.write(tvm.script.from_source(text).script() + chr(0))
`;

test.skipIf(lacks("TVM", "TVM compiler"))("the text of every family is what is compiled", () => {
  for (const [lanes, registers, fma] of [
    [16, 32, true],
    [4, 16, false],
  ] as const) {
    const functions = [
      ...services,
      ...kernels().map((k) => lowerToTir(lowerToLoops(k, scheduleOf({ lanes, registers })), k, fma)),
    ];
    const made = printed(functions);
    const folder = mkdtempSync(path.join(tmpdir(), "dsc-tir-"));
    try {
      const file = path.join(folder, "texts.json");
      writeFileSync(file, JSON.stringify(functions.map((f) => printScript(f, []).toString())));
      const python = variable("DSC_PYTHON") ?? "python3";
      const run = spawnSync(python, ["-c", parsed, file], { encoding: "utf8", maxBuffer: 2 ** 30 });
      const texts = run.stdout.split("\0");
      expect(texts.length, run.stderr.slice(-2000)).toBe(functions.length + 1);
      for (const [i, text] of made.entries()) expect.soft(texts[i].trimEnd(), functions[i].name).toBe(text.trimEnd());
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
});
