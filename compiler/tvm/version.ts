// The version of TVM whose constructors are known here (nodes.ts), and what is found of it.
import { existsSync } from "node:fs";
import path from "node:path";
import { candidates, fileOf, findTvm } from "../../runtime/tvm/find.ts";

/** Constructors change their names with every minor version. */
export const PINNED = "0.27";

export interface FoundCompiler {
  /** Names of libtvm_ffi to try. */
  ffi: string[];
  /** Libraries in the order in which they are opened. */
  libraries: string[];
  folder: string;
  version?: string;
}

/** What compiles, or what is wrong with what is there. */
export function findTvmCompiler(): FoundCompiler | { missing: string | undefined } | { other: string; folder: string } {
  const found = findTvm();
  if (!found) return { missing: undefined };
  const { folder, version, libraries } = found;
  if (version !== undefined && !version.startsWith(`${PINNED}.`)) return { other: version, folder };
  const compiler = path.join(folder, fileOf("tvm_compiler"));
  if (!existsSync(compiler)) return { missing: folder };
  return { ffi: candidates(), libraries: [libraries[0], compiler], folder, ...(version === undefined ? {} : { version }) };
}
