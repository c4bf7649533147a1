// DSC502x: how a checkpoint's tensors can be other than the model that was compiled reads them.
import { didYouMean, place, thrown, type DiagnosticError } from "../../ir/diagnostic.ts";

const list = (names: readonly string[], most = 5): string =>
  names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");

export const lacksTensors = thrown<{
  where: string;
  /** Each with what may be said of where it is. */
  missing: readonly { tensor: string; elsewhere: string }[];
  /** Files that the checkpoint names and that are not there. */
  absent: readonly string[];
  held: readonly string[];
  draftOnly: boolean;
}>("DSC5020", {
  name: "tensors are missing",
  means:
    "The compiled model reads tensors by their published names; these are not in the checkpoint. The nearest names are given.",
  example: "$ dsc run examples/deepseek-r1 --shrink --weights examples/tiny-r1 --ids 1,2 --max-new 1",
  fix: "Compile the config.json that belongs to the checkpoint.",
  at: ({ where }) => [place(where)],
  short: ({ where, missing, absent, held, draftOnly }) => ({
    title: `the checkpoint lacks ${missing.length === 1 ? missing[0].tensor : `${missing.length} tensors`}`,
    notes: [
      ...(absent.length ? [`${list(absent)} ${absent.length === 1 ? "is" : "are"} not in ${where}`] : []),
      ...missing.slice(0, 10).map((m) => `${m.tensor}${m.elsewhere}`),
      ...(missing.length > 10 ? [`and ${missing.length - 10} more`] : []),
      `${where} holds ${held.length} tensors: ${list(held.toSorted())}`,
    ],
    help: draftOnly
      ? "it has no extra prediction layer, which only drafts: run its model folder, or compile with --set num_nextn_predict_layers=0"
      : absent.length
        ? "fetch the missing files"
        : "the checkpoint must be of the model that was compiled; compare its config.json with the one compiled",
  }),
});

/** What there is to say of a checkpoint. */
interface Listing {
  where: string;
  tensors: ReadonlyMap<string, unknown>;
  absent: { absent: readonly string[]; placed: ReadonlyMap<string, string> };
}

export function missingTensors(
  { where, tensors, absent: { absent, placed } }: Listing,
  missing: readonly string[],
  draftOnly = false,
): DiagnosticError {
  const held = [...tensors.keys()];
  const elsewhere = (tensor: string): string => {
    if (placed.has(tensor)) return ` (in ${placed.get(tensor)}, which is not there)`;
    const near = held.length > 20000 ? undefined : didYouMean(tensor, held);
    return near ? ` (nearest: ${near})` : "";
  };
  return lacksTensors({
    where,
    missing: missing.map((tensor) => ({ tensor, elsewhere: elsewhere(tensor) })),
    absent,
    held,
    draftOnly,
  });
}

export const foreignStorage = thrown<{ tensor: string; what: string; others: number }>("DSC5027", {
  name: "weights in a format that is not read",
  means:
    "Tensors beside a weight, or in its place, say how it is stored: weight_scale_2 is NVFP4, weight_packed " +
    "compressed-tensors, qweight GPTQ or AWQ, weight_scale FP8 with a scale per tensor or row. None of these is read.",
  example: "A copy of R1 that was re-quantised to NVFP4.",
  fix: "Use the original checkpoint (FP8 in blocks of 128x128), or one that was converted to bf16.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ tensor, what, others }) => ({
    title: `${tensor} is stored as ${what}`,
    notes: [
      ...(others ? [`${others} more weights are stored in a format that is not read`] : []),
      "weights are read as BF16, F16, F32, or as F8_E4M3 with a scale per block of 128x128 (weight_scale_inv)",
    ],
    help: "use the original checkpoint, or one that was converted to bf16",
  }),
});

export const mixedStorage = thrown<{ coded: readonly string[]; plain: readonly string[] }>("DSC5028", {
  name: "FP8 and plain weights mixed",
  means:
    "Some of the matrices that FP8 checkpoints of the family code are stored in bf16, otherwise than the artifact " +
    "was compiled. A model folder is compiled by what its checkpoint stores, where that is the same in every layer " +
    "of a kind.",
  example: "An artifact of R1's config.json, with a checkpoint whose o_proj of one layer was left in bf16.",
  fix: "Run the model folder instead of the artifact, or use a checkpoint that is FP8, or bf16, throughout.",
  at: ({ plain }) => [place(plain[0])],
  short: ({ coded, plain }) => ({
    title: "the checkpoint mixes FP8 and plain weights otherwise than it was compiled",
    notes: [
      `F8_E4M3: ${coded.length} weights, such as ${list(coded, 2)}`,
      `not F8_E4M3: ${plain.length} weights that FP8 checkpoints of this family code, such as ${list(plain, 2)}`,
    ],
    help:
      "a weight that is read as FP8 has to be FP8 in every layer of its kind: use the original FP8 checkpoint, or one " +
      "that is bf16 throughout",
  }),
});

export const wrongShape = thrown<{ tensor: string; seen: readonly number[]; wanted: readonly number[]; symbol: string }>(
  "DSC5021",
  {
    name: "a tensor of another shape",
    means: "The shape follows from the config that was compiled.",
    example: "$ dsc run examples/tiny-r1 --set vocab_size=600 --ids 1,2 --max-new 1",
    fix: "Compile the config.json that belongs to this checkpoint.",
    at: ({ tensor }) => [place(tensor)],
    short: ({ tensor, seen, wanted, symbol }) => ({
      title: `${tensor} has shape [${seen.join(", ")}]`,
      notes: [`${symbol} needs [${wanted.join(", ")}], from the config that was compiled`],
      help: "compile the config.json that belongs to this checkpoint",
    }),
  },
);

export const wrongDType = thrown<{ tensor: string; seen: string; wanted: string; hasScales: boolean }>("DSC5022", {
  name: "a tensor of another dtype",
  means:
    "Weights are widened when needed (bf16 and f16 to f32), never rounded, and FP8 codes mean nothing without their " +
    "scales. A weight is FP8 if and only if its dtype is F8_E4M3 and its _scale_inv partner exists.",
  example: "A checkpoint whose kv_b matrices are F8_E4M3, with an artifact that reads them as bf16.",
  fix: "Compile the config of this checkpoint, with its quantization_config as it is.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ tensor, seen, wanted, hasScales }) => {
    if (wanted.startsWith("e4m3"))
      return {
        title: `${tensor} is ${seen}, but was compiled as a scaled FP8 weight`,
        notes: ["a weight is FP8 if and only if its dtype is F8_E4M3 and its _scale_inv partner exists"],
        help: "compile with --set quantization_config=null for this checkpoint",
      };
    if (seen === "F8_E4M3")
      return {
        title: `${tensor} is F8_E4M3, but was compiled as ${wanted}`,
        notes: [
          hasScales
            ? "its _scale_inv partner is there: this is an FP8 checkpoint"
            : "it has no _scale_inv partner, so its values are unknown",
        ],
        help: hasScales
          ? "compile the config.json of this checkpoint, with its quantization_config"
          : "fetch the whole checkpoint, or one in bf16",
      };
    const wider = wanted === "bf16" && (seen === "F32" || seen === "F16");
    return {
      title: wider
        ? `${tensor} is ${seen}, and ${wanted} cannot hold every value of it`
        : `${tensor} is ${seen}, which is not read as ${wanted}`,
      notes: [
        wider
          ? "weights are widened when needed, never rounded"
          : "weights are read from BF16, F16 and F32, scales from F32, BF16, F16 and F8_E8M0, and what would round is refused",
      ],
      help: wider ? "convert the checkpoint, or compile with --set torch_dtype=float32" : "convert the checkpoint to bf16",
    };
  },
});

export const scalesAsBytes = thrown<{ tensor: string }>("DSC5029", {
  name: "scales in bytes",
  means: "U8 scales are exponents of two (e8m0) where the config says scale_fmt ue8m0, and unknown otherwise.",
  example: "A checkpoint of early ue8m0 writers with a config that lacks scale_fmt.",
  fix: "If they are exponents, compile with --set quantization_config.scale_fmt=ue8m0.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ tensor }) => ({
    title: `${tensor} is U8, and the config does not say that scales are powers of two`,
    notes: ['bytes may be exponents (e8m0), as checkpoints with "scale_fmt": "ue8m0" had them before safetensors knew F8_E8M0'],
    help: "if they are, compile with --set quantization_config.scale_fmt=ue8m0",
  }),
});

export const missingScales = thrown<{ tensor: string; scales: string; undivided: string | undefined }>("DSC5023", {
  name: "FP8 codes without scales",
  means:
    "The _scale_inv partner of an F8_E4M3 tensor is missing, so its values are unknown; or experts are fused, and " +
    "the scales of gate and up cannot be told apart, because their width is no multiple of 128.",
  example: "A checkpoint of which only some shards were fetched.",
  fix: "Fetch the whole checkpoint, or one in bf16.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ tensor, scales, undivided }) => ({
    title: `${tensor} is F8_E4M3 without its scales`,
    notes: [undivided ?? `${scales} is not in the checkpoint; without it the values are unknown`],
    help: undivided
      ? "give a checkpoint that holds gate_proj and up_proj of every expert apart, as they are published, or one in bf16"
      : "fetch the whole checkpoint, or one in bf16",
  }),
});
