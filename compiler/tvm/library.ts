// The library of an artifact's kernels by TVM: in a process of its own, once for all of them, or from the user's cache by what goes in.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { EXPORTED } from "../../codegen/tir/target.ts";
import type { TirFunction } from "../../codegen/tir/ir.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { cacheFolder, keep } from "../../runtime/user-cache.ts";
import { noTvmCompiler, otherTvm, tvmFailed } from "../diagnostics.ts";
import { linked } from "./link.ts";
import { findTvmCompiler, PINNED, type FoundCompiler } from "./version.ts";
import { encode, type Request } from "./wire.ts";

/** Services keep their names; kernels are exported under what the runtime knows them by. Throws DSC6050 to DSC6053. */
export function tvmLibrary(
  { services, target }: { services: readonly TirFunction[]; target: Readonly<Record<string, string>> },
  kernels: readonly (readonly [name: string, f: TirFunction])[],
): { bytes: Uint8Array; compiler: string } {
  const found = findTvmCompiler();
  if ("missing" in found) throw new DiagnosticError(noTvmCompiler({ pinned: PINNED, found: found.missing }));
  if ("other" in found) throw new DiagnosticError(otherTvm({ pinned: PINNED, version: found.other, folder: found.folder }));
  const functions = [
    ...services.map((f): [string, TirFunction] => [f.name, f]),
    ...kernels.map(([name, f]): [string, TirFunction] => [`${EXPORTED}${name}`, f]),
  ];
  const compiler = `TVM ${found.version ?? PINNED}`;
  const digest = createHash("sha256").update(encode({ ffi: [], libraries: [compiler], target, functions, object: "" }));
  const file = path.join(cacheFolder(), "libraries", `${digest.digest("hex").slice(0, 40)}.so`);
  try {
    return { bytes: new Uint8Array(readFileSync(file)), compiler };
  } catch {
    const bytes = compiled(found, { target, functions });
    keep(file, bytes);
    return { bytes, compiler };
  }
}

function compiled({ ffi, libraries }: FoundCompiler, asked: Pick<Request, "target" | "functions">): Uint8Array {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-tvm-"));
  try {
    const object = path.join(folder, "library.o");
    const { status, signal, stderr, error } = spawnSync(process.execPath, [processFile()], {
      input: encode({ ffi, libraries, ...asked, object }),
      stdio: ["pipe", "ignore", "pipe"],
      maxBuffer: 2 ** 30,
      encoding: "utf8",
    });
    if (status !== 0) {
      const how = signal === null ? (error?.message ?? `status ${status}`) : `its process was ended by ${signal}`;
      throw new DiagnosticError(tvmFailed({ how, said: (stderr ?? "").trim().split("\n").filter(Boolean).slice(0, 6) }));
    }
    return linked(object);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The process is JavaScript: when this file runs as TypeScript (under the tests), the built one in dist. */
function processFile(): string {
  const here = import.meta.url;
  const name = "compiler/tvm/compile-process.js";
  return fileURLToPath(here.endsWith(".ts") ? new URL(`../../dist/${name}`, here) : new URL(`../../${name}`, here));
}
