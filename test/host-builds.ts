// A folder for what g++ builds during a test run (test/kernels/host-compiler.ts), which all files share. DSC_HOST_BUILDS names one
// that is kept.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export default function share(): (() => void) | undefined {
  if (process.env.DSC_HOST_BUILDS) return undefined;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-host-"));
  process.env.DSC_HOST_BUILDS = folder;
  return () => fs.rmSync(folder, { recursive: true, force: true });
}
