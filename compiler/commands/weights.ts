// dsc weights SRC --synthetic SEED -o DIR: a checkpoint with the config's own tensor names and shapes.
import { readFileSync, readdirSync, rmSync, statSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { writeSynthetic } from "../../runtime/index.ts";
import { makeFolder } from "../artifact.ts";
import { cannotWrite, foreignCheckpoint, noRoom } from "../diagnostics.ts";
import { loadSpec } from "../frontend/config.ts";
import { openSource } from "../frontend/source.ts";
import { tensorsOf } from "../frontend/weights.ts";
import { size, summarise } from "../report/summary.ts";
import { version } from "../version.ts";
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
      .option("synthetic", { type: "number", demandOption: true, describe: "seed: every weight is a function of seed, name and index" })
      .option("out", { alias: "o", type: "string", demandOption: true, describe: "folder for the checkpoint" })
      .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkWhole("--synthetic", a.synthetic, 0, 2 ** 32 - 1);
    const { spec, file } = loadSpec(a.src, a.set);
    const dtypes = { bf16: "BF16", f32: "F32", e4m3: "F8_E4M3" } as const;
    const tensors = [...tensorsOf(spec)].flatMap((t) => [
      { name: t.name, shape: [...t.shape], dtype: dtypes[t.dtype] },
      ...(t.scaleName ? [{ name: t.scaleName, shape: [...t.scaleShape!], dtype: "F32" as const }] : []),
    ]);
    const total = summarise(spec).bytes_with_mtp.total;
    // With --set, the config as it was read: the folder describes itself.
    const text = a.set.length ? JSON.stringify(openSource(a.src, a.set).value, null, 2) + "\n" : readFileSync(file, "utf8");
    prepare(a.out, total, text, spec.layers.length);
    writeFileSync(path.join(a.out, "config.json"), text);
    writeFileSync(path.join(a.out, marker), JSON.stringify({ synthetic: a.synthetic, written_by: `dsc ${version}` }) + "\n");
    const files = await writeSynthetic(a.out, tensors, a.synthetic, { ue8m0: spec.fp8?.scale === "ue8m0" });
    const shown = files.length > 3 ? `${files.length - 1} shards and their index` : files.join(", ");
    process.stdout.write(`${tensors.length} tensors, ${size(total)}: ${shown} in ${a.out}\n`);
  },
};

/** Marks a folder as written here, so that its files may be written again. */
const marker = "synthetic.json";

/** Makes the folder; refuses what someone else put there and a disk too small; removes shards of an earlier write. */
function prepare(folder: string, bytes: number, config: string, layers: number): void {
  let old: string[];
  let free: number;
  try {
    makeFolder(folder);
    const there = readdirSync(folder);
    old = there.filter((f) => /\.safetensors(\.index\.json|\.part)?$/.test(f));
    const other = there.includes("config.json") && readFileSync(path.join(folder, "config.json"), "utf8") !== config ? ["config.json"] : [];
    if (old.length + other.length > 0 && !there.includes(marker)) throw new DiagnosticError(foreignCheckpoint(folder, [...old, ...other][0]));
    const disk = statfsSync(folder);
    free = disk.bavail * disk.bsize + old.reduce((n, f) => n + statSync(path.join(folder, f)).size, 0);
  } catch (e) {
    throw e instanceof DiagnosticError ? e : new DiagnosticError(cannotWrite(folder, (e as Error).message));
  }
  if (bytes > free) throw new DiagnosticError(noRoom(folder, size(bytes), size(free), layers));
  for (const f of old) rmSync(path.join(folder, f));
}
