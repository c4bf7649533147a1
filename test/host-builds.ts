// Folders that all files of a test run share: for what g++ builds (test/kernels/host-compiler.ts; DSC_HOST_BUILDS names one that is kept),
// and for proofs of passes (test/kept-proofs.ts).
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export default function share(): () => void {
  const made = ["DSC_HOST_BUILDS", "DSC_TEST_PROOFS"].flatMap((name) => {
    if (process.env[name]) return [];
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-host-"));
    process.env[name] = folder;
    return [folder];
  });
  return () => {
    for (const folder of made) fs.rmSync(folder, { recursive: true, force: true });
  };
}
