// dsc weights SRC --synthetic SEED -o DIR: a checkpoint with the config's own tensor names and shapes.
import { readdirSync, rmSync, statSync, statfsSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { readTextSync, writeWhole } from "../../runtime/files.ts";
import { writeSynthetic, writerOf } from "../../runtime/index.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { makeFolder } from "../artifact/make-folder.ts";
import { kindAt } from "../artifact/ours.ts";
import { cannotWrite, foreignCheckpoint, noRoom } from "../diagnostics.ts";
import { loadSpec } from "../frontend/config.ts";
import { openSource } from "../frontend/source.ts";
import { storedTensors } from "../frontend/weights.ts";
import { size, summarise } from "../report/summary.ts";
import { version } from "../artifact/version.ts";
import { checkWhole } from "./options.ts";

interface Options {
  src: string;
  synthetic: number;
  out: string;
  set: string[];
}

export const weights = {
  command: "weights <src>",
  describe: "write a synthetic checkpoint for a config",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
      .option("synthetic", {
        type: "number",
        demandOption: true,
        describe: "seed: every weight is a function of seed, name and index",
      })
      .option("out", { alias: "o", type: "string", demandOption: true, describe: "folder for the checkpoint" })
      .option("set", {
        type: "string",
        array: true,
        default: [] as string[],
        describe: "key=value laid over the config",
      }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkWhole("--synthetic", a.synthetic, 0, 2 ** 32 - 1);
    const { spec, file } = loadSpec(a.src, a.set);
    const tensors = storedTensors(spec);
    const total = summarise(spec).bytes_with_mtp.total;
    // With --set, the config as it was read: the folder describes itself.
    const text = a.set.length ? JSON.stringify(openSource(a.src, a.set).value, null, 2) + "\n" : readTextSync(file);
    await prepare(a.out, total, text, spec.layers.length);
    let files: string[];
    try {
      writeWhole(
        path.join(a.out, marker),
        `${JSON.stringify({ synthetic: a.synthetic, written_by: `dsc ${version}`, config_sha256: sha256(text) })}\n`,
      );
      writeWhole(path.join(a.out, "config.json"), text);
      files = await writeSynthetic(a.out, tensors, a.synthetic, { ue8m0: spec.fp8?.scale === "ue8m0", writer });
    } catch (e) {
      throw e instanceof DiagnosticError ? e : new DiagnosticError(cannotWrite({ where: a.out, problem: (e as Error).message }));
    }
    const shown = files.length > 3 ? `${files.length - 1} shards and their index` : files.join(", ");
    process.stdout.write(`${tensors.length} tensors, ${size(total)}: ${shown} in ${a.out}\n`);
  },
};

/** Says what the folder's config.json was made from. */
const marker = "synthetic.json";
/** What headers of the shards, and their index, say of who wrote them. */
const writer = "dsc weights";

/** Makes the folder; refuses what someone else put there and a disk too small; removes shards of an earlier write. */
async function prepare(folder: string, bytes: number, config: string, layers: number): Promise<void> {
  let old: string[];
  let free: number;
  try {
    makeFolder(folder);
    const there = readdirSync(folder);
    old = there.filter((f) => /\.safetensors(\.index\.json)?(\.\w+\.part)?$/.test(f));
    const mark = there.includes(marker) ? markOf(path.join(folder, marker)) : undefined;
    if (there.includes(marker) && mark === undefined)
      throw new DiagnosticError(foreignCheckpoint({ where: folder, file: marker }));
    for (const f of old)
      if (!(await isOurs(path.join(folder, f)))) throw new DiagnosticError(foreignCheckpoint({ where: folder, file: f }));
    if (there.includes("config.json") && !configIsOurs(path.join(folder, "config.json"), config, mark))
      throw new DiagnosticError(foreignCheckpoint({ where: folder, file: "config.json" }));
    const disk = statfsSync(folder);
    free = disk.bavail * disk.bsize + old.reduce((n, f) => n + statSync(path.join(folder, f)).size, 0);
  } catch (e) {
    throw e instanceof DiagnosticError ? e : new DiagnosticError(cannotWrite({ where: folder, problem: (e as Error).message }));
  }
  if (bytes > free) throw new DiagnosticError(noRoom({ where: folder, needed: size(bytes), free: size(free), layers }));
  for (const f of old) rmSync(path.join(folder, f));
}

/** Digest of the config.json that an earlier write put there, by its marker; nothing where the file is not one. */
function markOf(file: string): string | undefined {
  try {
    const { written_by, config_sha256, ...more } = JSON.parse(readTextSync(file)) as Record<string, unknown>;
    return kindAt(file) === "file" &&
      String(written_by).startsWith("dsc ") &&
      typeof config_sha256 === "string" &&
      Object.keys(more).join() === "synthetic"
      ? config_sha256
      : undefined;
  } catch {
    return undefined;
  }
}

/** A shard, or its index, that says who wrote it. What a killed write left under a name of its own is the beginning of one. */
async function isOurs(file: string): Promise<boolean> {
  if (kindAt(file) !== "file") return false;
  if (!/\.index\.json(\.\w+\.part)?$/.test(file)) return (await writerOf(file)) === writer;
  try {
    return (JSON.parse(readTextSync(file)) as { metadata?: { written_by?: unknown } } | null)?.metadata?.written_by === writer;
  } catch {
    return false;
  }
}

function configIsOurs(file: string, wanted: string, mark: string | undefined): boolean {
  if (kindAt(file) !== "file") return false;
  const text = readTextSync(file);
  return text === wanted || sha256(text) === mark;
}
