// Every kernel of R1 fed the reference's own inputs: one dense and one mixture layer and the extra one at full width, 256 experts, FP8, ragged batches
// of 1 to 1305 rows. refmodel.py runs on the same card; then the runtime steps launch by launch with the reference's values in
// every buffer that a launch reads, and what it wrote is compared. Activation codes and scales must be exact, or differ only where
// the last bit of float32 decides; everything else lies within bf16 rounding. Needs a Python with torch (DSC_PYTHON).
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { kernelFiles } from "./kernel-files.ts";
import type { Row } from "./device.ts";
import { root } from "./models.ts";
import { oracleRows, type Batch, type Setting } from "./oracle-run.ts";

/** A few rows, fewer than a page, a page, and one; two more sequences whose latents meet other kernels. */
const RAGGED = [
  [12, 17, 64, 1, 3, 6],
  [3, 2, 16, 5, 1, 1],
  [1, 1, 1, 1, 1, 1],
];
/** Latents of more than 1024 rows meet other kernels; the first layer is enough to see them. */
const LONG = [[1030]];

const times = (n: number): number[] => Array.from({ length: n }, () => [0, 1, 2, 3]).flat();
const ragged = (sequences: readonly number[], ...calls: Batch["calls"]): Batch => ({ group: "ragged", sequences, calls });

/** Sizes between which the plan chooses other kernels: by rows, by pairs of row and expert, and by sequences. Of large batches only what no smaller one has met. */
const batches: readonly Batch[] = [
  ragged([0, 1, 2, 3], "prefill", "draft", "extend", "decode"),
  ragged([3], "prefill", "draft", "extend", "decode"),
  ragged([3, 3, 3], "prefill", "draft", "decode"),
  ragged([3, 3, 3, 3, 3], "prefill", "draft"),
  ragged([0], "prefill", "draft"),
  ragged([4, 5], "prefill", "decode"),
  { ...ragged([1], "prefill", "draft"), only: [0, 1, "entry"] },
  { ...ragged([2], "prefill", "draft"), only: [0, 1, "entry"] },
  ragged([2, 2], "prefill"),
  ragged(times(2), "decode"),
  { ...ragged(times(2), "prefill", "draft"), only: [1, "entry"] },
  { ...ragged(times(33), "decode"), only: [0, "entry"] },
  ...[4, 8, 16, 24].map((n): Batch => ({ ...ragged(times(n), "decode"), only: ["entry"] })),
  { ...ragged(times(3), "prefill", "draft"), only: [1, "entry"] },
  { ...ragged(times(7), "prefill", "draft"), only: [1, "entry"] },
  { group: "long", sequences: [0], calls: ["prefill"] },
  { ...ragged(times(9), "prefill"), only: [0] },
  { ...ragged(times(65), "decode"), only: ["entry"] },
  { ...ragged(times(22), "prefill"), only: [1] },
];

export const setting: Omit<Setting, "open"> = {
  src: path.join(root, "examples/deepseek-r1/config.json"),
  set: { num_hidden_layers: 2, first_k_dense_replace: 1, num_nextn_predict_layers: 1 },
  options: {},
  seed: 0,
  groups: [
    { name: "ragged", rows: RAGGED, layers: [0, 1], drafts: true },
    { name: "long", rows: LONG, layers: [0] },
  ],
  batches,
  ...(process.env.DSC_SECONDS ? { seconds: Number(process.env.DSC_SECONDS) } : {}),
  python: process.env.DSC_PYTHON ?? "python3",
  script: path.join(root, "test/device/oracle_reference.py"),
  scratch: existsSync("/dev/shm") ? "/dev/shm" : tmpdir(),
};

export const check = (): Promise<Row[]> =>
  oracleRows({
    ...setting,
    open(c, watch) {
      return CudaDevice.open(c.manifest, kernelFiles(c), { compile: cachedCompile(c.manifest.gpu!.arch), watch });
    },
  });
