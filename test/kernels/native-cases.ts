// Problems of the published models, and odd ones, that every emitter of native kernels is tried on, and what the machine code must hold.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { argmaxRows } from "../../codegen/cuda/sm90/rows/argmax.ts";
import { bf16Gemm } from "../../codegen/cuda/sm90/gemm/bf16-persistent.ts";
import { mlaQuery } from "../../codegen/cuda/sm90/attention/mla-query.ts";
import { gatherRows } from "../../codegen/cuda/sm90/rows/gather-rows.ts";
import { quantRows } from "../../codegen/cuda/sm90/rows/quant-rows.ts";
import { ropeRows } from "../../codegen/cuda/sm90/rows/rope-rows.ts";
import { normRows } from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { ringLinear } from "../../codegen/cuda/sm90/gemm/ring-linear.ts";
import { routeRows } from "../../codegen/cuda/sm90/moe/route-rows.ts";
import { sortExperts } from "../../codegen/cuda/sm90/moe/sort-experts.ts";
import { bmmKernel, bmmSchedule, type BmmProblem, type BmmSchedule } from "../../codegen/cuda/sm90/gemm/bmm.ts";
import { registerLinear } from "../../codegen/cuda/sm90/gemm/register-linear.ts";
import {
  candidates as bf16Candidates,
  illegal as bf16Illegal,
  type Bf16SumProblem,
} from "../../codegen/cuda/sm90/gemm/bf16-schedule.ts";
import { ringSchedule, illegalRing, type RingProblem } from "../../codegen/cuda/sm90/gemm/ring-schedule.ts";
import { registerSchedule, type Bf16Problem } from "../../codegen/cuda/sm90/gemm/register-schedule.ts";
import { gemv } from "../../codegen/cuda/sm90/gemm/fp8-gemv.ts";
import { gemvSchedulesOf } from "../../codegen/cuda/sm90/gemm/fp8-gemv-schedule.ts";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { expertsDown } from "../../codegen/cuda/sm90/moe/experts-down.ts";
import { expertsGateUp } from "../../codegen/cuda/sm90/moe/experts-gate-up.ts";
import { groupedBf16 } from "../../codegen/cuda/sm90/gemm/grouped-bf16.ts";
import {
  candidates as groupedBf16Candidates,
  illegal as groupedBf16Illegal,
  type GroupedBf16Problem,
} from "../../codegen/cuda/sm90/gemm/grouped-bf16-schedule.ts";
import { unitDown } from "../../codegen/cuda/sm90/moe/unit-down.ts";
import { unitGateUp } from "../../codegen/cuda/sm90/moe/unit-gate-up.ts";
import { TOKENS, unitSchedule } from "../../codegen/cuda/sm90/moe/unit-schedule.ts";
import { normLinear } from "../../codegen/cuda/sm90/rows/norm-linear.ts";
import { groupedGemm } from "../../codegen/cuda/sm90/gemm/grouped-gemm.ts";
import { mlaDecodeFixed } from "../../codegen/cuda/sm90/attention/mla-decode-cluster.ts";
import { fixedSchedule, illegalFixed } from "../../codegen/cuda/sm90/attention/schedule.ts";
import { mlaDecode } from "../../codegen/cuda/sm90/attention/mla-decode.ts";
import { mlaPrefill } from "../../codegen/cuda/sm90/attention/mla-prefill.ts";
import { candidates, illegal, type GemmProblem } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { downSchedule, gateUpSchedule } from "../../codegen/cuda/sm90/moe/experts-schedule.ts";
import {
  candidates as groupedCandidates,
  illegal as groupedIllegal,
  type GroupedProblem,
} from "../../codegen/cuda/sm90/gemm/grouped-schedule.ts";
import type { MlaAttendProblem } from "../../codegen/kernels/attention.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { r1Routing } from "./r1-routing.ts";

/** R1's q_a + kv_a, o_proj and dense down; one block and a bit each way; ragged in n and k; less than a block. */
export const products: readonly GemmProblem[] = [
  { n: 2112, k: 7168 },
  { n: 7168, k: 16384 },
  { n: 7168, k: 18432 },
  { n: 136, k: 144 },
  { n: 1000, k: 2000 },
  { n: 8, k: 16 },
];

/** Products of one to four rows: R1's, and less than a block of scales. */
const gemvs: readonly (readonly [number, number])[] = [
  [2112, 7168],
  [24576, 1536],
  [7168, 16384],
  [36864, 7168],
  [72, 384],
];

/** R1's experts, and few with ragged steps. */
const groups: readonly GroupedProblem[] = [
  { experts: 256, n: 4096, k: 7168 },
  { experts: 256, n: 7168, k: 2048 },
  { experts: 40, n: 384, k: 1680 },
];

/** DeepSeek-V2-Lite's and Moonlight's experts, GLM-4.7-Flash's with the shared one, and few with ragged columns and steps. */
const groupsOfBf16: readonly GroupedBf16Problem[] = [
  { experts: 64, n: 1408, k: 2048, gated: true },
  { experts: 64, n: 2048, k: 1408 },
  { experts: 65, n: 1536, k: 2048, gated: true },
  { experts: 384, n: 200, k: 104 },
];

/** Two of a list, others for every i: each schedule meets some problems, each problem some schedules. */
const taking = <T>(list: readonly T[], i: number): T[] =>
  list.length <= 2 ? [...list] : [list[i % list.length], list[(i + 1 + (i % (list.length - 1))) % list.length]];

/** All heads of R1, in clusters of two blocks; half of them, in single blocks; those of GLM-4.7-Flash and V2-Lite, which fill none. */
export const decodes: readonly MlaAttendProblem[] = [128, 64, 32, 20, 16].map((heads) => ({
  heads,
  r: 512,
  d: 64,
  pageRows: 64,
  ql: [heads * 512, 512],
  qp: [heads * 192, 192],
  scale: 0.135,
}));

export const prefill = (heads: number, n = 128, v = 128): KernelText =>
  mlaPrefill(
    {
      heads,
      n,
      d: 64,
      v,
      q: [heads * (n + 64), n + 64],
      qp: [heads * (n + 64), n + 64],
      k: [heads * (n + v), n + v],
      kp: 576,
      vStrides: [heads * (n + v), n + v],
      y: [heads * v, v],
      scale: 0.135,
    },
    h200,
  );

/** The printed model's o_proj, its odd down and R1's router; one token or many, rounded or not; heads of R1 and of a narrower relative. */
const streams: readonly Bf16Problem[] = [
  [7168, 16384],
  [7168, 1843],
  [256, 7168],
].flatMap(([n, k]) => (["bf16", "f32"] as const).map((x): Bf16Problem => ({ n, k, xStride: k, yStride: n, x, y: x })));
const einsums: readonly BmmProblem[] = [
  [128, 128, 512],
  [20, 192, 512],
  [3, 64, 256],
]
  .flatMap(([h, v, r]) =>
    (["bf16", "f32"] as const).flatMap((x): BmmProblem[] => [
      { batch: h, n: r, k: v, a: [v + 64, h * (v + 64), 1], b: [2 * v * r, 1, r], y: [r, h * r, 1], x, yType: x },
      { batch: h, n: v, k: r, a: [r, h * r, 1], b: [2 * v * r, r, 1], y: [v, h * v, 1], x, yType: x },
    ]),
  )
  .filter((p) => typeof bmmSchedule(p) !== "string");
const quantised: readonly BmmProblem[] = [128, 256, 512].flatMap((r) =>
  (["bf16", "f32"] as const).map((x): BmmProblem => ({
    batch: 128,
    n: 128,
    k: r,
    a: [r, 128 * r, 1],
    b: [256 * r, r, 1],
    y: [128, 16384, 1],
    x,
    yType: x,
    scale: x === "f32" ? "ue8m0" : "f32",
  })),
);
const gemms: readonly Bf16SumProblem[] = [
  [2112, 7168, "bf16"],
  [1292, 7168, "f32"],
  [133, 72, "bf16"],
  [2048, 2048, "bf16", 2048],
].map(
  ([n, k, y, residualStride]) =>
    ({ n, k, xStride: k, yStride: n, x: "bf16", y, ...(residualStride ? { residualStride } : {}) }) as Bf16SumProblem,
);

/** Norm, gate and residual sum inside a ring's product: the printed model's, and a norm over an odd number of blocks. */
const fused: readonly RingProblem[] = [
  { n: 2112, k: 7168, xStride: 7168, yStride: 2112, x: "bf16", y: "bf16", rows: "rms_norm", eps: 1e-6 },
  { n: 24576, k: 1536, xStride: 2112, yStride: 24576, x: "bf16", y: "bf16", rows: "rms_norm", eps: 1e-6 },
  { n: 1292, k: 640, xStride: 640, yStride: 1292, x: "bf16", y: "f32", rows: "rms_norm", eps: 1e-6 },
  { n: 7168, k: 16384, xStride: 16384, yStride: 7168, x: "bf16", y: "bf16", residualStride: 7168 },
  { n: 7168, k: 1856, xStride: 3712, yStride: 7168, x: "bf16", y: "bf16", rows: "silu_mul", residualStride: 7168 },
];

/** R1's experts, the shared one among them: told whom a token visits, or routing it. */
const through = [{}, { routing: { ...r1Routing, shared: 1 } }].flatMap((r) =>
  ([1, 4, 8] as const).flatMap((t) => {
    const [up, down] = [
      { experts: 257, n: 4096, k: 7168, parts: 2, per: 9, shared: 1, ...r },
      { experts: 257, n: 7168, k: 2048, parts: 1, per: 9, shared: 1, ue8m0: t === 4, ...r },
    ] as const;
    return [expertsGateUp(up, gateUpSchedule(up, t, h200), h200), expertsDown(down, downSchedule(down, t, h200), h200)];
  }),
);

/** Emitter, the kernels to try it on, and what their machine code must hold. */
export const emitters: readonly [string, () => KernelText[], string[]][] = [
  ["mla_decode", () => decodes.map((p) => mlaDecode(p, h200)), ["HGMMA", "UTMALDG"]],
  [
    "mla_decode, fixed",
    () =>
      decodes.flatMap((p) =>
        ([16, 24, 32] as const)
          .filter((group) => illegalFixed(p, fixedSchedule(group)) === null)
          .flatMap((group) => [
            mlaDecodeFixed(p, fixedSchedule(group), h200),
            mlaDecodeFixed(p, fixedSchedule(group, 2, "apart"), h200),
          ]),
      ),
    ["HGMMA", "UTMALDG", "UBLKCP"],
  ],
  ["mla_prefill", () => [prefill(16), prefill(128), prefill(20, 192, 256)], ["HGMMA", "UTMALDG", "UTMASTG"]],
  [
    "register_linear",
    () => streams.flatMap((p) => ([8, 16] as const).map((t) => registerLinear(p, registerSchedule(p, t, h200), h200))),
    ["HMMA", "LDG.E.NA.LTC256B.128"],
  ],
  [
    "ring_linear",
    () =>
      [...gemms, ...streams]
        .filter((p) => illegalRing(p, h200) === null)
        .flatMap((p) => ([1, 4, 8, 16] as const).map((t) => ringLinear(p, ringSchedule(p, t, h200), h200))),
    ["HMMA", "UTMALDG", "LDSM"],
  ],
  [
    "fused ring_linear",
    () =>
      fused.flatMap((p) =>
        ([1, 2, 4] as const)
          .filter((t) => illegalRing(p, h200, t) === null)
          .map((t) => ringLinear(p, ringSchedule(p, t, h200), h200)),
      ),
    ["HMMA", "UTMALDG", "LDSM"],
  ],
  [
    "bf16_gemm",
    () => gemms.flatMap((p) => bf16Candidates.filter((s) => bf16Illegal(s, p, h200) === null).map((s) => bf16Gemm(p, s, h200))),
    ["HGMMA", "UTMALDG"],
  ],
  [
    "bmm_rows",
    () => [...einsums, ...quantised].map((p) => bmmKernel(p, bmmSchedule(p) as BmmSchedule, h200)),
    ["HMMA", "LDG.E.NA.LTC256B.128"],
  ],
  [
    "mla_query",
    () =>
      einsums
        .filter((p) => p.b[1] === 1 && p.x === "bf16" && !p.scale)
        .map((p) =>
          mlaQuery(
            {
              ...p,
              d: 64,
              xStrides: [p.a[1], p.a[0]],
              maxPositions: 4096,
              r: 512,
              cStride: 2112,
              krStride: 2112,
              gain: "bf16",
              eps: 1e-6,
              pageRows: 64,
            },
            h200,
          ),
        ),
    ["HMMA", "LDG.E.NA.LTC256B.128"],
  ],
  [
    "route_rows, sort_experts",
    () => [
      routeRows(r1Routing),
      routeRows({
        ...r1Routing,
        experts: 160,
        scoring: "softmax",
        method: "group_limited_greedy",
        normalise: false,
        bias: false,
        xStride: 160,
      }),
      sortExperts({ experts: 256, k: 8 }),
    ],
    [],
  ],
  ["gather_rows", () => (["bf16", "e4m3"] as const).map((x) => gatherRows({ d: 7168, per: 8, x, xStride: 7168 })), ["LDG.E.128"]],
  [
    "quant_rows",
    () =>
      (["quantize", "gated_quant"] as const).flatMap((of) =>
        [1, 4].map((blocks) =>
          quantRows({ of, d: 2048, xStride: 4096, ue8m0: false, act: "bf16" }, { form: "blocks-per-warp", blocks }),
        ),
      ),
    ["LDG.E.64"],
  ],
  [
    "rope_rows",
    () => [ropeRows({ heads: 20, d: 64, xStrides: [5120, 256], interleaved: true, maxPositions: 4096, act: "bf16" })],
    ["LDG.E.64"],
  ],
  [
    "norm_rows",
    () =>
      (["rms_norm", "norm_quant", "add_norm", "add_norm_quant", "add_norm_both"] as const).map((of) =>
        normRows({
          of,
          d: 7168,
          aStride: 7168,
          bStride: 7168,
          yStride: 7168,
          eps: 1e-6,
          gain: "bf16",
          act: "bf16",
          ue8m0: false,
        }),
      ),
    ["LDG.E.64"],
  ],
  ["argmax_rows", () => [argmaxRows({ d: 129280, xStride: 129280 }, h200), argmaxRows({ d: 70, xStride: 71 }, h200)], []],
  [
    "block_gemm",
    () =>
      candidates.flatMap((s, i) =>
        taking(
          products.filter((p) => illegal(s, h200, p) === null),
          i,
        ).map((p) => blockGemm(p, s, h200)),
      ),
    ["QGMMA", "UTMALDG"],
  ],
  [
    "block_gemv",
    () =>
      gemvs
        .flatMap(([n, k]) =>
          ([1, 4] as const).flatMap((maxRows) => [
            { n, k, maxRows },
            { n, k, maxRows, residual: true },
            { n, k, maxRows, norm: { eps: 1e-6, gain: "bf16", xStride: k, ue8m0: false } } as const,
          ]),
        )
        .flatMap((p) => {
          const s = scheduleFor(gemvSchedulesOf(p.maxRows), p, p.maxRows, h200);
          return "reason" in s ? [] : [gemv(p, s, h200)];
        }),
    ["QGMMA", "UTMALDG"],
  ],
  ["experts_gate_up, experts_down", () => through, ["QGMMA", "UTMALDG", "UBLKCP"]],
  [
    "experts of bf16 weights",
    () =>
      TOKENS.flatMap((tokens) =>
        ([{ routing: { ...r1Routing, experts: 64, groups: 1, kept: 1, xStride: 64, topk: 6, shared: 2 } }, {}] as const)
          .filter((r) => !("routing" in r) || tokens <= 16)
          .flatMap((r) => {
            const common = { experts: 66, per: 8, shared: 2, ...r };
            const up = { ...common, n: 1408, k: 2048, parts: 2 } as const;
            const down = { ...common, n: 2048, k: 1408, parts: 1 } as const;
            return [
              unitGateUp(up, unitSchedule(up, tokens, "dealt", h200), h200),
              unitDown(down, unitSchedule(down, tokens, "own", h200), h200),
            ];
          }),
      ),
    ["HMMA", "UTMALDG", "UBLKCP", "LDSM"],
  ],
  ["norm_linear_both", () => [2048, 4096].map((k) => normLinear({ n: 64, k, xStride: k, eps: 1e-6 })), ["LDG.E.128"]],
  [
    "grouped_gemm",
    () =>
      groupedCandidates.flatMap((s, i) =>
        taking(
          groups.filter((p) => groupedIllegal(s, h200, p) === null),
          i,
        ).map((p) => groupedGemm(p, s, h200)),
      ),
    ["QGMMA", "UTMALDG"],
  ],
  [
    "grouped_bf16",
    () =>
      groupsOfBf16.flatMap((p) =>
        groupedBf16Candidates.filter((s) => groupedBf16Illegal(s, p, h200) === null).map((s) => groupedBf16(p, s, h200)),
      ),
    ["HGMMA", "UTMALDG"],
  ],
];
