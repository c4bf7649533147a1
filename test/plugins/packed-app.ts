// The package as npm packs it, installed in a folder of its own, as a user of it has it.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export const root = path.resolve(import.meta.dirname, "../..");

export interface App {
  folder: string;
  /** Runs dsc as it is installed there. */
  dsc(...words: string[]): { status: number | null; out: string; stdout: string };
}

/** Packs and installs. Without a network npm cannot install: the archive is unpacked, its dependencies are linked to those here. */
export function packedApp(): App {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-packed-"));
  const installed = path.join(folder, "node_modules/dsc");
  const [{ filename }] = JSON.parse(
    execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  ) as { filename: string }[];
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["xzf", path.join(folder, filename), "-C", installed, "--strip-components", "1"]);
  for (const name of readdirSync(path.join(root, "node_modules")))
    if (!name.startsWith(".")) symlinkSync(path.join(root, "node_modules", name), path.join(folder, "node_modules", name));
  return {
    folder,
    dsc(...words) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(installed, "dist/compiler/cli.js"), ...words], {
        cwd: folder,
        encoding: "utf8",
      });
      return { status, stdout, out: stdout + stderr };
    },
  };
}
