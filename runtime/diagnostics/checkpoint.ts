// DSC501x: what can be wrong with the files of a checkpoint, and with the values in them.
import { place, thrown, type DiagnosticError } from "../../ir/diagnostic.ts";
import { type FileKind } from "../file-kind.ts";

export const noCheckpoint = thrown<{ where: string; why: string; help?: string | undefined }>("DSC5010", {
  name: "no checkpoint",
  means:
    "Weights come from model.safetensors, from the shards of model.safetensors.index.json, from one .safetensors file, or are synthetic.",
  example: "$ dsc run examples/deepseek-r1 --shrink --ids 1,2 --max-new 1",
  fix: "Give --weights DIR, or --weights synthetic:0.",
  at: ({ where }) => [place(where)],
  short: ({
    where,
    why,
    help = "name a folder with model.safetensors or model.safetensors.index.json, a .safetensors file, or synthetic:SEED",
  }) => ({ title: `no checkpoint at ${where}`, notes: [why], help }),
});

export const foreignFile = thrown<{ file: string } & FileKind>("DSC5014", {
  name: "a file that is something else",
  means:
    "The first bytes are those of a Git LFS pointer, a GGUF file, a PyTorch archive or a web page, in place of a " +
    "safetensors file or an index.",
  example: "A folder cloned with GIT_LFS_SKIP_SMUDGE=1.",
  fix: "Do as the help says: git lfs pull, or a copy of the model that has .safetensors files.",
  at: ({ file }) => [place(file)],
  short: ({ file, what, help }) => ({ title: `${file} is ${what}`, help }),
});

export const brokenSafetensors = thrown<{ file: string; why: string }>("DSC5011", {
  name: "a damaged safetensors file",
  means:
    "The header is checked in full before any byte of data is read: JSON, known dtypes, whole shapes, offsets " +
    "without gaps up to the end of the file.",
  example: "A download that was cut short.",
  fix: "Fetch or write the file again.",
  at: ({ file }) => [place(file)],
  short: ({ file, why }) => ({
    title: `${file} is not a sound safetensors file`,
    notes: [why],
    help: "the file may be cut short or damaged; fetch or write it again",
  }),
});

export const brokenIndex = thrown<{ file: string; why: string }>("DSC5012", {
  name: "a damaged index of shards",
  means:
    "model.safetensors.index.json names the shards beside it, each tensor once. Names of tensors and shards that the " +
    "model does not read are no fault.",
  example: "An index that was cut short, or a tensor that two shards hold.",
  fix: "Fetch the index and its shards again.",
  at: ({ file }) => [place(file)],
  short: ({ file, why }) => ({
    title: `${file} does not describe its shards`,
    notes: [why],
    help: "fetch the index and its shards again",
  }),
});

export const shortRead = thrown<{ file: string; tensor: string; why?: string | undefined }>("DSC5013", {
  name: "a file that shrank while it was read",
  means: "The file was whole when its header was checked, and ended earlier when its data was read.",
  example: "A checkpoint that is still being written.",
  fix: "Let what writes it finish, then run again.",
  at: ({ file }) => [place(file)],
  short: ({ file, tensor, why = "the file changed after its header was read" }) => ({
    title: `${file} could not be read to the end of ${tensor}`,
    notes: [why],
    help: "let what writes it finish, then run again",
  }),
});

/** `tensor`: the stored one; none for a weight that is computed from stored ones while loading. */
export const notFinite = thrown<{ tensor: string | undefined; found: string }>("DSC5015", {
  name: "a weight that is not a number",
  means:
    "A stored value is NaN or infinite: a bf16, f16 or f32 with all bits of the exponent set, the e4m3 codes 0x7f " +
    "and 0xff, the e8m0 scale 0xff. On the CPU every value is looked at as it is read.",
  example: "A checkpoint whose conversion divided by zero.",
  fix: "Fetch the file again, or convert the checkpoint again.",
  at: ({ tensor }) => [place(tensor ?? "the weights")],
  short: ({ tensor, found }) => ({
    title: `${tensor ?? "a computed weight"} holds a value that is not a number`,
    notes: [
      found,
      tensor
        ? "a torn download, a bad conversion and codes of another FP8 format leave such values; every answer that meets one is NaN"
        : "the stored tensors that it is computed from while loading are numbers: what they give is too large for its dtype",
    ],
    help: tensor ? "fetch the file again, or convert the checkpoint again" : "compare config.json with the checkpoint's own",
  }),
});

export const elementNotFinite = (tensor: string, file: string, element: number): DiagnosticError =>
  notFinite({ tensor, found: `element ${element} of it in ${file} is NaN or infinite` });

export const adapterOnly = thrown<{ where: string }>("DSC5026", {
  name: "an adapter, not a model",
  means: "A LoRA adapter holds changes to the weights of a base model, and not these.",
  example: "--weights FOLDER with lora_A and lora_B tensors",
  fix: "Merge the adapter into its base model, and give the merged checkpoint.",
  at: ({ where }) => [place(where)],
  short: ({ where }) => ({
    title: `${where} holds a LoRA adapter`,
    notes: ["its tensors (lora_A, lora_B) are changes to the weights of another model, which are not in it"],
    help: "merge it into its base model, and give the merged checkpoint",
  }),
});

export const noSyntheticKind = thrown<{ tensor: string }>("DSC5024", {
  name: "no synthetic rule for a tensor",
  means: "Synthetic weights are made by kind of tensor (linear, router, head, embedding, norm, bias), known by name.",
  example: "A tensor with a name of another family.",
  fix: "Give a checkpoint that has it.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ tensor }) => ({
    title: `there is no synthetic rule for ${tensor}`,
    notes: ["the rules go by name: linear, router, head, embedding, norm, bias"],
    help: "give a checkpoint that has it: --weights DIR",
  }),
});

export const badWeights = thrown<{ spec: string }>("DSC5025", {
  name: "--weights is neither",
  means: "--weights is a folder, a .safetensors file, or synthetic:SEED with a whole SEED from 0 up, below 2^32.",
  example: "$ dsc run examples/tiny-r1 --weights synthetic:x --ids 1,2 --max-new 1",
  fix: "Try --weights synthetic:0.",
  at: () => [place("--weights")],
  short: ({ spec }) => ({
    title: `--weights ${spec} is neither a checkpoint nor synthetic:SEED`,
    notes: ["SEED is a whole number, 0 or more, below 2^32"],
    help: "try synthetic:0",
  }),
});
