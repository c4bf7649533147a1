// DSC6xxx: the command line and where its output goes. DSC9xxx: faults.
import type { Entry } from "./entry.ts";

export const command: Readonly<Record<string, Entry>> = {
  DSC6001: {
    name: "the command line is wrong",
    means:
      "A command, option or value is missing, misspelt, given twice or out of range. The word is underlined, and what " +
      "was probably meant is suggested.",
    example: "$ dsc compile examples/tiny-r1 -o .dsc/x --jsn",
    fix: "dsc COMMAND --help shows the form.",
  },
  DSC6002: {
    name: "a place cannot be written",
    means: "The folder holds something that dsc did not write and will not replace, or the system refuses.",
    example: "$ dsc compile examples/tiny-r1 -o examples",
    fix: "Choose another place, or see to permissions and disk.",
  },
  DSC6003: {
    name: "ids that cannot be read",
    means: "--ids takes 1,2,3, or a JSON file with an array of ids or an array of such arrays.",
    example: "$ dsc run examples/tiny-r1 --ids 1,x --max-new 1",
    fix: "Give whole numbers.",
  },
  DSC6004: {
    name: "an artifact has no such thing",
    means: "A kernel, pass, site or graph by that name is not in the artifact.",
    example: "dsc inspect OUT norm_qaunt",
    fix: "dsc inspect OUT lists what there is.",
  },
  DSC6005: {
    name: "an option of compile on an artifact",
    means: "An artifact is compiled already: options of compile would change nothing.",
    example: "dsc run OUT --attention absorbed",
    fix: "Run the model folder with the option, or compile again.",
  },
  DSC6006: {
    name: "the artifact keeps no taps",
    means: "Hidden states, routes and the logits of every row are results only of artifacts compiled with --taps.",
    example: "dsc run OUT --save FILE, of an artifact compiled without --taps",
    fix: "dsc compile SRC -o OUT --taps.",
  },
  DSC6007: {
    name: "stored wider than declared (warning)",
    means:
      "The config says bfloat16 and the checkpoint stores float32. Weights are widened, never rounded, so they stay " +
      "float32 and take twice the bytes.",
    example: "$ dsc compile test/fixtures/a05-v3-halfsplit-tied-bias -o .dsc/x",
    fix: "--set torch_dtype=float32 says the same; a bfloat16 checkpoint is half the bytes.",
  },
  DSC6008: {
    name: "a module's text cannot be read",
    means: "dsc opt reads a .dsc text.",
    example: "$ dsc opt nothing.dsc -p none",
    fix: "Give a file of an artifact's graph folder.",
  },
  DSC6009: {
    name: "no room on the disk",
    means: "A synthetic checkpoint is as large as the real one, and its size is compared with the disk's free bytes first.",
    example: "dsc weights examples/deepseek-r1 --synthetic 0 -o weights, on a disk of less than 690 GB",
    fix: "--set num_hidden_layers=4 makes a smaller one.",
  },
  DSC6010: {
    name: "a checkpoint of someone else",
    means: "dsc weights writes over what it wrote itself, never over another checkpoint.",
    example: "$ dsc weights examples/printed-model --synthetic 0 -o examples/tiny-r1",
    fix: "Choose another -o.",
  },
  DSC6011: {
    name: "more positions than the model has",
    means: "The prompt and the new tokens do not fit max_position_embeddings.",
    example: "$ dsc run examples/tiny-r1 --ids 1,2 --max-new 1000000",
    fix: "Ask for fewer tokens, as the help says.",
  },
  DSC6012: {
    name: "an id outside the vocabulary",
    means: "Ids are indices of the model's embedding.",
    example: "$ dsc run examples/tiny-r1 --ids 1,99999999 --max-new 1",
    fix: "Use the tokenizer of the same model; --prompt does.",
  },
  DSC6013: {
    name: "a text cannot be read",
    means: "The file is not there, or is no text in UTF-8.",
    example: "$ dsc eval examples/tiny-r1 --text nothing.txt",
    fix: "Give a file of text.",
  },
  DSC6014: {
    name: "more layers than there are",
    means: "--layers keeps the first layers of a model.",
    example: "$ dsc summary examples/deepseek-r1 --layers 80",
    fix: "Give a number up to num_hidden_layers.",
  },
  DSC6015: {
    name: "another compile writes there",
    means:
      "One compile at a time replaces the files of an artifact; this one waited for the other as long as " +
      "DSC_LOCK_SECONDS says, or a minute.",
    example: "A compile that hangs while it holds OUT/.dsc-lock.",
    fix: "Wait for it, choose another -o, or remove the lock if no dsc runs anywhere.",
  },
  DSC6016: {
    name: "no such code",
    means: "Codes are DSC and four digits.",
    example: "$ dsc explain DSC9999",
    fix: "dsc explain lists them all.",
  },
  DSC6017: {
    name: "no layer to draft with",
    means: "--draft guesses with the extra prediction layer, num_nextn_predict_layers of the config; this model has none.",
    example: "$ dsc run examples/printed-model --weights synthetic:0 --ids 1,2 --max-new 2 --draft 1",
    fix: "Leave --draft out.",
  },
  DSC6019: {
    name: "the system refuses",
    means:
      "Memory, threads, open files or a place that the operating system does not give, where nothing in the command says more.",
    example: "ulimit -n 24; dsc run examples/tiny-r1 --ids 1,2 --max-new 1",
    fix: "Raise the limit that is named, or see to permissions and disk.",
  },
  DSC6020: {
    name: "no Triton to compile with (warning)",
    means:
      "--target triton prints every kernel, and compiles it where Python has Triton. Without it the artifact holds " +
      "source only: it can be read, not run.",
    example: "DSC_PYTHON=false dsc compile SRC -o OUT --target triton",
    fix: "pip install triton, or name another Python by DSC_PYTHON; dsc doctor shows what is found.",
  },
  DSC6021: {
    name: "Triton does not compile a kernel",
    means: "The notes are the last lines of what Triton says.",
    example: "A Triton of a version that kernels were not tried with (3.6 was).",
    fix: "If the text is as dsc wrote it, please report it with the artifact.",
  },
  DSC6022: {
    name: "the cache cannot be written (note)",
    means:
      "run, eval and verify compile a config or a model folder into the user's cache. Where it cannot be written, or " +
      "what lies there was changed, they compile into a temporary folder that goes when they end.",
    example: "DSC_CACHE=/proc/x dsc run examples/tiny-r1 --ids 1,2 --max-new 1",
    fix: "Name a folder that can be written by DSC_CACHE, or compile once with dsc compile and run the artifact.",
  },
  DSC6024: {
    name: "a model compiled without its extra prediction layer (warning)",
    means:
      "num_nextn_predict_layers says that there is such a layer, and the checkpoint has no tensors of it, or stores it " +
      "otherwise than the layers of its kind. It only drafts: answers are the same without it.",
    example: "A bf16 copy of R1 whose converter left layer 61 out.",
    fix: "--set num_nextn_predict_layers=0 says the same; a checkpoint with the layer can draft.",
  },
  DSC6025: {
    name: "weights stored otherwise than the config says (warning)",
    means:
      "The headers of the checkpoint say how each weight is stored, and a model folder is compiled as that: a copy in " +
      "bf16 under an FP8 config, projections left out of the codes, norms in float32.",
    example: "A re-quantised R1 with kv_b_proj in bf16.",
    fix: "Nothing has to be done. A checkpoint of one format throughout lets more passes fire.",
  },
  DSC6026: {
    name: "a checkpoint that cannot be looked at (warning)",
    means:
      "dsc compile looks at the headers beside the config to see how weights are stored. Where they cannot be read, " +
      "the config alone counts.",
    example: "A folder cloned with GIT_LFS_SKIP_SMUDGE=1.",
    fix: "Fetch the checkpoint before running the artifact, and compile again if it is stored otherwise than the config says.",
  },
  DSC6027: {
    name: "the bandwidth of this machine cannot be measured",
    means: "dsc plan --device cpu measures it with a thread a core and 200 MB each; a thread did not start, or ended.",
    example: "A container with less memory than its cores ask for.",
    fix: "Give --bandwidth GB/s.",
  },
  DSC6028: {
    name: "weights that an .onnx cannot point at",
    means:
      "An ONNX file names the files of its weights relative to its own folder, and runtimes refuse those outside it, " +
      "and links that lead there. A checkpoint elsewhere gets a second name (a hard link) beside the .onnx, which " +
      "takes one disk and a free name.",
    example: "dsc export onnx /models/v3 -o /tmp/model.onnx, where /tmp is another disk.",
    fix: "Give -o a place in the checkpoint's folder, or above it.",
  },
  DSC6029: {
    name: "weights with a second name (note)",
    means:
      "The .onnx lies in another folder than the checkpoint, so the files of its weights got a second name there: a " +
      "hard link, which copies nothing. onnxruntime takes it; onnx.checker of Python's onnx refuses files with two " +
      "names, in both folders.",
    example: "dsc export onnx examples/tiny-r1 -o .dsc/model.onnx",
    fix: "Give -o a place in the checkpoint's folder, or above it, where the names are needed no more.",
  },
  DSC6030: {
    name: "no onnxruntime-node",
    means: "dsc verify --onnx runs the exported graph in onnxruntime-node. It is no dependency of dsc: it has 291 MB.",
    example: "dsc verify examples/deepseek-r1 --onnx",
    fix: "ONNXRUNTIME_NODE_INSTALL=skip npm install --no-save onnxruntime-node",
  },
  DSC6031: {
    name: "an exported graph answers otherwise",
    means:
      "dsc verify --onnx runs a small model with synthetic weights in onnxruntime, from the graph after several " +
      "passes, and in our own runtime. Logits differ by more than rounding: one of the two is wrong.",
    example: "A fault in a lowering of codegen/onnx, or in a pass.",
    fix: "dsc verify without --onnx tells whether it is a pass; please report it with the config.",
  },
  DSC9000: {
    name: "a fault in dsc",
    means: "Something failed that has no diagnostic of its own. No input should be able to do this.",
    example: "None is known.",
    fix: "DSC_DEBUG=1 shows where; please report it with the command and the config.",
  },
};
