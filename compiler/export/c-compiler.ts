// The user's own C compiler, which makes shared libraries of texts that need libc alone.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { compilerFailed, noCompiler } from "../diagnostics.ts";

/** Where CC says nothing. */
const names = ["cc", "gcc", "clang"];

export interface CCompiler {
  /** Its command line. */
  command: string[];
  /** How it introduces itself. */
  version: string;
}

/** A C compiler of this machine. Throws DSC6032 where there is none. */
export function findCompiler(env: NodeJS.ProcessEnv = process.env): CCompiler {
  const asked = env.CC?.trim();
  const tried = asked ? [asked] : names;
  for (const name of tried) {
    const command = name.split(/\s+/);
    try {
      const said = execFileSync(command[0], [...command.slice(1), "--version"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      return { command, version: said.split("\n")[0].trim() };
    } catch {
      // The next name.
    }
  }
  throw new DiagnosticError(noCompiler({ tried }));
}

/** A shared library of one C text; `files` lie beside it while it is compiled. Throws DSC6033 with the compiler's first words. */
export const sharedLibrary = (text: string, files: ReadonlyMap<string, Uint8Array>): Uint8Array =>
  compileC(findCompiler(), new Map<string, string | Uint8Array>([...files, ["library.c", text]]), "library.c", [
    "-shared",
    "-fPIC",
    "-O2",
    "-w",
    "-fvisibility=hidden",
    "-ldl",
  ]);

/** What a compiler makes of one of these files, by its flags; the last of them may be libraries. Throws DSC6033. */
export function compileC(
  { command }: CCompiler,
  files: ReadonlyMap<string, string | Uint8Array>,
  main: string,
  flags: readonly string[],
): Uint8Array {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-cc-"));
  try {
    for (const [name, bytes] of files) writeFileSync(path.join(folder, name), bytes);
    // The file's name is not in what is made, so its bytes are the same every time.
    execFileSync(command[0], [...command.slice(1), "-o", "made", main, ...flags], {
      cwd: folder,
      stdio: ["ignore", "ignore", "pipe"],
      maxBuffer: 64 << 20,
    });
    return new Uint8Array(readFileSync(path.join(folder, "made")));
  } catch (e) {
    const { stderr, signal, message } = e as { stderr?: unknown; signal?: string; message: string };
    const said = `${signal ? `ended by ${signal}\n` : ""}${String(stderr ?? message)}`;
    throw new DiagnosticError(compilerFailed({ command: command.join(" "), said: said.trim().split("\n").slice(0, 6) }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
