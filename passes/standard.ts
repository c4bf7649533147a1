// The standard pipeline, in order. Registering a pass is writing it here.
import { blockGemm } from "./fp8/block-gemm.ts";
import { fuseProduct } from "./fp8/fuse-product.ts";
import { fuseQuant } from "./fp8/fuse-quant.ts";
import { absorbMla } from "./mla/absorb.ts";
import { fuseRopeAppend } from "./mla/append.ts";
import { fuseAttention } from "./mla/fuse.ts";
import { joinLatents } from "./mla/join.ts";
import { joinQuery } from "./mla/query.ts";
import { dispatch, quantiseOnce } from "./moe/dispatch.ts";
import { expertsAddPass } from "./moe/few.ts";
import { packGateUp } from "./moe/pack.ts";
import { padWidths } from "./plan/pad.ts";
import { sharedExpert } from "./moe/shared.ts";
import { load } from "./plan/place.ts";
import { addNormPass } from "./residual/add-norm.ts";
import { combineAddPass } from "./residual/combine-add.ts";
import { fuseLinear } from "./residual/fuse-linear.ts";
import { lastRowsPass } from "./residual/last-rows.ts";
import { tidy } from "./tidy/tidy.ts";
import type { Pass } from "./pass.ts";

export const standard: readonly Pass[] = Object.freeze([
  absorbMla, fuseAttention, tidy, fuseRopeAppend, blockGemm, sharedExpert, dispatch, quantiseOnce, packGateUp, padWidths, joinLatents, combineAddPass, lastRowsPass, fuseLinear, fuseProduct, addNormPass, fuseQuant, expertsAddPass, load, joinQuery,
]);

const place = (name: string, pipeline: readonly Pass[]): number => {
  const at = pipeline.findIndex((p) => p.name === name);
  if (at < 0) throw new RangeError(`the pipeline has no pass ${name}: ${pipeline.map((p) => p.name).join(", ")}`);
  return at;
};

/** A pipeline with `extra` right after the named pass. */
export const insertAfter = (pipeline: readonly Pass[], name: string, extra: Pass): Pass[] => pipeline.toSpliced(place(name, pipeline) + 1, 0, extra);

/** A pipeline with `extra` right before the named pass. */
export const insertBefore = (pipeline: readonly Pass[], name: string, extra: Pass): Pass[] => pipeline.toSpliced(place(name, pipeline), 0, extra);
