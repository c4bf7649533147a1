// Random damage to module texts: shrunken models after each pass, as artifacts keep them. What parses is verified, taken through
// the passes, printed and parsed again, and planned for the CPU.
import { readFileSync } from "node:fs";
import { targetOf } from "../../codegen/target.ts";
import { compileSpec, defaults } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { shrink } from "../../compiler/analysis/shrink.ts";
import { parseModule, printModule, verify } from "../../ir/index.ts";
import { choosePasses, runPipeline, standard } from "../../passes/index.ts";
import { selectModule } from "../../passes/plan/select.ts";
import { root } from "./configs.ts";
import { mutateBytes } from "./mutate.ts";
import { Random } from "./random.ts";

const models = [
  "examples/deepseek-r1",
  "test/fixtures/a02-v3-noq-nogroup",
  "test/fixtures/a04-v2-group",
  "test/fixtures/a05-v3-halfsplit-tied-bias",
];

/** Every distinct text in the graph folders of the models' artifacts. */
const bases = models.flatMap((m) => {
  const spec = shrink(loadSpec(`${root}/${m}`).spec);
  const { files } = compileSpec({ ...spec, layers: [...new Set(spec.layers)] }, defaults);
  return [...new Set([...files].filter(([name]) => name.startsWith("graph/")).map(([, text]) => text as string))];
});
/** Whole files of the tests' own idea of small, for their other ops. */
const small = ["test/golden/deepseek-r1/decode-moe-layer.dsc"].map((f) => readFileSync(`${root}/${f}`, "utf8"));

const words = bases.flatMap((b) => b.match(/[%@]?[\w.]+|"[^"]*"|[^\s\w]/g) ?? []);
const numbers = [
  "0",
  "-1",
  "1",
  "128",
  "129",
  "0.5",
  "1e999",
  "9007199254740993",
  "99999999999999999999",
  "NaN",
  "T",
  "8T",
  "-T",
  "0T",
  "1000000000T",
];

export function textOf(seed: number): string {
  const r = new Random(seed);
  const base = r.one(r.chance(0.05) ? small : bases);
  if (r.chance(0.15)) return new TextDecoder().decode(mutateBytes(r, new TextEncoder().encode(base)));
  const lines = base.split("\n");
  for (let n = r.one([1, 1, 2, 4]); n > 0; n--) {
    const at = r.below(lines.length);
    const line = lines[at];
    const kind = r.below(10);
    if (kind === 0) lines.splice(at, r.one([1, 1, 3, 30]));
    else if (kind === 1) lines.splice(r.below(lines.length), 0, line);
    else if (kind === 2) [lines[at], lines[(at + 1) % lines.length]] = [lines[(at + 1) % lines.length], line];
    else if (kind === 3) lines[at] = line.replace(/-?\d+(\.\d+)?/g, (w) => (r.chance(0.3) ? r.one(numbers) : w));
    else if (kind === 4)
      lines[at] = line.replace(
        /\b(eps|scale|factor) = [\d.e-]+/,
        (_, k: string) => `${k} = ${r.one(["0", "1e-6", "0.5", "-1", "1e300"])}`,
      );
    else if (kind === 5) lines.splice(at, 0, r.one(["", "  // a note", "\t"]));
    else if (kind === 6) {
      // A value under another name, everywhere: it may be taken, or no name.
      const name = r.one(line.match(/%[\w.]+/g) ?? ["%x"]);
      const other = r.one(["%renamed", "%renamed", name + ".9", "%", "%a b", "%h"]);
      for (const [i, l] of lines.entries())
        lines[i] = l.replaceAll(new RegExp(`${name.replaceAll(".", "\\.")}(?![\\w.])`, "g"), other);
    } else {
      // One word of the line for another of the line, of the file, or of another model.
      const own = line.match(/[%@]?[\w.]+|"[^"]*"|[^\s\w]/g) ?? [];
      if (own.length) lines[at] = line.replace(r.one(own), () => r.one([r.one(own), r.one(words), r.one(words), ""]));
    }
  }
  return lines.join("\n");
}

const target = targetOf("cpu", defaults);

/** Throws what refuses the case. */
export function textCase(seed: number): void {
  const module = parseModule(textOf(seed), "case.dsc");
  verify(module);
  const r = new Random(seed);
  const passes = choosePasses(r.one(["all", "none"]), standard);
  const { module: out } = runPipeline(
    module,
    passes,
    passes.length && r.chance(0.3) ? { "absorb-mla.attention": "absorbed" } : {},
  );
  const printed = printModule(out);
  if (printModule(parseModule(printed, "printed.dsc")) !== printed)
    throw new Error("what was printed does not print again as it was");
  selectModule(out, target.catalogue);
}
