// dsc weights SRC --synthetic SEED -o DIR: a checkpoint with the config's own tensor names and shapes.
import { copyFileSync, mkdirSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { writeSynthetic } from "../../runtime/index.ts";
import { loadSpec } from "../frontend/config.ts";
import { tensorsOf } from "../frontend/weights.ts";

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
    const { spec, file } = loadSpec(a.src, a.set);
    const dtypes = { bf16: "BF16", f32: "F32", e4m3: "F8_E4M3" } as const;
    const tensors = [...tensorsOf(spec)].flatMap((t) => [
      { name: t.name, shape: [...t.shape], dtype: dtypes[t.dtype] },
      ...(t.scaleName ? [{ name: t.scaleName, shape: [...t.scaleShape!], dtype: "F32" as const }] : []),
    ]);
    mkdirSync(a.out, { recursive: true });
    const files = await writeSynthetic(a.out, tensors, a.synthetic, { ue8m0: spec.fp8?.scale === "ue8m0" });
    if (path.resolve(file) !== path.resolve(a.out, "config.json")) copyFileSync(file, path.join(a.out, "config.json"));
    process.stdout.write(`${tensors.length} tensors in ${files.join(", ")}\n`);
  },
};
