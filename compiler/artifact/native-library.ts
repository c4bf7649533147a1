// The library of an artifact's kernels: their texts through the C compiler of this machine, once for all of them, or from the user's cache
// by what goes in. Another compiler gives other bytes, so the artifact names the one it had.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { cacheFolder, keep, variable } from "../../runtime/user-cache.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { compilerTooOld } from "../diagnostics.ts";
import { compileC, findCompiler, type CCompiler } from "../export/c-compiler.ts";

/**
 * Flags of every kernel. Sums and codes have the same bits on every machine, so nothing is contracted that the text does not; integers
 * wrap, and vectors are read from memory of any type.
 */
const CFLAGS = [
  "-std=gnu11",
  "-O2",
  "-w",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-strict-aliasing",
  "-fwrapv",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fno-trapping-math",
] as const;

/** CFLAGS of the environment come last, as with make. */
const words = (flags: string | undefined): string[] => flags?.split(/\s+/) ?? [];

const MAIN = "library.c";

/** Least versions, by what compilers call themselves. Of clang that of Apple is counted otherwise, and later. */
const least = { __clang_major__: ["clang", 12], __GNUC__: ["gcc", 12] } as const;

/** Throws DSC6048 where the compiler is an older gcc or clang; of another one nothing is known. */
function checkVersion(compiler: CCompiler): void {
  const macros = Buffer.from(compileC(compiler, new Map([["macros.c", ""]]), "macros.c", ["-dM", "-E"])).toString();
  // clang says that it is a gcc too.
  for (const [macro, [name, version]] of Object.entries(least)) {
    const found = new RegExp(`^#define ${macro} (\\d+)`, "m").exec(macros);
    if (!found) continue;
    if (Number(found[1]) >= version) return;
    const command = compiler.command.join(" ");
    throw new DiagnosticError(compilerTooOld({ command, is: `${name} ${found[1]}`, least: "gcc 12 or clang 12" }));
  }
}

/** The library and who made it. Throws DSC6032, DSC6033 and DSC6048. */
export function nativeLibrary(
  files: ReadonlyMap<string, string | Uint8Array>,
  { flags }: { flags: readonly string[] },
): { bytes: Uint8Array; compiler: string } {
  const compiler = findCompiler();
  const texts = new Map(
    [...files].filter(([p]) => /^kernels\/[^/]+\.[ch]$/.test(p)).map(([p, text]) => [path.basename(p), text]),
  );
  const all = [...flags, ...CFLAGS, ...words(variable("CFLAGS")), "-shared"];
  const digest = createHash("sha256").update(JSON.stringify([compiler.command, compiler.version, all, ...texts]));
  const file = path.join(cacheFolder(), "libraries", `${digest.digest("hex").slice(0, 40)}.so`);
  try {
    return { bytes: new Uint8Array(readFileSync(file)), compiler: compiler.version };
  } catch {
    checkVersion(compiler);
    const bytes = compileC(compiler, texts, MAIN, [...all, "-lm"]);
    keep(file, bytes);
    return { bytes, compiler: compiler.version };
  }
}
