// The standard pipeline, in order. Registering a pass is writing it here.
import { fp8BlockGemm } from "./fp8/fp8-block-gemm.ts";
import { fuseProduct } from "./fp8/fuse-product.ts";
import { fuseQuant } from "./fp8/fuse-quant.ts";
import { absorbMla } from "./mla/absorb-mla.ts";
import { fuseAttention } from "./mla/fuse-attention.ts";
import { fuseRopeAppend } from "./mla/fuse-rope-append.ts";
import { joinLatents } from "./mla/join-latents.ts";
import { joinQuery } from "./mla/join-query.ts";
import { expertsAdd } from "./moe/experts-add.ts";
import { moeDispatch } from "./moe/moe-dispatch.ts";
import { normRouter } from "./moe/norm-router.ts";
import { packGateUp } from "./moe/pack-gate-up.ts";
import { quantiseOnce } from "./moe/quantise-once.ts";
import { sharedExpert } from "./moe/shared-expert.ts";
import type { Pass } from "./pass.ts";
import { load } from "./plan/load.ts";
import { padWidths } from "./plan/pad-widths.ts";
import { addNorm } from "./residual/add-norm.ts";
import { combineAdd } from "./residual/combine-add.ts";
import { fuseLinear } from "./residual/fuse-linear.ts";
import { lastRows } from "./residual/last-rows.ts";
import { tidy } from "./tidy/tidy.ts";

/** Every pass, with the reason for its place. */
export const standard: readonly Pass[] = Object.freeze([
  absorbMla, // first: it looks for linear, which fp8-block-gemm replaces
  fuseAttention, // after absorb-mla, which decides whether heads read keys or latents
  tidy, // after fuse-attention, whose moving of rows out of regions leaves views behind one another
  fuseRopeAppend, // after tidy: it looks through one view, not two
  fp8BlockGemm, // after absorb-mla; before passes that join or fuse products over codes
  sharedExpert, // before moe-dispatch: it widens the region of experts
  moeDispatch, // before passes that look for its grouped products
  quantiseOnce, // looks for the gather that moe-dispatch makes
  packGateUp, // looks for products as fp8-block-gemm and moe-dispatch leave them
  padWidths, // widens what pack-gate-up packed
  joinLatents, // before fuse-linear and fuse-product, for which the joined product is the norm's one reader
  combineAdd, // looks for the combine of moe-dispatch, before the sums around it are fused
  lastRows, // before fuse-linear, which takes the head's norm into its product
  fuseLinear, // before add-norm: what a product adds and normalises itself is not fused again
  fuseProduct, // the same for products over codes
  addNorm, // before fuse-quant, which takes the norms that follow no sum
  fuseQuant, // after quantise-once and pack-gate-up, which make the shapes it looks for
  expertsAdd, // looks for the quantised activation of fuse-quant and the sum of combine-add
  normRouter, // after experts-add, of which it asks who else reads the row
  load, // after all that may still read a stored weight
  joinQuery, // last: load looks for the einsum that it takes
]);

const place = (name: string, pipeline: readonly Pass[]): number => {
  const at = pipeline.findIndex((p) => p.name === name);
  if (at < 0) throw new RangeError(`the pipeline has no pass ${name}: ${pipeline.map((p) => p.name).join(", ")}`);
  return at;
};

/** A pipeline with `extra` right after the named pass. */
export const insertAfter = (pipeline: readonly Pass[], name: string, extra: Pass): Pass[] =>
  pipeline.toSpliced(place(name, pipeline) + 1, 0, extra);

/** A pipeline with `extra` right before the named pass. */
export const insertBefore = (pipeline: readonly Pass[], name: string, extra: Pass): Pass[] =>
  pipeline.toSpliced(place(name, pipeline), 0, extra);
