// The check of every kernel from the reference's own inputs (test/device/oracle.ts), whole but small and without a GPU: a small R1 in
// FP8 over the driver's stand-in, refmodel.py on the CPU. What it needs of the graph and the plan is what the card's run needs.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { ops } from "../../ir/ops/index.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import { oracleRows } from "../device/oracle-run.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { lacks } from "../conditions.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-oracle-test-"));
afterAll(() => rmSync(work, { recursive: true }));

const python = process.env.DSC_PYTHON ?? "python3";
const small = {
  hidden_size: 256,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  q_lora_rank: 128,
  kv_lora_rank: 128,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 16,
  v_head_dim: 32,
  vocab_size: 131,
  intermediate_size: 200,
  moe_intermediate_size: 72,
  n_routed_experts: 32,
  n_group: 4,
  topk_group: 2,
  num_experts_per_tok: 4,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  num_nextn_predict_layers: 1,
};

test("the reference knows every op that a planned graph may have", () => {
  const known = readFileSync(path.resolve(import.meta.dirname, "../device/oracle_ops.py"), "utf8").split("OPS = {")[1];
  // Leaves, loops and what placement turns into bytes read where they belong have no launch; experts one by one are for `--passes none`;
  // constants are of plug-ins; what ranks do together is no kernel's (test/ranks).
  const others = [
    "constant",
    "weight",
    "param",
    "call",
    "map_sequences",
    "map_experts",
    "stack",
    "join_rows",
    "join_experts",
    "pad",
  ];
  const alone = ops.filter((o) => !o.traits.meets);
  expect(alone.map((o) => o.name).filter((n) => !others.includes(n) && !known.includes(`"${n}":`))).toEqual([]);
});

test.skipIf(lacks("g++", "torch"))(
  "kernels of a small R1 in FP8 give what they should from the reference's inputs, and all of them run",
  async () => {
    const rows = await oracleRows({
      src: path.resolve(import.meta.dirname, "../../examples/deepseek-r1/config.json"),
      set: small,
      options: { natives: process.env.DSC_NATIVES ?? "norm_rows,route_rows,sort_experts_blocks" },
      seed: 3,
      groups: [
        {
          name: "ragged",
          rows: [
            [3, 9, 1],
            [2, 4, 3],
            [1, 1, 1],
          ],
          layers: [0, 1],
          drafts: true,
        },
        { name: "long", rows: [[70]], layers: [0] },
      ],
      batches: [
        { group: "ragged", sequences: [0, 1, 2], calls: ["prefill", "draft", "extend", "decode"] },
        { group: "ragged", sequences: [2], calls: ["prefill", "decode"] },
        {
          group: "ragged",
          sequences: [0, 1, 2, 1, 0, 2, 2, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
          calls: ["prefill", "decode"],
        },
        { group: "long", sequences: [0], calls: ["prefill"] },
      ],
      python,
      script: path.resolve(import.meta.dirname, "../device/oracle_reference.py"),
      scratch: work,
      async open(c, watch) {
        const [driver, { files, compile }] = await Promise.all([buildDriver(work), buildKernels(c.manifest, c.files)]);
        return CudaDevice.open(c.manifest, files, { compile, watch, libraries: [driver] });
      },
    });
    if (process.env.DSC_SHOW) for (const r of rows) console.log(JSON.stringify(r));
    expect(rows.filter((r) => r.ok === false)).toEqual([]);
  },
);
