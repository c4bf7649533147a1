// A cache for dsc (DSC_CACHE) that is a test file's own, but for proofs of passes: a file of a run finds those that another one made. A
// proof's name is a digest of all that it is of (compiler/driver/prove-passes.ts), and the folder lives as long as the run
// (test/host-builds.ts).
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";

/** Makes the cache, where it is not there; gives its path. */
export function cacheAt(folder: string): string {
  const proofs = process.env.DSC_TEST_PROOFS;
  if (!existsSync(folder)) {
    mkdirSync(folder, { recursive: true });
    if (proofs) symlinkSync(proofs, path.join(folder, "proofs"));
  }
  return folder;
}
