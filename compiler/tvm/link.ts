// A shared library of one object file, by the linker of this machine; no C compiler has a part in it.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { variable } from "../../runtime/user-cache.ts";
import { noLinker } from "../diagnostics.ts";

const names = (): string[] => {
  const asked = variable("LD");
  return asked === undefined ? ["ld", "ld.lld"] : [asked];
};

/** A linker that answers; undefined where there is none. */
export function findLinker(): { command: string; version: string } | undefined {
  for (const command of names()) {
    const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
    if (status === 0) return { command, version: stdout.split("\n")[0].trim() };
  }
  return undefined;
}

/** Links `object`, which lies in a folder of its own. Functions that it leaves undefined are those of C's library. Throws DSC6053. */
export function linked(object: string): Uint8Array {
  const said: string[] = [];
  for (const name of names()) {
    const made = path.join(path.dirname(object), "made.so");
    // No build number and no debug information, so that the same object gives the same bytes.
    const run = spawnSync(name, ["-shared", "--build-id=none", "--strip-debug", "-o", made, object], { encoding: "utf8" });
    if (run.status === 0) return new Uint8Array(readFileSync(made));
    if (!run.error) said.push(...run.stderr.trim().split("\n").slice(0, 4));
  }
  throw new DiagnosticError(noLinker({ tried: names(), said }));
}
