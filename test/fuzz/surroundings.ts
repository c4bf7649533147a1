// What a kind may touch: folders of its own below the folder for temporary files, which are gone when it is closed. Everything else
// that a program might write to by itself is looked at: the working folder, the home, the cache of kernels.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes in use once what nobody holds is gone. */
export function memoryUsed(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const SETTINGS = ["TMPDIR", "HOME", "XDG_CACHE_HOME", "DSC_CACHE"] as const;
/** Folders of the checkout that tools write to. */
const OTHERS = new Set(["node_modules", ".git", "dist", ".dsc"]);

export class Surroundings {
  private readonly base = mkdtempSync(path.join(tmpdir(), "dsc-around-"));
  private readonly was = SETTINGS.map((name) => process.env[name]);
  private readonly before = picture(process.cwd());

  constructor() {
    for (const name of SETTINGS) {
      mkdirSync(path.join(this.base, name));
      process.env[name] = path.join(this.base, name);
    }
  }

  /** Files that are there and should not be, in words. */
  strays(): string[] {
    const after = picture(process.cwd());
    const changed = [...new Set([...this.before.keys(), ...after.keys()])].filter((f) => this.before.get(f) !== after.get(f));
    return [
      ...changed.map((f) => `${f} of the working folder was written, changed or removed`),
      ...SETTINGS.flatMap((name) => [...picture(path.join(this.base, name)).keys()].map((f) => `${f} stays behind in ${name}`)),
    ];
  }

  leave(): void {
    for (const [i, name] of SETTINGS.entries()) {
      if (this.was[i] === undefined) delete process.env[name];
      else process.env[name] = this.was[i];
    }
    rmSync(this.base, { recursive: true, force: true });
  }
}

/** Everything below a folder: path to size and time of change. */
function picture(at: string, below = ""): Map<string, string> {
  const out = new Map<string, string>();
  for (const e of readdirSync(path.join(at, below), { withFileTypes: true })) {
    const name = path.join(below, e.name);
    if (e.isDirectory() && (below !== "" || !OTHERS.has(e.name))) for (const [k, v] of picture(at, name)) out.set(k, v);
    else if (!e.isDirectory())
      out.set(name, e.isFile() ? `${statSync(path.join(at, name)).size} ${statSync(path.join(at, name)).mtimeMs}` : "special");
  }
  return out;
}
