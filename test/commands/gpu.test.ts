// What dsc says of a machine's GPU, through the command line: what lacks is named with a way out, never a stack trace. The driver is the
// stand-in (test/kernels/host-driver.cpp), found as the system's would be.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { withCubins } from "../../compiler/artifact/cubins.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { systemKernels } from "../../ir/system.ts";
import { checkManifest } from "../../runtime/manifest.ts";
import { fixtures } from "../interpreted.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { lacks } from "../conditions.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-gpu-"));
afterAll(() => rmSync(work, { recursive: true }));

/** A machine whose driver lacks something. */
async function dsc(
  lacks: Record<string, number>,
  ...words: string[]
): Promise<{ status: number | null; out: string; err: string }> {
  const folder = path.join(work, JSON.stringify(lacks).replaceAll(/\W/g, "_"));
  mkdirSync(folder, { recursive: true });
  await buildDriver(folder, "libcuda.so.1", lacks);
  const cli = path.resolve(import.meta.dirname, "../../dist/compiler/cli.js");
  const r = spawnSync(process.execPath, [cli, ...words], {
    encoding: "utf8",
    env: { ...process.env, LD_LIBRARY_PATH: folder, DSC_CACHE: path.join(work, "cache"), DSC_PYTHON: "false" },
  });
  expect(r.stderr).not.toMatch(/\n\s+at /);
  return { status: r.status, out: r.stdout, err: r.stderr };
}

const run = (lacks: Record<string, number>): ReturnType<typeof dsc> =>
  dsc(lacks, "run", fixtures[0], "--target", "cuda", "--ids", "1,2", "--max-new", "1");
const partsOf = (out: string): Record<string, { state: string; found: string }> =>
  Object.fromEntries(
    (JSON.parse(out) as { checks: { part: string; state: string; found: string }[] }).checks.map((c) => [c.part, c]),
  );

describe.skipIf(lacks("g++"))("a machine", () => {
  test("with an old driver is told which CUDA it needs", async () => {
    const { status, err } = await run({ VERSION: 11080 });
    expect(status).toBe(1);
    expect(err).toMatch(
      /^error\[DSC5602\]: the CUDA driver is too old: it speaks CUDA 11\.8, 12\.3 is needed[^]*update the NVIDIA driver/,
    );
    const parts = partsOf((await dsc({ VERSION: 11080 }, "doctor", "--json")).out);
    expect(parts["CUDA driver"]).toMatchObject({ state: "missing", found: expect.stringContaining("11.8") as string });
  });

  test("with a driver and no device is told what the driver says", async () => {
    const { status, err } = await run({ INIT: 100 });
    expect(status).toBe(1);
    expect(err).toMatch(/^error\[DSC5603\]: no CUDA device can be used[^]*CUDA_ERROR_NO_DEVICE[^]*nvidia-smi/);
    const parts = partsOf((await dsc({ INIT: 100 }, "doctor", "--json")).out);
    expect(parts["CUDA driver"].state).toBe("ok");
    expect(parts.GPU).toMatchObject({ state: "missing", found: "no CUDA device can be used" });
  });

  test("with a GPU of another generation is told which one it is", async () => {
    const { status, err } = await run({ MAJOR: 8 });
    expect(status).toBe(1);
    expect(err).toMatch(/^error\[DSC5604\]: host stand-in is compute capability 8\.0; the kernels are for 9\.0[^]*--target cpu/);
    expect(partsOf((await dsc({ MAJOR: 8 }, "doctor", "--json")).out).GPU).toMatchObject({
      state: "missing",
      found: expect.stringContaining("8.0") as string,
    });
  });

  test("with a GPU that an artifact is not for is told so, and doctor which artifacts the card runs", async () => {
    const r = await dsc({}, "run", fixtures[0], "--target", "cuda", "--arch", "sm_100", "--ids", "1,2", "--max-new", "1");
    expect(r.status).toBe(1);
    expect(r.err).toMatch(/^error\[DSC5604\]: host stand-in is compute capability 9\.0; the kernels are for 10\.0 \(sm_100a\)/);
    for (const [MAJOR, says] of [
      [9, "compute capability 9.0: runs artifacts of --arch sm_90"],
      [10, "compute capability 10.0: runs artifacts of --arch sm_100"],
      [12, "compute capability 12.0: runs no artifact"],
    ] as const)
      expect(partsOf((await dsc({ MAJOR }, "doctor", "--json")).out).GPU.found).toContain(says);
  });

  test("with all it takes: doctor names the card, its memory and the driver's CUDA", async () => {
    const parts = partsOf((await dsc({}, "doctor", "--json")).out);
    expect(parts.GPU).toMatchObject({
      state: "ok",
      found: expect.stringMatching(
        /^host stand-in, compute capability 9.0: runs artifacts of --arch sm_90, 4 multiprocessors, 3\.0 GiB/,
      ) as string,
    });
    expect(parts["CUDA driver"]).toMatchObject({ state: "ok", found: "speaks CUDA 13.0" });
  });

  test("whose kernel the compiler refuses is told the op it came from, and where", async () => {
    const { manifest, files } = compile(fixtures[0], { ...defaults, target: "cuda", natives: "none" });
    const [name, record] = Object.entries(manifest.kernels)[0];
    const broken = String(files.get(record.text)).replace("__global__", "__globe__");
    const texts = new Map(
      Object.entries(manifest.kernels).map(([n, k]) => [n, { source: n === name ? broken : String(files.get(k.text)) }]),
    );
    const { compileCudaAside } = await import("../../runtime/devices/cuda/compiler.ts");
    const by = (n: string, source: string): Promise<Uint8Array> =>
      n === name ? compileCudaAside(n, source, "sm_90a", undefined) : new Promise(() => {});
    if (lacks("nvcc or NVRTC")) return;
    const op = /^\/\/ (op .*)$/m.exec(broken)![1];
    const opened = CudaDevice.open({ ...manifest, kernels: { [name]: record } }, texts, {
      compile: by,
      libraries: [await buildDriver(work)],
    });
    await expect(opened).rejects.toThrow(
      new RegExp(`DSC5607.*kernel ${name} does not compile[^]*${op.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}[^]*__globe__`),
    );
  });
});

test.skipIf(lacks("nvcc or NVRTC"))(
  "an artifact with cubins holds those of the system kernels too: nothing is left to compile",
  async () => {
    process.env.DSC_CACHE = path.join(work, "cubins");
    // Natives are compiled elsewhere (test/kernels/emitted.test.ts).
    const c = await withCubins(compile(fixtures[5], { ...defaults, target: "cuda", activations: "bf16", natives: "none" }));
    delete process.env.DSC_CACHE;
    expect(Object.keys(c.manifest.system!)).toEqual(Object.keys(systemKernels));
    for (const { text, binary } of Object.values(c.manifest.system!))
      for (const f of [text, binary!]) expect(Object.keys(c.manifest.files)).toContain(f);
    checkManifest(c.manifest);
  },
);

test.skipIf(lacks("g++"))("system kernels come from the artifact, and are compiled where it has texts only", async () => {
  const { manifest, files } = compile(fixtures[0], { ...defaults, target: "cuda", natives: "none" });
  const [driver, { files: texts, compile: image }] = await Promise.all([buildDriver(work), buildKernels(manifest, files)]);
  const asked: string[] = [];
  const open = async (held: typeof texts): Promise<string[]> => {
    asked.length = 0;
    const device = await CudaDevice.open(manifest, held, { libraries: [driver], compile: (n) => (asked.push(n), image(n)) });
    await device.fill([]);
    await device.close();
    return asked;
  };
  expect(await open(texts)).toEqual([]);
  const sources = [...texts].map(([n, f]) => [n, Object.hasOwn(systemKernels, n) ? { source: f.source } : f] as const);
  expect(await open(new Map(sources))).toEqual(["dsc_begin", "dsc_end", "dsc_advance", "dsc_sample", "dsc_fill"]);
  await expect(open(new Map([...texts].filter(([n]) => n !== "dsc_advance")))).rejects.toThrow(
    /DSC5005[^]*the runtime launches dsc_advance, which is not in the artifact/,
  );
});

test("an artifact for a GPU has every system kernel as the runtime launches it", () => {
  const { manifest } = compile(fixtures[0], { ...defaults, target: "cuda" });
  const { dsc_advance, ...less } = manifest.system!;
  const refused = (system: typeof manifest.system): string => {
    try {
      checkManifest({ ...manifest, system: system! });
    } catch (e) {
      return String((e as Error).message);
    }
    return "";
  };
  expect(refused(manifest.system)).toBe("");
  expect(refused(less)).toMatch(/DSC5005[^]*an artifact for cuda has dsc_advance/);
  expect(refused({ ...less, dsc_advance: { ...dsc_advance, dims: dsc_advance.dims.slice(1) } })).toMatch(
    /it takes lengths_at, ids_at, sequences; a launch of it gives positions_at, /,
  );
  expect(refused({ ...manifest.system, dsc_more: dsc_advance })).toMatch(/the runtime launches no dsc_more on cuda/);
});
