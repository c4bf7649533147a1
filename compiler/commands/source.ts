// What commands that run a model share: SRC becomes an artifact (a config or model folder is compiled into the cache), and the
// weights and the tokenizer that belong to it are found.
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { loadGeneration, loadTokenizer, readArtifact, type Generation, type Tokenizer } from "../../runtime/index.ts";
import { cacheArtifact } from "../artifact/write.ts";
import { compile } from "../compile.ts";
import { compileOptionOnArtifact, needsTaps, usage } from "../diagnostics.ts";
import { storedIn } from "../checkpoint-dtypes.ts";
import { say } from "../tell.ts";
import { checkModelEffects, typed } from "./effects.ts";
import { compileFlagNames, optionsOf, pipelineOf, type CompileFlags } from "./options.ts";

export interface SourceFlags extends CompileFlags {
  src: string;
  weights?: string;
}

export interface Source {
  /** The artifact. */
  folder: string;
  /** A checkpoint folder, or synthetic:SEED. */
  weights: string;
  /** The model folder SRC names, where it is no artifact. */
  beside?: string;
}

/** The artifact of SRC, with results for every row where `taps` says what needs them. */
export async function sourceOf(a: SourceFlags, taps?: string): Promise<Source> {
  const { folder, beside } = await artifactOf(a, taps);
  const weights = a.weights ?? beside;
  if (weights === undefined)
    throw new DiagnosticError(
      usage({ problem: "an artifact holds no weights", help: "give --weights DIR, or --weights synthetic:0" }),
    );
  return { folder, weights, ...(beside === undefined ? {} : { beside }) };
}

async function artifactOf(a: SourceFlags, taps: string | undefined): Promise<{ folder: string; beside?: string }> {
  if (existsSync(path.join(a.src, "manifest.json"))) {
    const given = typed(compileFlagNames);
    if (given.length) throw new DiagnosticError(compileOptionOnArtifact({ options: given.map((n) => `--${n}`) }));
    const { manifest } = await readArtifact(a.src);
    if (taps !== undefined && !manifest.options.taps) throw new DiagnosticError(needsTaps({ what: taps }));
    return { folder: a.src };
  }
  const { pipeline, passOptions, brings } = await pipelineOf(a.src, a);
  const c = compile(
    a.src,
    { ...optionsOf(a, brings), passOptions, taps: a.taps || taps !== undefined, stored: await storedIn(a.weights ?? a.src) },
    pipeline,
  );
  checkModelEffects(c.spec, a);
  c.warnings.forEach(say);
  return { folder: cacheArtifact(c, say), beside: statSync(a.src).isDirectory() ? a.src : path.dirname(a.src) };
}

/** The tokenizer beside the weights, or else beside the config; `option` is what needs it. */
export async function tokenizerOf(
  { weights, beside }: Source,
  option: string,
  help = "run the model folder instead of the artifact",
): Promise<Tokenizer> {
  const folders = [...(weights.startsWith("synthetic:") ? [] : [folderOf(weights)]), ...(beside === undefined ? [] : [beside])];
  if (folders.length === 0)
    throw new DiagnosticError(
      usage({ problem: `${option} needs a tokenizer; an artifact with synthetic weights has none`, help }),
    );
  const holds = (f: string): boolean => ["tokenizer.json", "tiktoken.model"].some((name) => existsSync(path.join(f, name)));
  const tokenizer = await loadTokenizer(folders.find(holds) ?? folders[0]);
  tokenizer.warnings.forEach(say);
  return tokenizer;
}

/** generation_config.json beside the weights, or else beside the config; what it asks for in vain is said. */
export async function generationOf({ weights, beside }: Source): Promise<Generation | undefined> {
  const folders = [...(weights.startsWith("synthetic:") ? [] : [folderOf(weights)]), ...(beside === undefined ? [] : [beside])];
  for (const folder of folders) {
    const found = await loadGeneration(folder);
    if (found) return found;
  }
  return undefined;
}

const folderOf = (p: string): string => (existsSync(p) && statSync(p).isDirectory() ? p : path.dirname(p));
