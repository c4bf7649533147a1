/** The router of R1. */
export const r1Routing = {
  experts: 256,
  topk: 8,
  groups: 8,
  kept: 4,
  scoring: "sigmoid",
  method: "noaux_tc",
  normalise: true,
  factor: 2.5,
  bias: true,
  xStride: 256,
} as const;
