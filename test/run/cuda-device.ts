// Models on the CUDA target over a stand-in for the driver (test/kernels/host-driver.ts), printed tile programs unless natives are named.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { Model } from "../../runtime/model.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";

export const work = mkdtempSync(path.join(tmpdir(), "dsc-cuda-host-"));
afterAll(() => rmSync(work, { recursive: true }));

export async function openDevice(
  src: string,
  options: Partial<CompileOptions>,
): Promise<{ manifest: Manifest; device: CudaDevice }> {
  const { manifest, files: texts } = compile(src, { ...defaults, target: "cuda", natives: "none", ...options });
  const [driver, { files, compile: image }] = await Promise.all([buildDriver(work), buildKernels(manifest, texts)]);
  return { manifest, device: await CudaDevice.open(manifest, files, { compile: image, libraries: [driver] }) };
}

export async function open(
  src: string,
  activations: "f32" | "bf16",
  weights: string,
  flags: Partial<CompileOptions> = {},
): Promise<Model<CudaDevice>> {
  const { manifest, device } = await openDevice(src, { activations, taps: true, ...flags, stored: await storedIn(weights) });
  return Model.open(manifest, device, { weights });
}
