// DSC4xxx: targets, printers and lowerings.
import type { Entry } from "./entry.ts";

const undeclared = (who: string): Entry => ({
  name: `${who}: an unknown buffer`,
  means: "A statement of the tile program names a buffer that is not among its parameters.",
  example: "load y[...] in a kernel whose parameters are x and out z",
  fix: "Declare it. In a kernel of dsc itself this is a fault: please report it.",
});
const gridless = (who: string): Entry => ({
  name: `${who}: no grid`,
  means: "The grid is a tile program's first statement: it says what cells there are.",
  example: "A kernel that begins with a load.",
  fix: "Call k.grid({ ... }) first; a kernel of one cell has extents of 1.",
});

export const kernels: Readonly<Record<string, Entry>> = {
  DSC4002: {
    name: "bf16 activations on the CPU",
    means:
      "WebAssembly has no bf16 arithmetic: rows kept in bf16 would cost time and exactness, and save nothing. Weights " +
      "stay packed in any case.",
    example: "$ dsc compile examples/tiny-r1 -o .dsc/x --activations bf16",
    fix: "Leave the option out on the CPU.",
  },
  DSC4003: {
    name: "an architecture without kernels",
    means:
      "Kernels are compiled for the GPUs that --arch names. An artifact of a version that knew others names one that " +
      "this version does not.",
    example: "dsc inspect OUT --cost of an artifact for sm_120a",
    fix: "Compile the model again for an architecture that --help lists.",
  },
  DSC4101: {
    name: "an illegal schedule",
    means:
      "A native kernel's schedule (tiles, stages, cluster) breaks a rule of the hardware for this problem; the note says which.",
    example: "Five stages of 128 x 128 x 128 in bf16, which do not fit 227 KB.",
    fix: "Let choose() pick the schedule, or use the printed kernel.",
  },
  DSC4111: undeclared("CUDA printer"),
  DSC4112: gridless("CUDA printer"),
  DSC4113: {
    name: "too much shared memory",
    means: "A printed kernel keeps its tiles in shared memory; a block has 227 KB on sm_90 and sm_100.",
    example: "Two f32 tiles of 256 x 256.",
    fix: "Use smaller tiles, or a native kernel.",
  },
  DSC4114: {
    name: "threads that are no whole warps",
    means: "A block has 1 to 32 warps of 32 threads.",
    example: "100 threads a block.",
    fix: "Give a multiple of 32, up to 1024.",
  },
  DSC4121: gridless("Triton printer"),
  DSC4122: undeclared("Triton printer"),
  DSC4123: {
    name: "Triton cannot say a statement",
    means:
      "Triton has whole-block values and no shared arrays a kernel names; some tile statements have no words there. The note says why.",
    example: "A running sum read back at a data-dependent index.",
    fix: "Print it for CUDA, which takes every statement.",
  },
  DSC4131: {
    name: "an op that ONNX cannot say",
    means:
      "dsc export onnx writes every op in standard operators, and a fused op by the ops it stands for. This one has " +
      "neither; the message names the pass that made it.",
    example: "A plug-in's pass that brings an op declared by a reference alone.",
    fix: "Export the graph after an earlier pass (--after), or declare the op as `fused`.",
  },
  DSC4132: {
    name: "a stored type that ONNX's opset 23 does not have",
    means: "Weights stay in the checkpoint's files, so their type has to be one of ONNX's: F32, F16, BF16 or F8_E4M3.",
    example: "Scales stored as F8_E8M0.",
    fix: "Store the tensor as one of these: e8m0 scales as F32, as the published checkpoints have them.",
  },
  DSC4133: {
    name: "a tensor of another shape than the graph reads",
    means: "The checkpoint is not that of the config: a tensor has the name that the graph reads, and another shape.",
    example: "dsc export onnx examples/tiny-r1 --set vocab_size=100 -o model.onnx",
    fix: "Give --weights the checkpoint of this config.",
  },
  DSC4134: {
    name: "no whole model to export",
    means: "A graph of ONNX is made of the module's entry `extend`, which takes ids and gives logits.",
    example: "An artifact whose graph was written by another program.",
    fix: "Export a config, or an artifact that dsc compiled of one.",
  },
  DSC4201: {
    name: "CPU lowering: a name without a value",
    means: "An index expression names nothing in scope.",
    example: "load x[j, ...] inside grid i",
    fix: "Use a name in scope; the note lists them.",
  },
  DSC4202: undeclared("CPU lowering"),
  DSC4203: {
    name: "CPU lowering: a tile read before it is written",
    means: "Tiles have no value until a load, fill or map gives them one.",
    example: "acc += part without acc = 0 before",
    fix: "Fill or load it first.",
  },
  DSC4204: gridless("CPU lowering"),
};
