// npm run bundle: dsc, the packages it needs at run time and this Node in one archive, for GPU machines that reach no network.
// There: tar xf dsc-linux-x64.tar.xz && dsc/run device. The machine needs this platform and a C library no older than this one's.
// The same build gives the same bytes. Ends with code 1 above LIMIT, and when the unpacked archive does not start.
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

/** Bytes of the archive, at most: what such machines take in one upload. */
const LIMIT = 40e6;

const root = path.resolve(import.meta.dirname, "../../..");
const out = path.join(root, ".dsc/bundle");

interface Package {
  version: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const has = (program: string): boolean => !spawnSync(program, ["--version"], { stdio: "ignore" }).error;
const readPackage = (folder: string): Package =>
  JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8")) as Package;

/** Folders of all packages that dsc needs at run time; of optional ones those that were installed, which are this platform's. */
function packages(): string[] {
  const found = new Set<string>();
  const visit = (from: string): void => {
    const { dependencies = {}, optionalDependencies = {} } = readPackage(from);
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const folder = resolve(from, name);
      if (folder === undefined && !(name in optionalDependencies))
        fail(`${name}, which ${path.relative(root, from) || "dsc"} needs, is not installed: npm ci`);
      if (folder === undefined || found.has(folder)) continue;
      found.add(folder);
      visit(folder);
    }
  };
  visit(root);
  return [...found].toSorted();
}

/** Node's own search: node_modules of this folder, then of the folders around it. */
function resolve(from: string, name: string): string | undefined {
  for (let at = from; at.startsWith(root); at = path.dirname(at)) {
    const folder = path.join(at, "node_modules", name);
    if (fs.existsSync(path.join(folder, "package.json"))) return folder;
  }
  return undefined;
}

/** Types, maps and prose do not run; packages within a package are copied by their own right. */
const runs = (file: string): boolean => !/\.(map|md)$|\.d\.[cm]?ts$/.test(file) && !/[\\/](node_modules|doc)$/.test(file);

const script = `#!/bin/sh
# run device ...: checks and times of this machine's GPU. run bench ...: of its CPU. Anything else is a command of dsc.
here=$(cd "$(dirname "$0")" && pwd)
case "$1" in
  device|bench) what=$1; shift; exec "$here/node" "$here/dist/test/$what/$what.js" "$@" ;;
  *) exec "$here/node" "$here/dist/compiler/cli.js" "$@" ;;
esac
`;

/** What is wrong with this machine or the result; anything else that is thrown is a fault of this file. */
class Failure extends Error {}

function fail(why: string): never {
  throw new Failure(why);
}

const megabytes = (n: number): string => `${(n / 1e6).toFixed(1)} MB`;
const sizeOf = (folder: string): number =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .reduce((n, e) => n + (e.isFile() ? fs.statSync(path.join(e.parentPath, e.name)).size : 0), 0);

/** Fills a folder with all that the archive holds. */
function fill(folder: string): void {
  const copy = (from: string): void => {
    if (fs.existsSync(path.join(root, from)))
      fs.cpSync(path.join(root, from), path.join(folder, from), {
        recursive: true,
        filter: (f) => f === path.join(root, from) || runs(f),
      });
  };
  for (const part of ["package.json", "LICENSE", "dist", "examples/deepseek-r1"]) copy(part);
  for (const p of packages()) copy(path.relative(root, p));
  const node = path.join(folder, "node");
  fs.copyFileSync(process.execPath, node);
  if (has("strip")) execFileSync("strip", [node]);
  fs.chmodSync(node, 0o755);
  fs.writeFileSync(path.join(folder, "run"), script, { mode: 0o755 });
}

const work = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-bundle-"));
try {
  const folder = path.join(work, "dsc");
  fs.mkdirSync(folder);
  fill(folder);
  const [type, flag] = has("xz") ? ["tar.xz", "J"] : ["tar.gz", "z"];
  const archive = path.join(out, `dsc-${process.platform}-${process.arch}.${type}`);
  fs.rmSync(out, { recursive: true, force: true });
  fs.mkdirSync(out, { recursive: true });
  // GNU tar can forget who packed and when; another tar packs the same files under other bytes.
  const same = execFileSync("tar", ["--version"], { encoding: "utf8" }).includes("GNU")
    ? ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
    : [];
  execFileSync("tar", [`-c${flag}f`, archive, ...same, "-C", work, "dsc"], {
    env: { ...process.env, XZ_OPT: "-9" },
    stdio: ["ignore", "inherit", "inherit"],
  });

  const unpacked = path.join(work, "unpacked");
  fs.mkdirSync(unpacked);
  execFileSync("tar", ["-xf", archive, "-C", unpacked]);
  const start = spawnSync(path.join(unpacked, "dsc/run"), ["--version"], {
    cwd: work,
    encoding: "utf8",
    env: { PATH: "/usr/bin:/bin" },
  });
  const { version } = readPackage(root);
  if (start.status !== 0 || start.stdout.trim() !== version)
    fail(`the unpacked archive does not start: ${start.stderr || start.stdout || start.error?.message}`);

  const bytes = fs.statSync(archive).size;
  const parts = [
    ["node", fs.statSync(path.join(folder, "node")).size],
    ["dist", sizeOf(path.join(folder, "dist"))],
    ["node_modules", sizeOf(path.join(folder, "node_modules"))],
  ] as const;
  process.stdout.write(
    `${path.relative(root, archive)}: ${megabytes(bytes)}; unpacked ${parts.map(([n, b]) => `${n} ${megabytes(b)}`).join(", ")}\n`,
  );
  process.stdout.write(
    `Node ${process.version} for ${process.platform}-${process.arch}, dsc ${version}; unpack it and call dsc/run device\n`,
  );
  if (bytes > LIMIT) fail(`the archive is over ${megabytes(LIMIT)}`);
} catch (e) {
  if (!(e instanceof Failure)) throw e;
  process.stderr.write(`bundle: ${e.message}\n`);
  process.exitCode = 1;
} finally {
  fs.rmSync(work, { recursive: true, force: true });
}
