// Random damage to manifest.json, mostly with its digest made anew, so that what is tried is what a reader makes of a program that
// does not hold together. What is accepted is loaded and run: it may answer otherwise, for it is another program, but it may not
// crash, hang, or read what was never written. With the old digest anything but the same record is refused.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { compileSpec, defaults, type Compiled, type CompileOptions } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { shrink } from "../../compiler/analysis/shrink.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { generate, load, readArtifact } from "../../runtime/index.ts";
import { manifestText } from "../../runtime/manifest-text.ts";
import { root } from "./configs.ts";
import { Finding, type Kind } from "./kind.ts";
import { mutateBytes, mutateJson, type Json } from "./mutate.ts";
import { Random } from "./random.ts";

interface Base {
  folder: string;
  manifest: Manifest;
  text: string;
  strangers: Json[];
  /** What it answers; nothing where no device of this machine runs it. */
  ids?: string;
}

const models: readonly [string, Partial<CompileOptions>][] = [
  ["examples/deepseek-r1", {}],
  ["test/fixtures/a05-v3-halfsplit-tied-bias", {}],
  ["test/configs/DeepSeek-V2.json", { taps: true, passes: "none" }],
  ["examples/deepseek-r1", { target: "cuda", activations: "bf16" }],
];
const options = { weights: "synthetic:1", threads: 1 };
const prompts = [
  [3, 1, 4, 1, 5],
  [9, 2],
];
const NEW = 4;

let work = "";
const bases: Base[] = [];

/** A small model, compiled. */
export function smallModel(src: string, o: Partial<CompileOptions>): Compiled {
  const small = shrink(loadSpec(path.join(root, src)).spec);
  return compileSpec({ ...small, layers: [...new Set(small.layers)] }, { ...defaults, ...o });
}

async function answer(folder: string): Promise<string> {
  const model = await load(folder, options);
  try {
    const out: number[][] = [[], []];
    for await (const step of generate(model, prompts, { maxNew: NEW })) step.ids.forEach((ids, b) => out[b].push(...ids));
    return JSON.stringify(out);
  } finally {
    await model.close();
  }
}

function damaged(seed: number): { base: Base; text: string; sealed: boolean } {
  const r = new Random(seed);
  const base = r.one(bases);
  const bytes = (t: string): string => new TextDecoder().decode(mutateBytes(r, new TextEncoder().encode(t)));
  if (r.chance(0.05)) return { base, text: bytes(base.text), sealed: true };
  const changed = mutateJson(r, base.manifest as unknown as Json, base.strangers) as unknown as Manifest;
  if (r.chance(0.05))
    return {
      base,
      text: base.text.replace(JSON.stringify(base.manifest, null, 1).slice(0, -2), () =>
        JSON.stringify(changed, null, 1).slice(0, -2),
      ),
      sealed: true,
    };
  return {
    base,
    text:
      typeof changed === "object" && changed !== null && !Array.isArray(changed)
        ? manifestText(changed)
        : JSON.stringify(changed),
    sealed: false,
  };
}

export const manifests: Kind = {
  name: "manifests",
  cases: { few: 100, many: 6000 },
  // Hardly any change of a program goes unnoticed, and that is the point.
  least: { accepted: 0.01, codes: 3 },
  async open() {
    work = mkdtempSync(path.join(tmpdir(), "dsc-fuzz-"));
    for (const [i, [src, o]] of models.entries()) {
      const { manifest, files } = smallModel(src, o);
      const folder = path.join(work, String(i));
      for (const [name, data] of files) {
        mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
        writeFileSync(path.join(folder, name), data);
      }
      const text = manifestText(manifest);
      writeFileSync(path.join(folder, "manifest.json"), text);
      const strangers: Json[] = [
        ...Object.keys(manifest.kernels),
        ...Object.keys(manifest.weights),
        ...Object.keys(manifest.functions),
        ...Object.keys(manifest.files),
        "T",
        "B",
        "P",
        "S",
        "t",
        "s",
        "m",
        "e",
        "b",
        64,
        256,
      ];
      bases.push({ folder, manifest, text, strangers, ...(manifest.target === "cpu" ? { ids: await answer(folder) } : {}) });
    }
  },
  async run(seed) {
    const { base, text, sealed } = damaged(seed);
    writeFileSync(path.join(base.folder, "manifest.json"), text);
    const { manifest } = await readArtifact(base.folder);
    if (sealed && manifestText(manifest) !== base.text) throw new Finding("an edited manifest is taken for what dsc wrote");
    if (base.ids === undefined || manifest.target !== "cpu") return {};
    try {
      const ids = await answer(base.folder);
      if (ids === base.ids) return {};
      if (sealed) throw new Finding(`other ids: ${ids}`);
      return { note: "another program, other ids" };
    } catch (e) {
      // What is read may still not fit this machine, or these prompts.
      if (e instanceof DiagnosticError && !sealed) return { note: e.diagnostics[0].code };
      throw e;
    }
  },
  show(seed) {
    const { base, text } = damaged(seed);
    const [a, b] = [base.text.split("\n"), text.split("\n")];
    const at = a.findIndex((l, i) => l !== b[i]);
    return `${path.basename(base.folder)}: line ${at + 1} and on\n${b
      .slice(Math.max(0, at - 3), at + 12)
      .join("\n")
      .slice(0, 1500)}`;
  },
  close() {
    rmSync(work, { recursive: true, force: true });
    bases.length = 0;
  },
};
