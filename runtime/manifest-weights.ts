// Weights of a manifest: every piece lies inside its weight, no two over each other, and together they fill it but for the zeros
// that widths are padded with; names of tensors say which of several they mean; scales go with FP8 and nothing else.
import type { Manifest, Piece, WeightPlan } from "../ir/artifact.ts";
import { brokenManifest } from "./diagnostics.ts";

/** Rows or columns of zeros that padding to blocks can leave. */
const MOST_PADDING = 128;

/** Half-open ranges, axis by axis. */
type Box = (readonly [from: number, to: number])[];

const elements = (box: Box): number => box.reduce((n, [from, to]) => n * (to - from), 1);
const meet = (a: Box, b: Box): boolean => a.every(([from, to], axis) => from < b[axis][1] && b[axis][0] < to);

/** Throws DSC5005 unless the weights hold together. */
export function checkWeights(manifest: Manifest): void {
  for (const [symbol, plan] of Object.entries(manifest.weights)) {
    const at = `weights.${symbol}`;
    const fail = (why: string, where = at): never => {
      throw brokenManifest({ why: `${symbol}: ${why}`, at: where });
    };
    if (plan.shape.reduce((a, b) => a * b, 1) > 2 ** 48) fail(`its shape [${plan.shape.join(", ")}] is larger than any memory`);
    if (plan.dtype === "e4m3/128x128" && plan.shape.length < 2)
      fail(`a weight in blocks of 128 x 128 has two axes, and its shape is [${plan.shape.join(", ")}]`);
    if (plan.layers && new Set(plan.layers).size < plan.layers.length) fail("it names a layer twice");
    for (const layer of plan.layers ?? [])
      if (layer >= manifest.model.cachedLayers)
        fail(`it has an instance for layer ${layer}, and the model has ${manifest.model.cachedLayers}`);
    const { source } = plan;
    if (source.kind === "checkpoint") checkPieces(plan, source.pieces, (i, why) => fail(why, `${at}.source.pieces[${i}]`));
    else if (source.kind === "rope") checkRope(manifest, plan, source.invFreq, source.factor, fail);
    else checkComputed(manifest, symbol, plan, source, fail);
  }
}

function checkRope(
  manifest: Manifest,
  plan: WeightPlan,
  invFreq: readonly number[],
  factor: number,
  fail: (why: string) => never,
): void {
  const [positions, width, ...more] = plan.shape;
  if (
    plan.dtype !== "f32" ||
    plan.layers ||
    plan.staging ||
    more.length ||
    width !== 2 * invFreq.length ||
    positions !== manifest.model.maxPositions
  )
    fail(
      `a table of ${invFreq.length} frequencies for ${manifest.model.maxPositions} positions is f32 ` +
        `[${manifest.model.maxPositions}, ${2 * invFreq.length}], one for all layers`,
    );
  if (factor <= 0 || invFreq.some((f) => f <= 0)) fail("a frequency, or the factor, is not above 0");
}

/** Written by a result of a load function, which runs for each of its layers. */
function checkComputed(
  manifest: Manifest,
  symbol: string,
  plan: WeightPlan,
  source: { by: string; result: string },
  fail: (why: string) => never,
): void {
  const load = manifest.load.find((l) => l.function === source.by);
  if (!load) return fail(`it is computed by ${source.by}, which is not in the load list`);
  const result = Object.hasOwn(manifest.functions, source.by)
    ? manifest.functions[source.by].results.find((r) => r.name === source.result)
    : undefined;
  if (!result) return fail(`it is the result ${source.result} of ${source.by}, which gives no such thing`);
  if (result.dtype !== plan.dtype || result.shape.join() !== plan.shape.join())
    fail(
      `${source.by} gives ${result.dtype} [${result.shape.join(", ")}] for it, and it is ${plan.dtype} [${plan.shape.join(", ")}]`,
    );
  const without = plan.layers?.find((layer) => !load.layers.includes(layer));
  if (without !== undefined) fail(`${source.by} does not run for layer ${without}`);
  // One of no layer is computed once.
  if (!plan.layers && load.layers.length !== 1) fail(`${source.by} runs ${load.layers.length} times, and it is one weight`);
  const twice = Object.entries(manifest.weights).find(
    ([other, { source: s }]) => other !== symbol && s.kind === "computed" && s.by === source.by && s.result === source.result,
  );
  if (twice) fail(`${twice[0]} is the same result of ${source.by}`);
}

function checkPieces(plan: WeightPlan, pieces: readonly Piece[], fail: (i: number, why: string) => never): void {
  const boxes = pieces.map((p, i) => boxOf(plan, p, (why) => fail(i, why)));
  const axes = pieces[0].at.length;
  const leading = (box: Box): Box => box.slice(0, axes);
  boxes.forEach((box, i) => {
    if (pieces[i].at.length !== axes) fail(i, `it has ${pieces[i].at.length} leading indices, and the first piece has ${axes}`);
    for (const [j, other] of boxes.slice(0, i).entries()) {
      if (meet(box, other)) fail(i, `it lies over piece ${j}`);
      if (meet(leading(box), leading(other)) && JSON.stringify(leading(box)) !== JSON.stringify(leading(other)))
        fail(i, `its leading indices are in part those of piece ${j}`);
    }
  });
  const groups = new Map<string, Box[]>();
  for (const box of boxes) groups.set(JSON.stringify(leading(box)), [...(groups.get(JSON.stringify(leading(box))) ?? []), box]);
  const filled = [...groups.values()].reduce((n, [box]) => n + elements(leading(box)), 0);
  const wanted = plan.shape.slice(0, axes).reduce((a, b) => a * b, 1);
  if (filled !== wanted) fail(0, `pieces fill ${filled} of the ${wanted} leading indices`);
  for (const group of groups.values())
    for (let axis = axes; axis < plan.shape.length; axis++) {
      // Pieces of one matrix follow each other along one axis, or there is one; what they leave is padding.
      const end = Math.max(...group.map((box) => box[axis][1]));
      const sum = [...new Set(group.map((box) => box[axis].join()))]
        .map((r) => r.split(",").map(Number))
        .reduce((n, [from, to]) => n + to - from, 0);
      if (plan.shape[axis] - end >= MOST_PADDING || end - sum >= MOST_PADDING * group.length)
        fail(0, `pieces leave ${plan.shape[axis] - sum} of ${plan.shape[axis]} along axis ${axis}`);
    }
}

/** The part of a weight that a piece fills. */
function boxOf(plan: WeightPlan, p: Piece, fail: (why: string) => never): Box {
  const { shape } = plan;
  const axes = p.at.length;
  const scaled = plan.dtype === "e4m3/128x128";
  if (axes > shape.length - (scaled ? 2 : p.rows || p.columns ? 1 : 0))
    fail(`it has ${axes} leading indices, and the shape is [${shape.join(", ")}]`);
  const box: Box = shape.map((n) => [0, n] as const);
  p.at.forEach((a, axis) => {
    const [from, to] = a === "*" ? [0, shape[axis]] : typeof a === "number" ? [a, a + 1] : a.split("..").map(Number);
    box[axis] = [from, to];
  });
  if (p.rows) box[axes] = p.rows;
  if (p.columns) box[shape.length - 1] = p.columns;
  if (p.columns && p.rows && axes === shape.length - 1) fail("its rows and its columns are of one axis");
  box.forEach(([from, to], axis) => {
    if (from >= to || to > shape[axis]) fail(`it takes ${from} to ${to} of axis ${axis}, which has ${shape[axis]}`);
  });
  if (scaled && p.rows && p.rows[0] % 128 !== 0) fail(`it begins in row ${p.rows[0]}, inside a block of scales`);
  if (p.part) {
    if (p.part.index >= p.part.count) fail(`it is part ${p.part.index} of ${p.part.count}, counted from 0`);
    if (scaled || p.rows || p.columns || shape.length - axes !== 2) fail("a part of a tensor is a whole matrix without scales");
  }
  if (p.scales !== undefined && !scaled) fail(`it has scales, and the weight is ${plan.dtype}`);
  for (const name of [p.tensor, ...(p.scales === undefined ? [] : [p.scales])]) checkName(name, plan, p, fail);
  return box;
}

/** `{layer}` and `{0}` stand in a name where, and only where, there are several to tell apart. */
function checkName(name: string, plan: WeightPlan, p: Piece, fail: (why: string) => never): void {
  const used = new Set([...name.matchAll(/\{([^{}]*)\}/g)].map((m) => m[1]));
  const several = p.at.flatMap((a, axis) => (typeof a === "number" ? [] : [String(axis)]));
  for (const key of used)
    if (key === "layer" ? !plan.layers : !several.includes(key)) fail(`{${key}} of ${name} stands for nothing`);
  for (const key of [...((plan.layers?.length ?? 0) > 1 ? ["layer"] : []), ...several])
    if (!used.has(key)) fail(`${name} is one tensor for several places: it lacks {${key}}`);
}
