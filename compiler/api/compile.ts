// `compile` from Node: SRC to an artifact in a folder, as `dsc compile` writes it.
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import type { Entry } from "../../passes/index.ts";
import * as check from "../../runtime/arguments.ts";
import { badArgument } from "../../runtime/diagnostics.ts";
import { cacheArtifact, checkOut } from "../artifact/write.ts";
import { storedIn } from "../checkpoint-dtypes.ts";
import { compile as compileSource } from "../compile.ts";
import type { Compiled } from "../driver/pack.ts";
import { writeKeepingEdits } from "../edit/kept.ts";
import type { PassProof } from "../driver/prove-passes.ts";
import { compileKeys, driven, type CompileSettings } from "./options.ts";

/** Options of `compile`: the settings, and where the artifact goes. */
export interface CompileCall extends CompileSettings {
  /** The folder of the artifact; the user's cache unless said. */
  out?: string;
  /** CUDA: put compiled kernels into the artifact, for machines without a compiler. */
  cubin?: boolean;
  /** Write model.ts too: the artifact as a typed module. */
  types?: boolean;
}

/** An artifact that lies in a folder: what `load` takes. */
export interface Artifact {
  /** Where it lies. */
  readonly folder: string;
  /** What the runtime trusts: weights, kernels, functions, and the sha256 of every other file. */
  readonly manifest: Manifest;
  /** What is right and worth knowing: weights stored otherwise, contracts that plug-ins hide. */
  readonly warnings: readonly Diagnostic[];
  /** Every rule at every place it was tried. */
  readonly ledger: readonly Entry[];
  /** What is known of each pass that was proved on the model made small. */
  readonly proofs: readonly PassProof[];
  /** The files by path: `kernels/NAME.txt`, `graph/00-frontend.dsc`. */
  readonly files: ReadonlyMap<string, string | Uint8Array>;
}

/**
 * Compiles the model of a config.json, or of a folder with one, and writes the artifact. Reads no weights and needs no GPU.
 *
 * @param src a config.json, or a folder with one
 * @param options where it goes and how it is compiled
 * @throws DiagnosticError where the config, an option or a plug-in is refused; nothing is written then
 */
export async function compile(src: string, options: CompileCall = {}): Promise<Artifact> {
  check.text("compile", "src", src, "a config.json, or a folder with one");
  const given = check.optionsOf("compile", options, [...compileKeys, "out", "cubin", "types"]);
  if (given.out !== undefined) check.text("compile", "out", given.out, "a folder for the artifact");
  check.maybeFlag("compile", "cubin", given.cubin);
  if (given.cubin && given.target !== "cuda")
    throw badArgument({ call: "compile", seen: "cubin is true", wanted: 'left out, or target "cuda" be given' });
  if (given.out !== undefined) checkOut(given.out);
  check.maybeFlag("compile", "types", given.types);
  const { out, cubin, types, ...settings } = given;
  const texts = await compiled("compile", src, settings);
  const built = cubin ? await (await import("../artifact/cubins.ts")).withCubins(texts) : texts;
  const made = types ? await (await import("../artifact/model-module.ts")).withModelModule(built) : built;
  const { written: c, said } = out === undefined ? { written: made, said: [] } : await writeKeepingEdits(made, out);
  const warnings = [...c.warnings, ...said];
  const folder = out ?? cacheArtifact(c, (d) => warnings.push(d));
  return Object.freeze({
    folder,
    manifest: c.manifest,
    warnings,
    ledger: c.outcome.ledger.entries,
    proofs: c.proofs,
    files: c.files,
  });
}

/** The artifact of a source in memory; what its checkpoint stores is looked up. */
export async function compiled(call: string, src: string, settings: CompileSettings, weights = src): Promise<Compiled> {
  const { options, pipeline } = await driven(call, settings);
  return compileSource(
    src,
    { ...options, prove: call === "compile" ? "all" : "plugins", stored: await storedBeside(weights) },
    pipeline,
  );
}

/** A checkpoint that cannot be read is no obstacle to compiling: nothing of it is needed. */
async function storedBeside(src: string): ReturnType<typeof storedIn> {
  try {
    return await storedIn(src);
  } catch (e) {
    if (e instanceof DiagnosticError) return undefined;
    throw e;
  }
}
