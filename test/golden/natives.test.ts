// The text of one native of each kind, whole, for problems so small that a reader sees what depends on them. Digests hold every text
// (digests.test.ts); these show what a change does to it. `npm run bless` writes them.
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { mlaDecode } from "../../codegen/cuda/sm90/attention/mla-decode.ts";
import { mlaDecodeFixed } from "../../codegen/cuda/sm90/attention/mla-decode-cluster.ts";
import { mlaPrefill } from "../../codegen/cuda/sm90/attention/mla-prefill.ts";
import { fixedSchedule } from "../../codegen/cuda/sm90/attention/schedule.ts";
import { bf16Gemm } from "../../codegen/cuda/sm90/gemm/bf16-persistent.ts";
import { candidates as bf16Candidates, illegal as bf16Illegal } from "../../codegen/cuda/sm90/gemm/bf16-schedule.ts";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { gemv } from "../../codegen/cuda/sm90/gemm/fp8-gemv.ts";
import { gemvSchedulesOf } from "../../codegen/cuda/sm90/gemm/fp8-gemv-schedule.ts";
import { candidates, illegal, type GemmSchedule } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { groupedGemm } from "../../codegen/cuda/sm90/gemm/grouped-gemm.ts";
import { candidates as groupedCandidates, illegal as groupedIllegal } from "../../codegen/cuda/sm90/gemm/grouped-schedule.ts";
import { expertsDown } from "../../codegen/cuda/sm90/moe/experts-down.ts";
import { expertsGateUp } from "../../codegen/cuda/sm90/moe/experts-gate-up.ts";
import { downSchedule, gateUpSchedule } from "../../codegen/cuda/sm90/moe/experts-schedule.ts";
import { unitDown } from "../../codegen/cuda/sm90/moe/unit-down.ts";
import { unitGateUp } from "../../codegen/cuda/sm90/moe/unit-gate-up.ts";
import { unitSchedule } from "../../codegen/cuda/sm90/moe/unit-schedule.ts";
import { routeRows } from "../../codegen/cuda/sm90/moe/route-rows.ts";
import { gatherRows } from "../../codegen/cuda/sm90/rows/gather-rows.ts";
import { quantRows } from "../../codegen/cuda/sm90/rows/quant-rows.ts";
import { ropeRows } from "../../codegen/cuda/sm90/rows/rope-rows.ts";
import { normRows } from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { golden } from "./golden.ts";

const product = { n: 256, k: 1024 };
const grouped = { experts: 4, n: 256, k: 1024 };
const bf16 = { n: 256, k: 512, xStride: 512, yStride: 256, x: "bf16", y: "bf16" } as const;
const decode = { heads: 64, r: 512, d: 64, pageRows: 64, ql: [64 * 512, 512], qp: [64 * 192, 192], scale: 0.135 } as const;
const experts = { experts: 9, per: 3, shared: 1 };
const up = { ...experts, n: 512, k: 512, parts: 2 } as const;
const down = { ...experts, n: 512, k: 512, parts: 1, ue8m0: false } as const;

/** The first schedule of a form that can run the problem. */
function first(form: GemmSchedule["form"]): GemmSchedule {
  return candidates.find((s) => s.form === form && illegal(s, h200, product) === null)!;
}

function gemvOf(maxRows: 1): KernelText {
  const s = scheduleFor(gemvSchedulesOf(maxRows), product, maxRows, h200);
  if ("reason" in s) throw new RangeError(s.reason);
  return gemv({ ...product, maxRows }, s, h200);
}

const kernels: Readonly<Record<string, () => KernelText>> = {
  "fp8-persistent": () => blockGemm(product, first("persistent"), h200),
  "fp8-split-k": () => blockGemm(product, first("split-k"), h200),
  "fp8-small-m": () => blockGemm(product, first("small-m"), h200),
  "fp8-gemv": () => gemvOf(1),
  "fp8-grouped": () => groupedGemm(grouped, groupedCandidates.find((s) => groupedIllegal(s, h200, grouped) === null)!, h200),
  "bf16-persistent": () => bf16Gemm(bf16, bf16Candidates.find((s) => s.form === "persistent" && bf16Illegal(s, bf16, h200) === null)!, h200),
  "mla-decode": () => mlaDecode(decode, h200),
  "mla-decode-cluster": () => mlaDecodeFixed(decode, fixedSchedule(16), h200),
  "mla-prefill": () =>
    mlaPrefill(
      { heads: 2, n: 128, d: 64, v: 128, q: [384, 192], qp: [384, 192], k: [512, 256], kp: 576, vStrides: [512, 256], y: [256, 128], scale: 0.135 },
      h200,
    ),
  "experts-gate-up": () => expertsGateUp(up, gateUpSchedule(up, 1, h200), h200),
  "experts-down": () => expertsDown(down, downSchedule(down, 1, h200), h200),
  "unit-gate-up-asked": () => unitGateUp(up, unitSchedule(up, 8, "asked", h200), h200),
  "unit-down-own": () => unitDown(down, unitSchedule(down, 8, "own", h200), h200),
  "route-rows": () =>
    routeRows({ experts: 64, topk: 4, groups: 8, kept: 2, scoring: "sigmoid", method: "noaux_tc", normalise: true, factor: 2.5, bias: true, xStride: 64 }),
  "fp8-persistent-tall": () => blockGemm(product, { form: "persistent", rows: 192, stages: 4, group: 16, multicast: "none", tail: "whole" }, h200),
  "mla-decode-cluster-apart": () => mlaDecodeFixed(decode, fixedSchedule(16, 2, "apart"), h200),
  "gather-rows": () => gatherRows({ d: 7168, per: 8, x: "e4m3", xStride: 7168 }),
  "quant-rows": () =>
    quantRows({ of: "gated_quant", d: 2048, xStride: 4096, ue8m0: false, act: "bf16" }, { form: "blocks-per-warp", blocks: 4 }),
  "rope-rows": () => ropeRows({ heads: 16, d: 64, xStrides: [3072, 192], interleaved: true, maxPositions: 4096, act: "bf16" }),
  "norm-rows": () =>
    normRows({ of: "add_norm_quant", d: 512, aStride: 512, bStride: 512, yStride: 512, eps: 1e-6, gain: "bf16", act: "bf16", ue8m0: false }),
};

test.each(Object.entries(kernels))("%s", (name, print) => {
  const { source } = print();
  expect(source.split("\n").filter((line) => line !== line.trimEnd())).toEqual([]);
  golden(`natives/${name}.cu`, source);
});
