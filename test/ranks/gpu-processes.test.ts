// A process for each rank with a GPU of its own, over the stand-in for the driver: they store into each other's memory, or meet by NCCL's
// stand-in, and say what all ranks on one GPU say. Whatever goes wrong with one of them ends all.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { compile, defaults, type Compiled } from "../../compiler/compile.ts";
import { parseMesh } from "../../ir/index.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { lacks } from "../conditions.ts";
import { cli, dscIn, type Answer } from "../commands/dsc.ts";
import { hostBuildAside } from "../kernels/host-compiler.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";

const fixture = path.resolve(import.meta.dirname, "../fixtures/a01-v3-yarn");
const work = mkdtempSync(path.join(tmpdir(), "dsc-gpu-processes-"));
afterAll(() => rmSync(work, { recursive: true }));
const artifact = path.join(work, "artifact");

/** The same artifact with the stand-in's images in the place of cubins. */
function withImages(c: Compiled, image: (name: string) => Uint8Array): Compiled {
  const files = new Map(c.files);
  const imaged = (records: Readonly<Record<string, KernelRecord>> = {}): Record<string, KernelRecord> =>
    Object.fromEntries(
      Object.entries(records).map(([name, k]) => {
        const binary = `kernels/${name}.cubin`;
        files.set(binary, image(name));
        return [name, { ...k, binary }];
      }),
    );
  const [kernels, system] = [imaged(c.manifest.kernels), imaged(c.manifest.system)];
  const digests = Object.fromEntries([...files].map(([name, data]) => [name, sha256(data)]));
  return { ...c, manifest: { ...c.manifest, kernels, system, files: digests }, files };
}

/** Two GPUs; a machine under test may be busy, and nothing here hangs. */
const two = {
  LD_LIBRARY_PATH: work,
  CUDA_VISIBLE_DEVICES: "3,5",
  DSC_SILENCE_SECONDS: "60",
  DSC_EXCHANGE_SECONDS: "200",
};
const words = ["--weights", fixture, "--ids", "3,5,7,9", "--max-new", "5", "--temperature", "0.9", "--seed", "4"];
const run = (env: Record<string, string>, ...more: string[]): Promise<Answer> =>
  dscIn({ env: { ...two, ...env } }, "run", artifact, ...words, ...more);

describe.skipIf(lacks("g++", "Linux"))("a process and a GPU for each rank", () => {
  let alone: Answer;

  beforeAll(async () => {
    const c = compile(fixture, {
      ...defaults,
      target: "cuda",
      natives: "none",
      activations: "f32",
      mesh: parseMesh("tp=2"),
      stored: await storedIn(fixture),
    });
    mkdirSync(path.join(work, "nccl"));
    const text = readFileSync(path.join(import.meta.dirname, "nccl-on-host.cpp"), "utf8");
    const flags = ["-std=c++17", "-O1", "-w", "-fPIC", "-shared"];
    const [, built, nccl] = await Promise.all([
      buildDriver(work, "libcuda.so.1", { STREAMS: 1 }),
      buildKernels(c.manifest, c.files),
      hostBuildAside({ text, flags, libraries: ["-ldl"] }),
    ]);
    copyFileSync(nccl, path.join(work, "nccl/libnccl.so.2"));
    writeArtifact(withImages(c, built.compile), artifact);
    alone = await run({});
    expect(alone.code, alone.stderr).toBe(0);
  });

  test.each([
    ["by mailboxes", {}],
    ["by NCCL, on one GPU", { DSC_PEERS: "nccl", CUDA_VISIBLE_DEVICES: "3", DSC_SHARE_GPU: "1" }],
  ])("%s: ids of all ranks in one process, drawn on the GPU, steps begun ahead", async (_, env) => {
    const nccl = { DSC_NCCL: path.join(work, "nccl"), STANDIN_FOLDER: work };
    const { code, stdout, stderr } = await run({ ...nccl, ...env }, "--processes");
    expect(code, stderr).toBe(0);
    expect(stdout).toBe(alone.stdout);
  });

  test("two ranks that have the same GPU are refused", async () => {
    const { code, stdout, stderr } = await run({ CUDA_VISIBLE_DEVICES: "3,3" }, "--processes");
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/DSC5099.*ranks 0 and 1 have the same GPU/);
  });

  test("a rank whose GPU is too small ends the other: neither waits to give back together what they share", async () => {
    const port = String(20_000 + ((process.pid + 5000) % 10_000));
    const launched = { WORLD_SIZE: "2", LOCAL_WORLD_SIZE: "2", MASTER_ADDR: "127.0.0.1", MASTER_PORT: port };
    const [first, second] = await Promise.all(
      ["0", "1"].map((rank) =>
        run({ ...launched, RANK: rank, LOCAL_RANK: rank, ...(rank === "1" ? { STANDIN_BYTES: String(280 << 20) } : {}) }),
      ),
    );
    expect([first.code, second.code]).toEqual([1, 1]);
    expect(first.stderr).toMatch(/DSC5097.*rank 1 failed[^]*DSC5605/);
    expect(second.stderr).toMatch(/DSC5605.*not enough GPU memory/);
  });

  /** Makes steps without end, and ends one of the two ranks in the middle of them: what the other says. */
  async function killed(rank: 0 | 1): Promise<string> {
    const script = `import { generate, load } from ${JSON.stringify(path.join(path.dirname(cli), "../runtime/index.js"))};
      const lost = (e) => { console.error(e.message); process.exit(1); };
      const model = await load(${JSON.stringify(artifact)}, { weights: ${JSON.stringify(fixture)}, processes: true, lost });
      for await (const step of generate(model, [[3, 5]], { maxNew: 120, ahead: true })) console.log("step", step.index);`;
    const file = path.join(work, `steps-${rank}.mjs`);
    writeFileSync(file, script);
    const child = spawn(process.execPath, [file], { env: { ...process.env, ...two } });
    let said = "";
    child.stderr.on("data", (d: Buffer) => (said += d.toString()));
    const over = new Promise((resolve) => child.stderr.once("close", resolve));
    await new Promise<void>((resolve, reject) => {
      child.stdout.on("data", (d: Buffer) => d.includes("step 3") && resolve());
      child.once("exit", () => reject(new Error(said)));
    });
    const list = execFileSync("ps", ["-o", "pid=,args=", "--ppid", `${child.pid}`], { encoding: "utf8" });
    const other = list.split("\n").flatMap((line) => (line.includes("rank 1 of 2") ? [Number.parseInt(line, 10)] : []))[0];
    process.kill(rank === 0 ? child.pid! : other, "SIGKILL");
    // Both ranks have it: none is left then.
    await over;
    return said;
  }

  test("a rank that is killed in the middle of a step ends the other, which says so", async () => {
    const [first, second] = await Promise.all([killed(0), killed(1)]);
    expect(first).toMatch(/rank 1: error\[DSC5096\]: rank 0 [^]*when call \d+ began/);
    expect(second).toMatch(/DSC5096.*rank 1 /);
  });
});
