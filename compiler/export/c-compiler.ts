// The user's own C compiler, which makes shared libraries of texts that need libc alone.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { compilerFailed, noCompiler } from "../diagnostics.ts";

/** Where CC says nothing. */
const names = ["cc", "gcc", "clang"];

/** A C compiler of this machine as its command line, and how it introduces itself. Throws DSC6032 where there is none. */
export function findCompiler(env: NodeJS.ProcessEnv = process.env): { command: string[]; version: string } {
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
export function sharedLibrary(text: string, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const { command } = findCompiler();
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-cc-"));
  try {
    writeFileSync(path.join(folder, "library.c"), text);
    for (const [name, bytes] of files) writeFileSync(path.join(folder, name), bytes);
    // The file's name is not in the library, so its bytes are the same every time.
    const flags = ["-shared", "-fPIC", "-O2", "-w", "-fvisibility=hidden", "-o", "library.so", "library.c", "-ldl"];
    execFileSync(command[0], [...command.slice(1), ...flags], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    return new Uint8Array(readFileSync(path.join(folder, "library.so")));
  } catch (e) {
    const said = String((e as { stderr?: unknown }).stderr ?? (e as Error).message);
    throw new DiagnosticError(compilerFailed({ command: command.join(" "), said: said.trim().split("\n").slice(0, 6) }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
