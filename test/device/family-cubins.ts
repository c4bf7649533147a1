// Kernels compiled ahead of a run on the card: by their code, whatever words stand above it, in the folder that DSC_CUBINS names. As a
// program, `node dist/test/device/family-cubins.js FOLDER` compiles all that family-speed.ts will load, as many at once as there are
// cores; what a folder lacks is compiled where it is asked for.
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import type { Compile } from "../../runtime/devices/cuda/cubins.ts";
import { compileCudaAside } from "../../runtime/devices/cuda/compiler.ts";
import { launchedOf } from "./kernel-files.ts";
import { family, shortened, written } from "./family-configs.ts";

/** The models that are opened, and how: every one whole, those with experts also with few layers, natives beside printed kernels. */
export const SHORT = 3;
export const shortWays = [
  { activations: "bf16", natives: "all" },
  { activations: "f32", natives: "none" },
] as const satisfies Partial<CompileOptions>[];
export const withExperts = Object.keys(family).filter((name) => name !== "Youtu-LLM");

const keyOf = (source: string): string =>
  createHash("sha256")
    .update(
      source
        .split("\n")
        .filter((l) => !l.trimStart().startsWith("//"))
        .join("\n"),
    )
    .digest("hex")
    .slice(0, 40);

/** Takes what a folder holds, and puts there what it lacks. */
export const heldIn =
  (folder: string): Compile =>
  async (name, source) => {
    const file = path.join(folder, `${keyOf(source)}.cubin`);
    if (existsSync(file)) return readFileSync(file);
    const cubin = await compileCudaAside(name, source, h200.arch, process.env.DSC_NVCC ? "nvcc" : undefined);
    mkdirSync(folder, { recursive: true });
    const beside = `${file}.${randomBytes(6).toString("hex")}`;
    writeFileSync(beside, cubin);
    renameSync(beside, file);
    return cubin;
  };

async function prepare(folder: string): Promise<void> {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-family-"));
  const texts = new Map<string, { name: string; source: string }>();
  const add = (name: string, config: Record<string, unknown>, options: Partial<CompileOptions>): void => {
    const { manifest, files } = compile(written(work, name, config), {
      ...defaults,
      target: "cuda",
      activations: "bf16",
      ...options,
    });
    for (const [kernel, k] of launchedOf({ manifest })) {
      const source = String(files.get(k.text));
      texts.set(keyOf(source), { name: kernel, source });
    }
  };
  const only = process.argv[3]?.split(",") ?? Object.keys(family);
  for (const name of only) add(name, family[name](), {});
  for (const name of only.filter((n) => withExperts.includes(n)))
    for (const way of shortWays) add(name, shortened(family[name](), SHORT), way);
  rmSync(work, { recursive: true });
  const queue = [...texts.values()];
  const all = queue.length;
  const get = heldIn(folder);
  const lane = async (): Promise<void> => {
    for (let one = queue.shift(); one; one = queue.shift()) {
      await get(one.name, one.source);
      process.stdout.write(`${all - queue.length} of ${all}: ${one.name}\n`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
}

if (process.argv[1]?.endsWith("family-cubins.js")) await prepare(process.argv[2] ?? ".dsc/cubins");
