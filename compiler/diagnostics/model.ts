// What is asked of a model that it has not, and how its checkpoint is stored otherwise than its config says.
import { coded, place } from "../../ir/diagnostic.ts";
import { onCommandLine, onValue } from "./command-line.ts";

export const tooManyLayers = coded<{ asked: number; has: number }>("DSC6014", {
  name: "more layers than there are",
  means: "--layers keeps the first layers of a model.",
  example: "$ dsc summary examples/deepseek-r1 --layers 80",
  fix: "Give a number up to num_hidden_layers.",
  at: () => [onValue("--layers")],
  short: ({ asked, has }) => ({
    title: `--layers ${asked}: the model has ${has} layers`,
    notes: ["num_hidden_layers of the config says so"],
    help: `give a number from 1 to ${has}`,
  }),
});

export const needsDraftLayer = coded("DSC6017", {
  name: "no layer to draft with",
  means: "--draft guesses with the extra prediction layer, num_nextn_predict_layers of the config; this model has none.",
  example: "$ dsc run examples/printed-model --weights synthetic:0 --ids 1,2 --max-new 2 --draft 1",
  fix: "Leave --draft out.",
  at: () => [onCommandLine("--draft")],
  short: () => ({
    title: "--draft needs the extra prediction layer, which this model does not have",
    notes: ["num_nextn_predict_layers of the config is 0 or missing, or the checkpoint has no such layer"],
    help: "leave --draft out",
  }),
});

export const idOutside = coded<{ sequence: number | undefined; at: number; id: number; vocab: number }>("DSC6012", {
  name: "an id outside the vocabulary",
  means: "Ids are indices of the model's embedding.",
  example: "$ dsc run examples/tiny-r1 --ids 1,99999999 --max-new 1",
  fix: "Use the tokenizer of the same model; --prompt does.",
  at: () => [onValue("--ids")],
  short: ({ sequence, at, id, vocab }) => ({
    title: `id ${id} is not in the vocabulary`,
    notes: [
      `it is number ${at + 1} of ${sequence === undefined ? "the prompt" : `sequence ${sequence} of the batch`}; this ` +
        `model has ids 0 to ${vocab - 1}`,
    ],
    help: "ids come from the tokenizer of the same model; --prompt uses it",
  }),
});

export const tooManyPositions = coded<{ sequence: number | undefined; prompt: number; maxNew: number; positions: number }>(
  "DSC6011",
  {
    name: "more positions than the model has",
    means: "The prompt and the new tokens do not fit max_position_embeddings.",
    example: "$ dsc run examples/tiny-r1 --ids 1,2 --max-new 1000000",
    fix: "Ask for fewer tokens, as the help says.",
    at: () => [onValue("--max-new")],
    short: ({ sequence, prompt, maxNew, positions }) => ({
      title: `a prompt of ${prompt} and ${maxNew} new tokens do not fit ${positions} positions`,
      notes: [
        ...(sequence !== undefined ? [`this is sequence ${sequence} of the batch, counted from 0`] : []),
        "max_position_embeddings of the config says how far positions go",
      ],
      help: prompt <= positions ? `--max-new ${positions - prompt + 1} is the most here` : "shorten the prompt",
    }),
  },
);

export const needsTaps = coded<{ what: string }>("DSC6006", {
  name: "the artifact keeps no taps",
  means: "Hidden states, routes and the logits of every row are results only of artifacts compiled with --taps.",
  example: "dsc run OUT --save FILE, of an artifact compiled without --taps",
  fix: "dsc compile SRC -o OUT --taps.",
  at: ({ what }) => [onCommandLine(what)],
  short: ({ what }) => ({
    title: `${what} needs an artifact compiled with --taps`,
    notes: ["without taps, only the last row of a sequence has logits, and hidden states are not kept"],
    help: "dsc compile SRC -o OUT --taps",
  }),
});

export const storedWider = coded("DSC6007", {
  name: "stored wider than declared (warning)",
  means:
    "The config says bfloat16 and the checkpoint stores float32. Weights are widened, never rounded, so they stay " +
    "float32 and take twice the bytes.",
  example: "$ dsc compile test/fixtures/a05-v3-halfsplit-tied-bias -o .dsc/x",
  fix: "--set torch_dtype=float32 says the same; a bfloat16 checkpoint is half the bytes.",
  severity: "warning",
  at: () => [place("torch_dtype of the config")],
  short: () => ({
    title: "the config says bfloat16, the checkpoint stores float32: weights stay float32",
    notes: ["weights are widened when needed, never rounded"],
    help: "--set torch_dtype=float32 says the same; a bfloat16 checkpoint is half the bytes",
  }),
});

export const draftLayerLeft = coded<{ layer: number; why: string }>("DSC6024", {
  name: "a model compiled without its extra prediction layer (warning)",
  means:
    "num_nextn_predict_layers says that there is such a layer, and the checkpoint has no tensors of it, or stores it " +
    "otherwise than the layers of its kind. It only drafts: answers are the same without it.",
  example: "A bf16 copy of R1 whose converter left layer 61 out.",
  fix: "--set num_nextn_predict_layers=0 says the same; a checkpoint with the layer can draft.",
  severity: "warning",
  at: () => [place("num_nextn_predict_layers of the config")],
  short: ({ layer, why }) => ({
    title: `the extra prediction layer (layer ${layer}) is left out: ${why}`,
    notes: ["it only drafts; answers are the same without it, and --draft is not possible"],
    help: "--set num_nextn_predict_layers=0 says the same",
  }),
});

export const storedOtherwise = coded<{ what: string; weights: readonly string[] }>("DSC6025", {
  name: "weights stored otherwise than the config says (warning)",
  means:
    "The headers of the checkpoint say how each weight is stored, and a model folder is compiled as that: a copy in " +
    "bf16 under an FP8 config, projections left out of the codes, norms in float32.",
  example: "A re-quantised R1 with kv_b_proj in bf16.",
  fix: "Nothing has to be done. A checkpoint of one format throughout lets more passes fire.",
  severity: "warning",
  at: () => [place("the checkpoint")],
  short: ({ what, weights }) => ({
    title: what,
    notes: [...weights.slice(0, 8), ...(weights.length > 8 ? [`and ${weights.length - 8} more`] : [])],
    help: "nothing to do: weights are read as they are stored; a checkpoint of one format throughout runs faster",
  }),
});

export const unseenCheckpoint = coded<{ why: readonly string[] }>("DSC6026", {
  name: "a checkpoint that cannot be looked at (warning)",
  means:
    "dsc compile looks at the headers beside the config to see how weights are stored. Where they cannot be read, " +
    "the config alone counts.",
  example: "A folder cloned with GIT_LFS_SKIP_SMUDGE=1.",
  fix: "Fetch the checkpoint before running the artifact, and compile again if it is stored otherwise than the config says.",
  severity: "warning",
  at: () => [place("the model folder")],
  short: ({ why }) => ({
    title: "the checkpoint beside the config cannot be looked at: config.json alone says how weights are stored",
    notes: [...why],
    help: "compiling needs no weights; running does",
  }),
});

export const meshDividesNothing = coded<{
  mesh: string;
  /** Of groups of experts. */
  groups: boolean;
  whys: readonly string[];
  would: readonly string[];
}>("DSC6046", {
  name: "a mesh that divides nothing of the model",
  means:
    "Ranks have whole heads, whole elements, and of FP8 weights whole blocks of 128. Where nothing of a model divides so, all ranks " +
    "compute the same; where ep is given, every group has whole experts, and the width of each divides over the ranks of a group.",
  example: "$ dsc compile examples/tiny-r1 -o .dsc/x --mesh tp=4,ep=2",
  fix: "Take one of the numbers that the help names.",
  at: () => [onCommandLine("--mesh")],
  severity: "warning",
  short: ({ mesh, groups, whys, would }) => ({
    title: `${mesh} divides ${groups ? "no experts" : "nothing"} of this model`,
    notes: whys.length ? whys : ["n_routed_experts: the model has no experts"],
    help: would.length ? `what divides: ${would.join("; ")}` : groups ? "leave ep out" : "no number of ranks up to 64 divides it",
  }),
});
