// Random damage to whole artifacts: files cut, changed, swapped, gone, or something else under their name (a folder, a link, a FIFO);
// files that are read only (ledger, origins, problems) changed with all digests made anew; folders of killed writers. A reader loads
// the artifact as it was written or refuses it, `inspect` and `why` print or refuse, and a writer that goes over it loses nothing
// that dsc did not write.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import yargs from "yargs";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import type { Compiled } from "../../compiler/compile.ts";
import { inspect } from "../../compiler/commands/inspect.ts";
import { why } from "../../compiler/commands/why.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { readArtifact } from "../../runtime/index.ts";
import { manifestText, sha256 } from "../../runtime/manifest-text.ts";
import { Finding, type Kind } from "./kind.ts";
import { smallModel } from "./manifests.ts";
import { mutateBytes, mutateJson, type Json } from "./mutate.ts";
import { Random } from "./random.ts";

let work = "";
let made: Compiled[] = [];
const folder = (): string => path.join(work, "case");

/** What is done to a folder, in words, as it is done. */
function damage(r: Random, out: string, c: Compiled): string {
  const names = [...c.files.keys(), "manifest.json"];
  const name = r.one(names);
  const file = path.join(out, name);
  const other = path.join(out, r.one(names));
  const kinds: readonly [string, () => void][] = [
    [`change ${name}`, () => writeFileSync(file, mutateBytes(r, readFileSync(file)))],
    [`cut ${name}`, () => writeFileSync(file, readFileSync(file).subarray(0, r.below(lstatSync(file).size + 1)))],
    [`remove ${name}`, () => rmSync(file)],
    [`${other} in the place of ${name}`, () => cpSync(other, file)],
    [`a folder in the place of ${name}`, () => (rmSync(file), mkdirSync(file))],
    [
      `${name} a link to itself elsewhere`,
      () => (
        renameSync(file, path.join(work, "elsewhere", path.basename(name))),
        symlinkSync(path.join(work, "elsewhere", path.basename(name)), file)
      ),
    ],
    [`${name} a link to nothing`, () => (rmSync(file), symlinkSync(path.join(work, "nowhere"), file))],
    [`${name} a FIFO`, () => (rmSync(file), execFileSync("mkfifo", [file]))],
    [
      "kernels a link to a folder elsewhere",
      () => (
        cpSync(path.join(out, "kernels"), path.join(work, "elsewhere/kernels"), { recursive: true }),
        rmSync(path.join(out, "kernels"), { recursive: true }),
        symlinkSync(path.join(work, "elsewhere/kernels"), path.join(out, "kernels"))
      ),
    ],
    [
      "files of mine beside",
      () =>
        ["notes.md", "kernels/mine.cu", "graph/mine.dsc", ".dsc-mine"].forEach((n) => writeFileSync(path.join(out, n), "mine")),
    ],
    [
      "what a killed writer leaves",
      () => cpSync(path.join(work, "stage"), path.join(out, ".dsc-1073741824-Ab1"), { recursive: true }),
    ],
    [
      "mine in a killed writer's folder",
      () => (
        mkdirSync(path.join(out, ".dsc-1073741824-Ab1/graph"), { recursive: true }),
        writeFileSync(path.join(out, ".dsc-1073741824-Ab1/mine"), "mine")
      ),
    ],
    ["a lock of a process that ended", () => writeFileSync(path.join(out, ".dsc-lock"), "1073741824")],
  ];
  const [words, run] = r.one(kinds);
  run();
  return words;
}

/** A file that is only read, changed, and the manifest as if dsc had written it so. */
function reseal(r: Random, out: string, c: Compiled): string {
  const name = r.one(["ledger.json", "origins.json", "problems.json", "problems.json"]);
  const before = JSON.parse(c.files.get(name) as string) as Json;
  const after = JSON.stringify(r.chance(0.1) ? String(mutateBytes(r, new Uint8Array(20))) : mutateJson(r, before));
  const manifest: Manifest = { ...c.manifest, files: { ...c.manifest.files, [name]: sha256(after) } };
  writeFileSync(path.join(out, name), after);
  writeFileSync(path.join(out, "manifest.json"), manifestText(manifest));
  return `${name} sealed anew: ${after.slice(0, 300)}`;
}

/** All that lies below a folder, by path: bytes, or what it is. */
function picture(at: string, below = ""): Map<string, string> {
  const out = new Map<string, string>();
  for (const e of readdirSync(path.join(at, below), { withFileTypes: true })) {
    const name = path.join(below, e.name);
    if (e.isDirectory()) for (const [k, v] of picture(at, name)) out.set(k, v);
    else
      out.set(
        name,
        e.isSymbolicLink()
          ? `-> ${readlinkSync(path.join(at, name))}`
          : e.isFile()
            ? sha256(readFileSync(path.join(at, name)))
            : "special",
      );
  }
  return out;
}

/** Runs a command line in this process; its output is nobody's. */
async function quietly(...words: string[]): Promise<void> {
  const { write } = process.stdout;
  process.stdout.write = () => true;
  try {
    await yargs(words)
      .command([inspect, why] as never)
      .strict()
      .exitProcess(false)
      .fail((message, e) => {
        const wrong = e instanceof DiagnosticError && e.diagnostics[0].code === "DSC6001" ? e.message : message;
        throw wrong ? new Finding(`the command line is wrong: ${wrong}`) : e;
      })
      .parseAsync();
  } finally {
    process.stdout.write = write;
  }
}

function prepare(seed: number): { r: Random; c: Compiled; sealed: boolean; words: string[] } {
  const r = new Random(seed);
  for (const name of ["case", "elsewhere"]) {
    rmSync(path.join(work, name), { recursive: true, force: true });
    mkdirSync(path.join(work, name));
  }
  const i = r.below(made.length);
  cpSync(path.join(work, `whole-${i}`), folder(), { recursive: true });
  const sealed = r.chance(0.4);
  const words = sealed
    ? [reseal(r, folder(), made[i])]
    : Array.from({ length: r.one([1, 1, 2, 3]) }, () => attempt(() => damage(r, folder(), made[i])));
  return { r, c: made[i], sealed, words };
}

/** A second damage may find nothing to do it to. */
function attempt(f: () => string): string {
  try {
    return f();
  } catch (e) {
    return (e as Error).message;
  }
}

async function read(r: Random, c: Compiled): Promise<void> {
  const { manifest } = await readArtifact(folder());
  const json = r.chance(0.5) ? ["--json"] : [];
  const kernel = r.one(Object.keys(manifest.kernels));
  const pass = r.one([[], ["kernels"], ...c.outcome.ledger.entries.slice(0, 3).map((e) => [e.pass])]);
  await quietly("why", folder(), ...pass, ...json);
  await quietly("inspect", folder(), ...r.one([[], ["--cost", "--device", "h200"], ["--ir"]]), ...json);
  await quietly("inspect", folder(), kernel, ...r.one([[], ["--origin"]]), ...json);
}

/** Another artifact over what lies there. */
function write(r: Random): void {
  const before = new Map([
    ...picture(folder()),
    ...[...picture(path.join(work, "elsewhere"))].map(([k, v]) => [`../elsewhere/${k}`, v] as const),
  ]);
  const next = r.one(made);
  const written = new Map(made.flatMap((m) => Object.entries(m.manifest.files).map(([k, v]) => [`${k} ${v}`, true] as const)));
  let refused: unknown;
  try {
    writeArtifact(next, folder());
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    refused = e;
  }
  for (const [name, bytes] of before) {
    const at = path.join(folder(), name);
    const ours =
      written.has(`${name.replace(/^\.dsc-1073741824-\w+\/(old\/)?/, "")} ${bytes}`) ||
      /^(\.dsc-1073741824-\w+\/(old\/)?)?manifest\.json$/.test(name) ||
      name === ".dsc-lock";
    const there = existsSync(at) || lstatSync(at, { throwIfNoEntry: false }) !== undefined;
    if ((refused || !ours) && name !== ".dsc-lock" && !there) throw new Finding(`writing lost ${name}`);
    if (!refused && !ours && picture(path.dirname(at)).get(path.basename(at)) !== bytes)
      throw new Finding(`writing changed ${name}`);
  }
  if (!refused && readFileSync(path.join(folder(), "manifest.json"), "utf8") !== manifestText(next.manifest))
    throw new Finding("what was written is not there");
}

export const artifacts: Kind = {
  name: "artifacts",
  cases: { few: 60, many: 2000 },
  least: { accepted: 0.1, codes: 2 },
  async open() {
    work = mkdtempSync(path.join(tmpdir(), "dsc-fuzz-"));
    made = [
      smallModel("test/fixtures/a06-v3-dense", {}),
      smallModel("test/fixtures/a06-v3-dense", { passes: "none" }),
      smallModel("examples/deepseek-r1", { target: "cuda", activations: "bf16" }),
    ];
    made.forEach((c, i) => writeArtifact(c, path.join(work, `whole-${i}`)));
    // As a writer leaves it that was killed after it wrote all, before anything moved.
    cpSync(path.join(work, "whole-1"), path.join(work, "stage"), { recursive: true });
  },
  async run(seed) {
    const { r, c, sealed } = prepare(seed);
    let refusal: unknown;
    try {
      await read(r, c);
    } catch (e) {
      refusal = e;
    }
    if (refusal !== undefined && !(refusal instanceof DiagnosticError)) throw refusal;
    // What is sealed anew is dsc's as far as anybody can tell, and would be replaced.
    if (!sealed) write(r);
    if (refusal) throw refusal;
    return {};
  },
  show: (seed) => prepare(seed).words.join("; "),
  close() {
    rmSync(work, { recursive: true, force: true });
    made = [];
  },
};
