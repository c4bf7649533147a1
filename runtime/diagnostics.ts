// Every failure of the runtime, one function each: artifact (500x), safetensors files (501x), weights (502x),
// memory and sessions (503x), device (504x), text (505x). Each says what was seen, what was expected and where that comes from.
import { DiagnosticError, didYouMean, error, place, warning, type Diagnostic, type Span } from "../ir/diagnostic.ts";
import { shown } from "./shown.ts";
import type { FileKind } from "./file-kind.ts";

/** `where` names the file, tensor, option or launch it is about. */
const fail = (where: string, code: string, title: string, notes: string[], help: string): DiagnosticError =>
  new DiagnosticError(error(code, title, { spans: [place(where)], notes, help }));

/** "1.30 GiB", "12.0 MiB", "96 bytes". */
export function bytes(n: number): string {
  if (n >= 2 ** 30) return `${(n / 2 ** 30).toFixed(2)} GiB`;
  if (n >= 2 ** 20) return `${(n / 2 ** 20).toFixed(1)} MiB`;
  return n >= 1024 ? `${(n / 1024).toFixed(1)} KiB` : `${n} bytes`;
}

const list = (names: string[], most = 5): string =>
  names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");

export const notAnArtifact = (folder: string, why: string): DiagnosticError =>
  fail(
    folder,
    "DSC5001",
    `${folder} is not a compiled model`,
    [why],
    "compile one: dsc compile CONFIG -o OUT; a model folder is compiled too, and is then its weights: load(OUT, { weights: FOLDER })",
  );

export const foreignFormat = (folder: string, seen: unknown, wanted: string): DiagnosticError =>
  fail(
    `${folder}/manifest.json`,
    "DSC5002",
    "the artifact has a format this runtime does not read",
    [`manifest.json of ${folder} says ${JSON.stringify(seen)}; this runtime reads "${wanted}"`],
    "compile the model again with this version",
  );

export const brokenFile = (path: string, why: string): DiagnosticError =>
  fail(path, "DSC5003", `${path} of the artifact is not what its manifest promises`, [why], "compile the model again");

export const wrongTarget = (target: string, device: string): DiagnosticError =>
  fail(
    "manifest.json",
    "DSC5004",
    `the artifact was compiled for ${target}, not for ${device}`,
    [],
    `compile it with --target ${device}`,
  );

/** `at`: the path of the value in manifest.json. */
export const brokenManifest = (why: string, at = ""): DiagnosticError =>
  fail(
    at === "" ? "manifest.json" : `manifest.json: ${at}`,
    "DSC5005",
    "the artifact's program does not hold together",
    [why],
    "this is a fault of the compiler that wrote it; compile again, and report it if it stays",
  );

export const noCheckpoint = (
  where: string,
  why: string,
  help = "name a folder with model.safetensors or model.safetensors.index.json, a .safetensors file, or synthetic:SEED",
): DiagnosticError => fail(where, "DSC5010", `no checkpoint at ${where}`, [why], help);

export const foreignFile = (file: string, { what, help }: FileKind): DiagnosticError =>
  fail(file, "DSC5014", `${file} is ${what}`, [], help);

export const brokenSafetensors = (file: string, why: string): DiagnosticError =>
  fail(
    file,
    "DSC5011",
    `${file} is not a sound safetensors file`,
    [why],
    "the file may be cut short or damaged; fetch or write it again",
  );

export const brokenIndex = (file: string, why: string): DiagnosticError =>
  fail(file, "DSC5012", `${file} does not describe its shards`, [why], "fetch the index and its shards again");

export const shortRead = (file: string, tensor: string, why = "the file changed after its header was read"): DiagnosticError =>
  fail(file, "DSC5013", `${file} could not be read to the end of ${tensor}`, [why], "let what writes it finish, then run again");

/** Of a stored tensor, or of a weight that is computed from stored ones while loading. */
const notANumber = (tensor: string | undefined, found: string): DiagnosticError =>
  fail(
    tensor ?? "the weights",
    "DSC5015",
    `${tensor ?? "a computed weight"} holds a value that is not a number`,
    [
      found,
      tensor
        ? "a torn download, a bad conversion and codes of another FP8 format leave such values; every answer that meets one is NaN"
        : "the stored tensors that it is computed from while loading are numbers: what they give is too large for its dtype",
    ],
    tensor ? "fetch the file again, or convert the checkpoint again" : "compare config.json with the checkpoint's own",
  );

export const notFinite = (tensor: string, file: string, element: number): DiagnosticError =>
  notANumber(tensor, `element ${element} of it in ${file} is NaN or infinite`);
export const weightNotFinite = (words: string, tensor: string | undefined): DiagnosticError => notANumber(tensor, words);

export const logitsNotFinite = (sequence: number, id: number, weight: string | undefined): DiagnosticError =>
  fail(
    `sequence ${sequence}`,
    "DSC5037",
    `the logits of sequence ${sequence} are not numbers`,
    [
      `the logit of token ${id} is NaN or infinite`,
      weight ??
        "no stored weight is NaN or infinite: values overflowed between the kernels, as they do when a config does not fit its checkpoint",
    ],
    weight
      ? "fetch the checkpoint again, or convert it again"
      : "compare config.json with the checkpoint's own; --activations f32 has more range",
  );

/** What there is to say of a checkpoint. */
interface Listing {
  where: string;
  tensors: ReadonlyMap<string, unknown>;
  absent: { absent: readonly string[]; placed: ReadonlyMap<string, string> };
}

export function missingTensors(
  { where, tensors, absent: { absent, placed } }: Listing,
  missing: string[],
  draftOnly = false,
): DiagnosticError {
  const names = [...tensors.keys()];
  const near = (m: string): string => {
    if (placed.has(m)) return ` (in ${placed.get(m)}, which is not there)`;
    const n = names.length > 20000 ? undefined : didYouMean(m, names);
    return n ? ` (nearest: ${n})` : "";
  };
  const gone = absent.length ? [`${list([...absent])} ${absent.length === 1 ? "is" : "are"} not in ${where}`] : [];
  return new DiagnosticError(
    error(
      "DSC5020",
      missing.length === 1 ? `the checkpoint lacks ${missing[0]}` : `the checkpoint lacks ${missing.length} tensors`,
      {
        spans: [place(where)],
        notes: [
          ...gone,
          ...missing.slice(0, 10).map((m) => `${m}${near(m)}`),
          ...(missing.length > 10 ? [`and ${missing.length - 10} more`] : []),
          `${where} holds ${names.length} tensors: ${list(names.toSorted())}`,
        ],
        help: draftOnly
          ? "it has no extra prediction layer, which only drafts: run its model folder, or compile with --set num_nextn_predict_layers=0"
          : gone.length
            ? "fetch the missing files"
            : "the checkpoint must be of the model that was compiled; compare its config.json with the one compiled",
      },
    ),
  );
}

export const adapterOnly = (where: string): DiagnosticError =>
  fail(
    where,
    "DSC5026",
    `${where} holds a LoRA adapter`,
    ["its tensors (lora_A, lora_B) are changes to the weights of another model, which are not in it"],
    "merge it into its base model, and give the merged checkpoint",
  );

export const foreignStorage = (tensor: string, what: string, others: number): DiagnosticError =>
  fail(
    tensor,
    "DSC5027",
    `${tensor} is stored as ${what}`,
    [
      ...(others ? [`${others} more weights are stored in a format that is not read`] : []),
      "weights are read as BF16, F16, F32, or as F8_E4M3 with a scale per block of 128x128 (weight_scale_inv)",
    ],
    "use the original checkpoint, or one that was converted to bf16",
  );

export const mixedStorage = (coded: readonly string[], plain: readonly string[]): DiagnosticError =>
  fail(
    plain[0],
    "DSC5028",
    "the checkpoint mixes FP8 and plain weights otherwise than it was compiled",
    [
      `F8_E4M3: ${coded.length} weights, such as ${list([...coded], 2)}`,
      `not F8_E4M3: ${plain.length} weights that FP8 checkpoints of this family code, such as ${list([...plain], 2)}`,
    ],
    "a weight that is read as FP8 has to be FP8 in every layer of its kind: use the original FP8 checkpoint, or one " +
      "that is bf16 throughout",
  );

export const wrongShape = (tensor: string, seen: readonly number[], wanted: readonly number[], symbol: string): DiagnosticError =>
  fail(
    tensor,
    "DSC5021",
    `${tensor} has shape [${seen.join(", ")}]`,
    [`${symbol} needs [${wanted.join(", ")}], from the config that was compiled`],
    "compile the config.json that belongs to this checkpoint",
  );

export function wrongDType(tensor: string, seen: string, wanted: string, hasScales: boolean): DiagnosticError {
  if (wanted.startsWith("e4m3"))
    return fail(
      tensor,
      "DSC5022",
      `${tensor} is ${seen}, but was compiled as a scaled FP8 weight`,
      ["a weight is FP8 if and only if its dtype is F8_E4M3 and its _scale_inv partner exists"],
      "compile with --set quantization_config=null for this checkpoint",
    );
  if (seen === "F8_E4M3")
    return fail(
      tensor,
      "DSC5022",
      `${tensor} is F8_E4M3, but was compiled as ${wanted}`,
      [
        hasScales
          ? "its _scale_inv partner is there: this is an FP8 checkpoint"
          : "it has no _scale_inv partner, so its values are unknown",
      ],
      hasScales
        ? "compile the config.json of this checkpoint, with its quantization_config"
        : "fetch the whole checkpoint, or one in bf16",
    );
  const wider = wanted === "bf16" && (seen === "F32" || seen === "F16");
  return fail(
    tensor,
    "DSC5022",
    wider
      ? `${tensor} is ${seen}, and ${wanted} cannot hold every value of it`
      : `${tensor} is ${seen}, which is not read as ${wanted}`,
    [
      wider
        ? "weights are widened when needed, never rounded"
        : "weights are read from BF16, F16 and F32, scales from F32, BF16, F16 and F8_E8M0, and what would round is refused",
    ],
    wider ? "convert the checkpoint, or compile with --set torch_dtype=float32" : "convert the checkpoint to bf16",
  );
}

export const scalesAsBytes = (tensor: string): DiagnosticError =>
  fail(
    tensor,
    "DSC5029",
    `${tensor} is U8, and the config does not say that scales are powers of two`,
    ['bytes may be exponents (e8m0), as checkpoints with "scale_fmt": "ue8m0" had them before safetensors knew F8_E8M0'],
    "if they are, compile with --set quantization_config.scale_fmt=ue8m0",
  );

export const missingScales = (tensor: string, scales: string, undivided: string | undefined): DiagnosticError =>
  fail(
    tensor,
    "DSC5023",
    `${tensor} is F8_E4M3 without its scales`,
    [undivided ?? `${scales} is not in the checkpoint; without it the values are unknown`],
    undivided
      ? "give a checkpoint that holds gate_proj and up_proj of every expert apart, as they are published, or one in bf16"
      : "fetch the whole checkpoint, or one in bf16",
  );

export const noSyntheticKind = (tensor: string): DiagnosticError =>
  fail(
    tensor,
    "DSC5024",
    `there is no synthetic rule for ${tensor}`,
    ["the rules go by name: linear, router, head, embedding, norm, bias"],
    "give a checkpoint that has it: --weights DIR",
  );

export const badWeights = (spec: string): DiagnosticError =>
  fail(
    "--weights",
    "DSC5025",
    `--weights ${spec} is neither a checkpoint nor synthetic:SEED`,
    ["SEED is a whole number, 0 or more, below 2^32"],
    "try synthetic:0",
  );

const lacksMemory = (what: string, title: string, notes: string[], help: string): DiagnosticError =>
  fail(what, "DSC5030", title, notes, help);

export const noMemory = (what: string, needed: number, available: number, parts: string[], help?: string): DiagnosticError =>
  lacksMemory(
    what,
    `${what} needs ${bytes(needed)}, and ${bytes(available)} are available`,
    parts,
    help ?? "close other programs, ask for fewer positions (maxTokens), or compile a smaller model (--layers, --shrink)",
  );

/** What to do about a model that is too large as it is, on one device. */
export const fewerLayers = (fit: number, layers: number, elsewhere = ""): string =>
  `${fit > 0 ? `of its ${layers} layers the first ${fit} fit (--layers ${fit})` : "not one of its layers fits"}; ` +
  `--shrink makes every width small${elsewhere}; dsc plan says what takes the bytes`;

/** A memory reserves the addresses it may ever grow to; a limit on them refuses it whatever is free. */
export const noAddresses = (why: string): DiagnosticError =>
  lacksMemory(
    "the model's memory",
    "the system does not give the addresses of a memory of 4 GiB",
    [`WebAssembly says: ${why}`, "about 8 GiB of addresses are reserved for each; only what is used takes memory"],
    "raise the limit on addresses: ulimit -v unlimited",
  );

export const tooLong = (sequence: number, wanted: number, capacity: number): DiagnosticError =>
  fail(
    `sequence ${sequence}`,
    "DSC5031",
    `sequence ${sequence} would reach ${wanted} tokens, and the session holds ${capacity}`,
    [],
    "open the session with a larger maxTokens",
  );

export const badId = (sequence: number, index: number, id: unknown, vocab: number): DiagnosticError =>
  fail(
    `token ${index} of sequence ${sequence}`,
    "DSC5032",
    `token ${index} of sequence ${sequence} is ${shown(id)}`,
    [`ids are whole numbers from 0 to ${vocab - 1}, the vocabulary that was compiled`],
    "use the tokenizer of the same model",
  );

export const misuse = (what: string, help = "docs/architecture.md, Runtime, says how sessions are used"): DiagnosticError =>
  fail("session", "DSC5033", what, [], help);

export const badArgument = (call: string, seen: string, wanted: string): DiagnosticError =>
  fail(call, "DSC5039", `${call}: ${seen}`, [`it must be ${wanted}`], `give ${wanted}`);

export function unknownOption(call: string, key: string, known: readonly string[]): DiagnosticError {
  const near = didYouMean(key, known);
  return fail(
    call,
    "DSC5038",
    `${call} has no option ${key}`,
    [`it has ${known.join(", ")}`],
    near ? `did you mean ${near}?` : "leave it out",
  );
}

export const badSampling = (option: string, seen: unknown, wanted: string): DiagnosticError =>
  fail(option, "DSC5034", `${option} is ${shown(seen)}`, [`it must be ${wanted}`], `give ${wanted}`);

export const tooManyRows = (rows: number, most: number): DiagnosticError =>
  fail(
    "a step",
    "DSC5036",
    `a step of ${rows} rows, and the artifact takes ${most} at once`,
    ["it was compiled with --deterministic: one form of every product serves all steps, and it holds its bits so far only"],
    "run fewer sequences (or drafts) at once, or compile without --deterministic",
  );

export const noDraftLayer = (): DiagnosticError =>
  fail(
    "num_nextn_predict_layers of the config",
    "DSC5035",
    "the model has no extra prediction layer",
    [
      "num_nextn_predict_layers of its config is 0 or missing, or its checkpoint had no such layer when it was " +
        "compiled, so there is nothing to draft with",
    ],
    "run it without drafts",
  );

export const kernelFailed = (kernel: string, site: string, why: string): DiagnosticError =>
  fail(
    site,
    "DSC5040",
    `kernel ${kernel} failed at ${site}`,
    [why],
    "this is a fault of the compiler; dsc inspect shows the kernel's text",
  );

export const workerFailed = (why: string): DiagnosticError =>
  fail(
    "worker thread",
    "DSC5041",
    "a worker thread ended unexpectedly",
    [why],
    "run again with --threads 1; if it stays, please report it",
  );

export const badKernel = (kernel: string, why: string): DiagnosticError =>
  fail(`kernel ${kernel}`, "DSC5042", `kernel ${kernel} cannot be loaded`, [why], "compile the model again");

export const sourceOnly = (kernel: string): DiagnosticError =>
  fail(
    `kernel ${kernel}`,
    "DSC5047",
    `kernel ${kernel} is Triton source, not compiled`,
    ["the artifact was made where no Python had Triton"],
    "compile the model again with DSC_PYTHON naming a Python that has Triton; no Python is needed to run it then",
  );

export const noWorkerFile = (path: string): DiagnosticError =>
  fail(
    path,
    "DSC5043",
    "the worker script is not built",
    [`${path} does not exist; worker threads run the compiled form`],
    "npm run build",
  );

export const noTokenizer = (folder: string, why: string): DiagnosticError =>
  fail(
    folder,
    "DSC5050",
    `no tokenizer in ${folder}`,
    [why],
    "give token ids with --ids, or put tokenizer.json or tiktoken.model beside config.json",
  );

export const noTokenizerPackage = (why: string): DiagnosticError =>
  fail(
    "@huggingface/tokenizers",
    "DSC5051",
    "the package @huggingface/tokenizers cannot be loaded",
    [why],
    "npm install @huggingface/tokenizers",
  );

export const badSideFile = (span: Span, why: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5070", `${span.file} cannot be used`, {
      spans: [span],
      notes: [why],
      help: "fetch the file again, or mend it at this place",
    }),
  );

export const unknownPart = (span: Span, name: string, word: string, known: readonly string[]): DiagnosticError => {
  const near = didYouMean(word, known);
  return new DiagnosticError(
    error("DSC5071", `${name} is ${JSON.stringify(word)}, which dsc does not know`, {
      spans: [span],
      notes: [`known here: ${known.join(", ")}`],
      help: near ? `did you mean ${near}?` : "give token ids with --ids, made by the tokenizer's own library",
    }),
  );
};

export const badTiktoken = (span: Span, why: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5072", `${span.file} is no tiktoken vocabulary that can be used`, {
      spans: [span],
      notes: [why],
      help: "fetch the file again; a tokenizer.json beside it would be used instead",
    }),
  );

export const assumedPattern = (file: string): Diagnostic =>
  warning("DSC5073", "a tiktoken vocabulary that does not say how a text is split", {
    spans: [place(file)],
    notes: ["no tokenization_*.py beside it holds a pattern, so texts are split as Kimi-K2 and Moonlight split them"],
    help: "put the model's tokenization_*.py beside it: its pat_str is read, nothing of it is run",
  });

export const tokenMoved = (span: Span, content: string, said: number, got: number, why: string): Diagnostic =>
  warning("DSC5074", `the added token ${JSON.stringify(content)} gets id ${got}, not ${said}`, {
    spans: [span],
    notes: [why, "transformers gives it the same id"],
    help: "compare the tokenizer's files with the published ones",
  });

export const beginsTwice = (token: string): Diagnostic =>
  warning("DSC5075", `the prompt begins with ${token}, which the tokenizer would put before it`, {
    spans: [place("--prompt")],
    notes: ["a text that begins twice is none the model was trained on, so the token is not added"],
    help: `leave ${token} out of the prompt`,
  });

export const noChatTemplate = (folder: string, why: string): DiagnosticError =>
  fail(
    folder,
    "DSC5052",
    `no chat template in ${folder}`,
    [why],
    "use --prompt with the text the model expects, or put chat_template.jinja beside tokenizer.json",
  );

export const noSuchTemplate = (folder: string, wanted: string | undefined, names: readonly string[]): DiagnosticError =>
  fail(
    folder,
    "DSC5061",
    wanted === undefined
      ? `the chat templates of ${folder} have names, and none is "default"`
      : `no chat template "${wanted}" in ${folder}`,
    [`there ${names.length === 1 ? "is" : "are"} ${names.map((n) => `"${n}"`).join(", ")}`],
    `choose one: --chat-template ${names[0]}, or chat(model, tokenizer, { template: "${names[0]}" })`,
  );

export const unreadableTemplate = (folder: string, span: Span, why: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5056", `the chat template of ${folder} cannot be read`, {
      spans: [span],
      notes: [why],
      help: "fetch the file again, or use --prompt with the text the model expects",
    }),
  );

const LONG = 600;

/** What a template does wrong, or what it asks for that is not here. `why` is the template's or the engine's word. */
export function templateFault(
  kind: "syntax" | "runtime" | "raised" | "unsupported" | "budget",
  span: Span,
  why: string,
  near?: string,
): DiagnosticError {
  const [code, title, help] = {
    syntax: [
      "DSC5060",
      "the chat template is no Jinja template",
      "fetch the file again, or use --prompt with the text the model expects",
    ],
    runtime: [
      "DSC5059",
      "the chat template fails",
      "Python's Jinja fails here too; use --prompt with the text the model expects",
    ],
    raised: [
      "DSC5054",
      "the chat template refuses the conversation",
      "a template may want turns to alternate, or know no system message",
    ],
    unsupported: [
      "DSC5057",
      "the chat template uses what dsc's Jinja has not",
      "use --prompt with the text the model expects, and please report the template",
    ],
    budget: ["DSC5058", "the chat template takes too much", "a template of a conversation takes far less: do not trust this one"],
  }[kind];
  const note = why.length > LONG ? `${why.slice(0, LONG)}...` : why;
  return new DiagnosticError(error(code, title, { spans: [span], notes: [note, ...(near ? [`near: ${near}`] : [])], help }));
}

export const badGeneration = (span: Span, why: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC5062", `${span.file} cannot be followed`, {
      spans: [span],
      notes: [why],
      help: "mend the file, or fetch it again",
    }),
  );

export const settingNotFollowed = (span: Span, key: string, value: string): Diagnostic =>
  warning("DSC5063", `generation_config.json says ${key} ${value}, which dsc does not follow`, {
    spans: [span],
    notes: ["transformers' generate would answer otherwise for it"],
    help: "remove it where it should not count",
  });

export const conversationFull = (needed: number, capacity: number): DiagnosticError =>
  fail(
    "conversation",
    "DSC5055",
    `the conversation would reach ${needed} tokens, and there is room for ${capacity}`,
    [],
    "begin anew (/reset), or say less",
  );
