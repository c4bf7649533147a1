// A tool, no test: a digest of the machine code of every native kernel of published models, names and addresses left out. A change of
// words, names or order of device functions changes none of them:
//   npx jiti test/kernels/sass.ts > before.txt; ...; npx jiti test/kernels/sass.ts > after.txt; diff before.txt after.txt
// Needs nvcc and cuobjdump. An argument is a pattern: only kernels whose names match. Digests of texts seen before are kept in .dsc/sass.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { natives } from "../../codegen/cuda/sm90/natives.ts";
import { pathOf, read, supported, textOf } from "../frontend/configs.ts";
import { build, disassemble, findCuobjdump } from "./nvcc.ts";

const models = [supported["DeepSeek-R1"], supported["DeepSeek-V2-Lite"], read("examples/printed-model/config.json")];
/** Options that choose other natives. */
const variants: readonly Partial<CompileOptions>[] = [
  { activations: "bf16" },
  { activations: "f32" },
  { activations: "bf16", deterministic: true },
];
/** Kernels that one nvcc compiles: starting it costs as much as a small kernel. */
const TOGETHER = 6;

const digest = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 16);

/** Texts of all natives of the models. */
function nativeTexts(): { name: string; text: string }[] {
  const texts = new Map<string, { name: string; text: string }>();
  for (const config of models)
    for (const options of variants) {
      const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
      const { manifest, files } = compileSpec(spec, { ...defaults, ...options, target: "cuda" });
      for (const [name, k] of Object.entries(manifest.kernels))
        if (natives.some((n) => n.family === k.family))
          texts.set(name + String(files.get(k.text)), { name: k.entry, text: String(files.get(k.text)) });
    }
  return [...texts.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The instructions of a disassembly. */
const instructions = (sass: string): string =>
  sass
    .split("\n")
    .flatMap((l) => /^\s+\/\*[0-9a-f]{4,}\*\/\s+(.*?);/.exec(l)?.[1] ?? [])
    .join("\n");

const cuobjdump = findCuobjdump();
if (!cuobjdump) throw new Error("no cuobjdump");
const pattern = new RegExp(process.argv[2] ?? "");
const wanted = nativeTexts().filter(({ name }) => pattern.test(name));
const folder = pathOf(".dsc/sass");
fs.mkdirSync(folder, { recursive: true });
const kept = (text: string): string => path.join(folder, digest(text));
const fresh = wanted.filter(({ text }) => !fs.existsSync(kept(text)));
for (let i = 0; i < fresh.length; i += 2 * TOGETHER) {
  // Two files at a time, a core each. A namespace each, for helpers share names, and so do entries of two texts.
  const part = fresh.slice(i, i + 2 * TOGETHER).map((k, j) => ({ ...k, entry: `k${j}` }));
  const files = [0, 1].map((f): [string, string] => [
    `f${f}`,
    part
      .filter((_, j) => j % 2 === f)
      .map(({ name, entry, text }) => `namespace n_${entry} {\n${text.replace(new RegExp(`^${name}\\(`, "m"), `${entry}(`)}}\n`)
      .join(""),
  ]);
  const { cubins } = await build(new Map(files.filter(([, text]) => text !== "")));
  const code = new Map([...cubins.values()].flatMap((c) => [...disassemble(cuobjdump, c)]));
  for (const { entry, text } of part) fs.writeFileSync(kept(text), digest(instructions(code.get(entry)!)));
  console.error(`${Math.min(i + 2 * TOGETHER, fresh.length)} of ${fresh.length}`);
}
for (const { name, text } of wanted) console.log(`${name} ${fs.readFileSync(kept(text), "utf8")}`);
