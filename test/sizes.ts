// npm run sizes: files and lines of each source folder, and files that are longer than this house likes. A habit, not a gate:
// it always exits 0.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

const FOLDERS = ["ir", "passes", "codegen", "runtime", "compiler", "test"];
const LONG = 250;

// From the folder npm runs in: the built file lies in dist, the sources beside it.
const root = process.cwd();

interface Source {
  file: string;
  folder: string;
  lines: number;
}

/** Folders under one of FOLDERS are counted apart where they hold sources of their own. */
function sources(folder: string): Source[] {
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith(".ts"))
    .map((e) => {
      const file = path.relative(root, path.join(e.parentPath, e.name)).split(path.sep).join("/");
      const text = readFileSync(path.join(root, file), "utf8");
      return { file, folder: path.posix.dirname(file), lines: text.split("\n").length - (text.endsWith("\n") ? 1 : 0) };
    })
    .toSorted((a, b) => (a.file < b.file ? -1 : 1));
}

const sum = (list: readonly Source[]): number => list.reduce((n, s) => n + s.lines, 0);
const median = (list: readonly Source[]): number => list.map((s) => s.lines).toSorted((a, b) => a - b)[list.length >> 1];
const row = (name: string, list: readonly Source[]): string =>
  `${name.padEnd(28)}${String(list.length).padStart(6)}${String(sum(list)).padStart(8)}${String(median(list)).padStart(8)}${String(Math.max(...list.map((s) => s.lines))).padStart(9)}`;

const all = FOLDERS.map((f) => [f, sources(f)] as const).filter(([, list]) => list.length > 0);
const out = [`${"folder".padEnd(28)}${"files".padStart(6)}${"lines".padStart(8)}${"median".padStart(8)}${"longest".padStart(9)}`];
for (const [folder, list] of all) {
  out.push(row(folder, list));
  const below = [...new Set(list.map((s) => s.folder))].toSorted();
  if (below.length > 1)
    for (const f of below)
      out.push(
        row(
          `  ${f}`,
          list.filter((s) => s.folder === f),
        ),
      );
}
const every = all.flatMap(([, list]) => list);
out.push(
  row("all", every),
  row(
    "  without test",
    every.filter((s) => !s.file.startsWith("test/")),
  ),
);

const long = every.filter((s) => s.lines > LONG).toSorted((a, b) => b.lines - a.lines);
out.push(
  "",
  long.length ? `longer than ${LONG} lines:` : `no file is longer than ${LONG} lines`,
  ...long.map((s) => `${String(s.lines).padStart(6)}  ${s.file}`),
);
process.stdout.write(out.join("\n") + "\n");
