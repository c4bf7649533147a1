// The kernel families of tile programs. Adding one is writing it into this list; where several serve an op, no two take the same
// site.
import type { Family } from "../family.ts";
import { attendFamily, mlaAttendFamily, softmaxCausalFamily } from "./attention.ts";
import { bmmFamily } from "./bmm.ts";
import { outerFamily } from "./outer.ts";
import { cacheAppendFamily, cacheRowsFamily, ropeAppendFamily, ropeFamily } from "./cache.ts";
import { copyFamily } from "./copy.ts";
import { blockLinearFamily, groupedLinearFamily, linearFamily } from "./dense.ts";
import { dequantizeBlocksFamily, dequantizeRowsFamily } from "./dequantize.ts";
import { addBiasFamily, constantFamily, flatFamily, gatedFamily, gatedPairFamily, gatedQuantFamily } from "./elementwise.ts";
import { routeFamily, sortExpertsFamily } from "./expert.ts";
import { embedFamily, gatherRowsFamily, lastRowsFamily } from "./move.ts";
import { addNormBothFamily, addNormFamily, addNormQuantFamily, combineAddFamily, combineFamily } from "./residual.ts";
import { argmaxFamily, normQuantFamily, plainNormFamily, quantizeFamily, rmsNormFamily } from "./rows.ts";

const list = [
  embedFamily,
  rmsNormFamily,
  plainNormFamily,
  normQuantFamily,
  addNormFamily,
  addNormQuantFamily,
  addNormBothFamily,
  quantizeFamily,
  dequantizeRowsFamily,
  dequantizeBlocksFamily,
  linearFamily,
  blockLinearFamily,
  groupedLinearFamily,
  bmmFamily,
  outerFamily,
  flatFamily,
  constantFamily,
  addBiasFamily,
  gatedFamily,
  gatedPairFamily,
  gatedQuantFamily,
  softmaxCausalFamily,
  attendFamily,
  mlaAttendFamily,
  ropeFamily,
  cacheAppendFamily,
  ropeAppendFamily,
  cacheRowsFamily,
  routeFamily,
  sortExpertsFamily,
  gatherRowsFamily,
  combineFamily,
  combineAddFamily,
  argmaxFamily,
  lastRowsFamily,
  copyFamily,
] as const;

/** The name of a tile family of dsc. */
export type FamilyName = (typeof list)[number]["name"];

/** The families by name; a problem is the family's own kind of record. */
export const families: Readonly<Record<string, Family>> & Readonly<Record<FamilyName, Family>> = Object.freeze(
  Object.fromEntries(list.map((f) => [f.name, f])) as Record<FamilyName, Family>,
);
