// What dsc verify finds, and what an exported graph cannot point at.
import { coded, place } from "../../ir/diagnostic.ts";
import { onCommandLine } from "./command-line.ts";

export const noOnnxruntime = coded("DSC6030", {
  name: "no onnxruntime-node",
  means: "dsc verify --onnx runs the exported graph in onnxruntime-node. It is no dependency of dsc: it has 291 MB.",
  example: "dsc verify examples/deepseek-r1 --onnx",
  fix: "ONNXRUNTIME_NODE_INSTALL=skip npm install --no-save onnxruntime-node",
  at: () => [onCommandLine("--onnx")],
  short: () => ({
    title: "--onnx runs the exported graph in onnxruntime-node, which is not installed",
    help: "ONNXRUNTIME_NODE_INSTALL=skip npm install --no-save onnxruntime-node (291 MB; skip: it downloads nothing else)",
  }),
});

/** A graph names files of its own folder or below, and the checkpoint lies elsewhere. */
export const weightsElsewhere = coded<{ file: string; why: string }>("DSC6028", {
  name: "weights that an .onnx cannot point at",
  means:
    "An ONNX file names the files of its weights relative to its own folder, and runtimes refuse those outside it, " +
    "and links that lead there. A checkpoint elsewhere gets a second name (a hard link) beside the .onnx, which " +
    "takes one disk and a free name.",
  example: "dsc export onnx /models/v3 -o /tmp/model.onnx, where /tmp is another disk.",
  fix: "Give -o a place in the checkpoint's folder, or above it.",
  at: ({ file }) => [place(file)],
  short: ({ why }) => ({
    title: "the .onnx has to lie in the folder of its weights, or in one above it",
    notes: [why, "runtimes refuse weights in other folders, and links that lead there"],
    help: "give -o a place beside the checkpoint, or an empty folder on its disk, where its files get a second name",
  }),
});

export const linkedWeights = coded<{ links: readonly string[] }>("DSC6029", {
  name: "weights with a second name (note)",
  means:
    "The .onnx lies in another folder than the checkpoint, so the files of its weights got a second name there: a " +
    "hard link, which copies nothing. onnxruntime takes it; onnx.checker of Python's onnx refuses files with two " +
    "names, in both folders.",
  example: "dsc export onnx examples/tiny-r1 -o .dsc/model.onnx",
  fix: "Give -o a place in the checkpoint's folder, or above it, where the names are needed no more.",
  severity: "note",
  at: ({ links }) => links.slice(0, 4).map((l) => place(l)),
  short: () => ({
    title: "files of the checkpoint have a second name beside the .onnx (hard links: no copy)",
    notes: ["runtimes refuse weights in other folders; onnx.checker refuses files with two names as well"],
    help: "-o in the checkpoint's own folder needs none",
  }),
});

export const passChanges = coded<{ pass: string; where: string; difference: number; lost?: readonly string[] }>("DSC3020", {
  name: "a pass changes what is computed",
  means:
    "dsc verify interprets a small model in float64 before and after each pass. The logits differ by more than " +
    "rounding, and the pass declares no change.",
  example: "A rule that drops a scale.",
  fix: "This is a fault of the pass: dsc opt on graph/00-frontend.dsc with the passes up to it shows the graph it made.",
  at: ({ pass }) => [place(`pass ${pass}`)],
  short: ({ pass, where, difference, lost = [] }) => ({
    title: `${pass} changes what is computed in ${where}`,
    notes: [`largest difference of a logit: ${difference}`, ...lost.map((l) => `ranks no longer meet where they did: ${l}`)],
    help: "dsc opt on graph/00-frontend.dsc with the passes up to this one shows the graph it made",
  }),
});

export const onnxDiffers = coded<{
  after: string;
  attention: string;
  prefill: number;
  extend: number;
  decode: number;
}>("DSC6031", {
  name: "an exported graph answers otherwise",
  means:
    "dsc verify --onnx runs a small model with synthetic weights in onnxruntime, from the graph after several " +
    "passes, and in our own runtime. Logits differ by more than rounding: one of the two is wrong.",
  example: "A fault in a lowering of codegen/onnx, or in a pass.",
  fix: "dsc verify without --onnx tells whether it is a pass; please report it with the config.",
  at: (p) => [place(`graph after ${p.after}`)],
  short: (p) => ({
    title: `the graph after ${p.after} answers otherwise in onnxruntime, ${p.attention} attention`,
    notes: [`largest difference of a logit: ${p.prefill} in prefill, ${p.extend} in extend, ${p.decode} in decode`],
    help: "dsc export onnx SRC --after an earlier pass shows from which on; please report it with the config",
  }),
});

export const meshUnproved = coded<{ group: string; mesh: string; problem: string }>("DSC6047", {
  name: "a group of weights whose division does not hold",
  means:
    "dsc verify --mesh divides every group of weights alone and compares with one rank; then it drops a collective, puts it one op " +
    "later and does it twice, which has to be found. One of these did not come out so.",
  example: "A rule of ir/placement.ts that lets a sum over ranks into an op that is not linear.",
  fix: "The table says which group and what; the pass shard divides it.",
  at: () => [place("the pass shard")],
  short: ({ group, mesh, problem }) => ({
    title: `${group} over ${mesh}: ${problem}`,
    help: "this is a fault of the pass shard or of an op's signature",
  }),
});
