// DSC5xxx: artifacts, checkpoints, memory, sessions, devices, text.
import type { Entry } from "./entry.ts";

export const runtime: Readonly<Record<string, Entry>> = {
  DSC5001: {
    name: "no artifact",
    means: "An artifact is a folder with a manifest.json that dsc compile wrote.",
    example: "$ dsc inspect examples/tiny-r1",
    fix: "Compile first: dsc compile SRC -o OUT.",
  },
  DSC5002: {
    name: "an artifact of another format",
    means: "manifest.json states its format; this runtime reads one, and guesses at no other.",
    example: "An artifact that an earlier or a later version of dsc compiled.",
    fix: "Compile the model again with this version.",
  },
  DSC5003: {
    name: "a file of the artifact was changed",
    means:
      "The manifest gives the sha256 of every other file, and nothing is run that differs from it: an edited kernel is " +
      "not what was compiled.",
    example: "An edited kernels/NAME.txt.",
    fix: "Compile again. To try a changed kernel, change its family and compile.",
  },
  DSC5004: {
    name: "an artifact for another target",
    means: "Kernels are for one target.",
    example: "An artifact of --target cuda, loaded for the CPU.",
    fix: "Compile it with the target that is named.",
  },
  DSC5005: {
    name: "the program in the manifest does not hold together",
    means: "A step names a kernel, weight or slot that is not there, or a launch lacks an operand.",
    example: "A manifest edited by hand.",
    fix: "Compile again. If it stays, it is a fault of the compiler: please report it.",
  },
  DSC5010: {
    name: "no checkpoint",
    means:
      "Weights come from model.safetensors, from the shards of model.safetensors.index.json, from one .safetensors file, or are synthetic.",
    example: "$ dsc run examples/deepseek-r1 --shrink --ids 1,2 --max-new 1",
    fix: "Give --weights DIR, or --weights synthetic:0.",
  },
  DSC5011: {
    name: "a damaged safetensors file",
    means:
      "The header is checked in full before any byte of data is read: JSON, known dtypes, whole shapes, offsets " +
      "without gaps up to the end of the file.",
    example: "A download that was cut short.",
    fix: "Fetch or write the file again.",
  },
  DSC5012: {
    name: "a damaged index of shards",
    means:
      "model.safetensors.index.json names the shards beside it, each tensor once. Names of tensors and shards that the " +
      "model does not read are no fault.",
    example: "An index that was cut short, or a tensor that two shards hold.",
    fix: "Fetch the index and its shards again.",
  },
  DSC5013: {
    name: "a file that shrank while it was read",
    means: "The file was whole when its header was checked, and ended earlier when its data was read.",
    example: "A checkpoint that is still being written.",
    fix: "Let what writes it finish, then run again.",
  },
  DSC5014: {
    name: "a file that is something else",
    means:
      "The first bytes are those of a Git LFS pointer, a GGUF file, a PyTorch archive or a web page, in place of a " +
      "safetensors file or an index.",
    example: "A folder cloned with GIT_LFS_SKIP_SMUDGE=1.",
    fix: "Do as the help says: git lfs pull, or a copy of the model that has .safetensors files.",
  },
  DSC5015: {
    name: "a weight that is not a number",
    means:
      "A stored value is NaN or infinite: a bf16, f16 or f32 with all bits of the exponent set, the e4m3 codes 0x7f " +
      "and 0xff, the e8m0 scale 0xff. On the CPU every value is looked at as it is read.",
    example: "A checkpoint whose conversion divided by zero.",
    fix: "Fetch the file again, or convert the checkpoint again.",
  },
  DSC5020: {
    name: "tensors are missing",
    means:
      "The compiled model reads tensors by their published names; these are not in the checkpoint. The nearest names are given.",
    example: "$ dsc run examples/deepseek-r1 --shrink --weights examples/tiny-r1 --ids 1,2 --max-new 1",
    fix: "Compile the config.json that belongs to the checkpoint.",
  },
  DSC5021: {
    name: "a tensor of another shape",
    means: "The shape follows from the config that was compiled.",
    example: "$ dsc run examples/tiny-r1 --set vocab_size=600 --ids 1,2 --max-new 1",
    fix: "Compile the config.json that belongs to this checkpoint.",
  },
  DSC5022: {
    name: "a tensor of another dtype",
    means:
      "Weights are widened when needed (bf16 and f16 to f32), never rounded, and FP8 codes mean nothing without their " +
      "scales. A weight is FP8 if and only if its dtype is F8_E4M3 and its _scale_inv partner exists.",
    example: "A checkpoint whose kv_b matrices are F8_E4M3, with an artifact that reads them as bf16.",
    fix: "Compile the config of this checkpoint, with its quantization_config as it is.",
  },
  DSC5023: {
    name: "FP8 codes without scales",
    means:
      "The _scale_inv partner of an F8_E4M3 tensor is missing, so its values are unknown; or experts are fused, and " +
      "the scales of gate and up cannot be told apart, because their width is no multiple of 128.",
    example: "A checkpoint of which only some shards were fetched.",
    fix: "Fetch the whole checkpoint, or one in bf16.",
  },
  DSC5024: {
    name: "no synthetic rule for a tensor",
    means: "Synthetic weights are made by kind of tensor (linear, router, head, embedding, norm, bias), known by name.",
    example: "A tensor with a name of another family.",
    fix: "Give a checkpoint that has it.",
  },
  DSC5025: {
    name: "--weights is neither",
    means: "--weights is a folder, a .safetensors file, or synthetic:SEED with a whole SEED from 0 up, below 2^32.",
    example: "$ dsc run examples/tiny-r1 --weights synthetic:x --ids 1,2 --max-new 1",
    fix: "Try --weights synthetic:0.",
  },
  DSC5026: {
    name: "an adapter, not a model",
    means: "A LoRA adapter holds changes to the weights of a base model, and not these.",
    example: "--weights FOLDER with lora_A and lora_B tensors",
    fix: "Merge the adapter into its base model, and give the merged checkpoint.",
  },
  DSC5027: {
    name: "weights in a format that is not read",
    means:
      "Tensors beside a weight, or in its place, say how it is stored: weight_scale_2 is NVFP4, weight_packed " +
      "compressed-tensors, qweight GPTQ or AWQ, weight_scale FP8 with a scale per tensor or row. None of these is read.",
    example: "A copy of R1 that was re-quantised to NVFP4.",
    fix: "Use the original checkpoint (FP8 in blocks of 128x128), or one that was converted to bf16.",
  },
  DSC5028: {
    name: "FP8 and plain weights mixed",
    means:
      "Some of the matrices that FP8 checkpoints of the family code are stored in bf16, otherwise than the artifact " +
      "was compiled. A model folder is compiled by what its checkpoint stores, where that is the same in every layer " +
      "of a kind.",
    example: "An artifact of R1's config.json, with a checkpoint whose o_proj of one layer was left in bf16.",
    fix: "Run the model folder instead of the artifact, or use a checkpoint that is FP8, or bf16, throughout.",
  },
  DSC5029: {
    name: "scales in bytes",
    means: "U8 scales are exponents of two (e8m0) where the config says scale_fmt ue8m0, and unknown otherwise.",
    example: "A checkpoint of early ue8m0 writers with a config that lacks scale_fmt.",
    fix: "If they are exponents, compile with --set quantization_config.scale_fmt=ue8m0.",
  },
  DSC5030: {
    name: "it does not fit the memory",
    means: "Bytes needed are compared with bytes there before anything is loaded; the notes are the parts.",
    example: "dsc run examples/deepseek-r1 --weights synthetic:0 --ids 1 --max-new 1",
    fix: "Fewer positions or sequences need less cache; --layers N keeps the first layers; dsc plan shows what a model takes.",
  },
  DSC5031: {
    name: "a sequence longer than its session",
    means: "A session holds a cache of maxTokens rows for each sequence.",
    example: "session({ maxTokens: 8 }) and nine ids",
    fix: "Open the session with a larger maxTokens.",
  },
  DSC5032: {
    name: "an id outside the vocabulary",
    means: "Ids are indices of the embedding that was compiled.",
    example: "session.prefill([[999999]])",
    fix: "Use the tokenizer of the same model.",
  },
  DSC5033: {
    name: "a session is used wrongly",
    means: "Calls of one session take turns, sequences have rows, and what was closed stays closed.",
    example: "Two session.decode calls at once.",
    fix: "Await one call before the next; docs/architecture.md, Runtime.",
  },
  DSC5034: {
    name: "a sampling option out of range",
    means: "A temperature is not negative, top-k is a whole number, top-p and penalties are positive.",
    example: "generate(model, prompts, { temperature: -1 })",
    fix: "Give a value as the note says.",
  },
  DSC5035: {
    name: "no layer to draft with",
    means: "Drafts come from the extra prediction layer, num_nextn_predict_layers of the config; this model has none.",
    example: "dsc run examples/printed-model --weights synthetic:0 --ids 1,2 --max-new 2 --draft 1",
    fix: "Run it without --draft.",
  },
  DSC5036: {
    name: "too many rows for a deterministic step",
    means: "With --deterministic every product of a step has one form for all batches, and keeps its bits up to 64 rows.",
    example: "65 sequences at once on such an artifact.",
    fix: "Run fewer sequences, or fewer drafts, at once, or compile without --deterministic.",
  },
  DSC5037: {
    name: "logits that are not numbers",
    means:
      "What chooses the ids of a step reads every logit, and one that is NaN or infinite means that the others are " +
      "worth nothing. Stored weights were looked at when they were loaded; they are again, and the first that is no " +
      "number is named.",
    example: "A config whose rms_norm_eps or scaling does not fit the checkpoint, so that values overflow.",
    fix: "Fetch or convert the checkpoint again; where all weights are numbers, see that the config is the checkpoint's own.",
  },
  DSC5038: {
    name: "an option of the Node API that does not exist",
    means: "A misspelt option would be passed over, and its default would hold.",
    example: "generate(model, prompts, { maxnew: 9 })",
    fix: "Spell it as the message lists it.",
  },
  DSC5039: {
    name: "an argument of the Node API is wrong",
    means: "JavaScript does not check what is handed to a function; dsc/runtime does, before anything happens.",
    example: 'session.prefill("text")',
    fix: "Give what the message asks for.",
  },
  DSC5040: {
    name: "a kernel trapped",
    means: "A WebAssembly kernel read or wrote outside its memory, or divided by zero.",
    example: "None is known.",
    fix: "This is a fault of dsc: please report it with the artifact. dsc inspect OUT KERNEL shows the kernel.",
  },
  DSC5041: {
    name: "a worker thread ended",
    means: "A thread of the CPU device went away while it was needed: out of memory, or killed.",
    example: "A machine that runs out of memory.",
    fix: "Run again with --threads 1 and see what the system says.",
  },
  DSC5042: {
    name: "a kernel cannot be loaded",
    means: "The compiled form of a kernel is missing from the artifact, or the engine refuses it.",
    example: "An artifact of another Node.",
    fix: "Compile the model again.",
  },
  DSC5043: {
    name: "dsc is not built",
    means: "Worker threads run the built JavaScript, which is not there.",
    example: "A checkout without dist.",
    fix: "npm run build.",
  },
  DSC5047: {
    name: "Triton kernels that were not compiled",
    means:
      "A Triton artifact is compiled ahead of time by a Python with Triton; this one was made where there was none, so " +
      "it can be read, not run.",
    example: "dsc compile SRC -o OUT --target triton without Triton, then dsc run OUT",
    fix: "Compile again with DSC_PYTHON naming a Python that has Triton. Running needs no Python.",
  },
  DSC5050: {
    name: "no tokenizer",
    means: "Text needs tokenizer.json or tiktoken.model beside config.json or the weights.",
    example: "$ dsc run test/fixtures/a06-v3-dense --prompt Hello --max-new 1",
    fix: "Give --ids, or put the checkpoint's tokenizer.json there.",
  },
  DSC5051: {
    name: "the tokenizer package is missing",
    means: "@huggingface/tokenizers is a dependency of dsc that could not be loaded.",
    example: "An install with packages left out.",
    fix: "npm install.",
  },
  DSC5052: {
    name: "no chat template",
    means:
      "A conversation is turned into text by the template that the checkpoint ships, in tokenizer_config.json or chat_template.jinja.",
    example: "A folder with tokenizer.json only.",
    fix: "Put the template there, or use --prompt with the text the model expects.",
  },
  DSC5054: {
    name: "the chat template refuses the conversation",
    means: "Templates may raise errors of their own: turns out of order, a system message they do not know.",
    example: "Two turns of the user in a row.",
    fix: "Do as the template's message says.",
  },
  DSC5055: {
    name: "the conversation is full",
    means: "Turns stay in the cache, and the cache has room for so many tokens.",
    example: "A long chat.",
    fix: "Begin anew with /reset.",
  },
  DSC5056: {
    name: "the chat template cannot be read",
    means: "Its file or key holds something else than a text, or than a list of texts with names.",
    example: "chat_template of tokenizer_config.json is [null].",
    fix: "Fetch the file again, or use --prompt.",
  },
  DSC5057: {
    name: "the chat template uses what dsc's Jinja has not",
    means:
      "Templates are written for Python's Jinja. What it can do and dsc cannot is refused by name, never rendered otherwise.",
    example: "{{ 'é'.encode() }}",
    fix: "Use --prompt with the text the model expects, and please report the template.",
  },
  DSC5058: {
    name: "the chat template takes too much",
    means: "Templates come with downloaded models. Steps, nesting and text have limits that no conversation reaches.",
    example: "Two loops of 100000 inside each other.",
    fix: "Do not trust such a template.",
  },
  DSC5059: {
    name: "the chat template fails",
    means: "It does what Python's Jinja does not allow either, at the line and column given.",
    example: "{{ tools.name }} where tools is none",
    fix: "Use --prompt with the text the model expects; the template's authors can mend it.",
  },
  DSC5060: {
    name: "the chat template is no Jinja template",
    means: "Its text does not parse; line and column are the template's.",
    example: "{% if %}",
    fix: "Fetch the file again, or use --prompt with the text the model expects.",
  },
  DSC5061: {
    name: "no chat template of that name",
    means: 'A checkpoint may bring several templates with names; without a name, "default" is taken, as transformers does.',
    example: 'A list of templates called "rag" and "tool_use".',
    fix: "Choose one: --chat-template NAME, or the option template of chat().",
  },
  DSC5062: {
    name: "generation_config.json cannot be followed",
    means: "The file says how answers are chosen and where they end. It is no JSON, or a setting is no value for it.",
    example: '"top_p": "high"',
    fix: "Mend the file, or fetch it again.",
  },
  DSC5063: {
    name: "a setting of generation_config.json is not followed",
    means: "The file asks for a way of generating that dsc has not, and answers would be others by it.",
    example: '"num_beams": 4',
    fix: "Remove it where it should not count.",
  },
  DSC5070: {
    name: "a file beside the model cannot be used",
    means:
      "tokenizer.json, tokenizer_config.json, special_tokens_map.json or added_tokens.json is there, and is not what " +
      "it should be: no regular file, no UTF-8, no JSON, or a value of another type. The place is that of the value.",
    example: "A comma before the last brace of tokenizer_config.json.",
    fix: "Fetch the file again, or mend it at the place named.",
  },
  DSC5071: {
    name: "a part of a tokenizer that dsc does not know",
    means:
      "tokenizer.json names its model, normalizer, pre-tokenizers, post-processor and decoder by type. One that is " +
      "unknown would give other ids than the model was trained on, so it is refused.",
    example: 'model.type is "Foo"; a Precompiled or BertNormalizer, which models of this family do not have.',
    fix: "Mend the word, or give token ids with --ids.",
  },
  DSC5072: {
    name: "a tiktoken vocabulary that cannot be used",
    means:
      "tiktoken.model has a line for each token: its bytes in base64, a space, its rank. Ranks are 0, 1, 2 and so on, " +
      "each once, and a text can be written where all its bytes are tokens.",
    example: "A file that was cut while it was fetched.",
    fix: "Fetch the file again.",
  },
  DSC5073: {
    name: "a tiktoken vocabulary without a pattern",
    means:
      "tiktoken.model does not say how a text is split before it is encoded. The pattern is pat_str in a " +
      "tokenization_*.py beside it, which is read and not run; without one, and without a tokenizer_class " +
      "TikTokenTokenizer, that of Kimi-K2 and Moonlight is assumed.",
    example: "A folder with tiktoken.model and no Python file.",
    fix: "Put the model's tokenization_*.py beside it.",
  },
  DSC5074: {
    name: "an added token gets another id",
    means:
      "added_tokens_decoder or added_tokens.json gives a token an id that another token has, or one the vocabulary " +
      "knows by another id. It gets the vocabulary's, or the next that is free.",
    example: "A tokenizer_config.json of another version than tokenizer.json.",
    fix: "Compare the tokenizer's files with the published ones.",
  },
  DSC5075: {
    name: "a prompt that begins twice",
    means:
      "The tokenizer puts a token before every text, and the prompt begins with it already, as a rendered chat " +
      "template does. It is not added a second time.",
    example: "$ dsc run examples/tiny-r1 --prompt '<｜begin▁of▁sentence｜>She' --max-new 1",
    fix: "Leave the token out of the prompt; nothing else changes.",
  },
  DSC5601: {
    name: "no CUDA driver",
    means: "The GPU is reached through libcuda.so.1, which the NVIDIA driver brings.",
    example: "--target cuda on a machine without a GPU",
    fix: "Install the driver, or use --target cpu. dsc doctor shows what is found.",
  },
  DSC5602: {
    name: "the CUDA driver is too old",
    means: "Kernels use calls of a newer driver.",
    example: "A driver of CUDA 11.",
    fix: "Update the NVIDIA driver.",
  },
  DSC5603: {
    name: "no CUDA device",
    means: "There is a driver, but it offers no device.",
    example: "CUDA_VISIBLE_DEVICES is empty.",
    fix: "nvidia-smi shows what the driver sees.",
  },
  DSC5604: {
    name: "a GPU of another generation",
    means:
      "An artifact's kernels are compiled for one architecture (manifest.json, gpu.arch), and kernels of one do not " +
      "run on a card of another: those of sm_90a use Hopper's tensor copies and warpgroup products.",
    example: "An A100; an artifact of --arch sm_100 on an H200.",
    fix: "Compile again with the --arch of the card (dsc doctor names it), use another GPU, or --target cpu.",
  },
  DSC5605: {
    name: "not enough GPU memory",
    means: "Bytes needed are compared with bytes free before anything is loaded.",
    example: "All of R1 on one card.",
    fix: "A smaller batch or context needs less; dsc plan --device h200 shows the parts.",
  },
  DSC5606: {
    name: "no CUDA compiler",
    means: "Kernels are compiled by NVRTC or nvcc unless the artifact holds cubins.",
    example: "A driver without the toolkit.",
    fix: "Install the CUDA toolkit, 12.3 or later.",
  },
  DSC5607: {
    name: "a CUDA kernel does not compile",
    means: "The notes are the compiler's first lines.",
    example: "An edited kernel.",
    fix: "If the text is as dsc wrote it, please report it with the artifact.",
  },
  DSC5608: {
    name: "a launch lacks a buffer",
    means: "A kernel's parameter has no buffer in the launch.",
    example: "None is known.",
    fix: "This is a fault of dsc: please report it with the artifact.",
  },
  DSC5609: {
    name: "the CUDA driver refuses",
    means:
      "A call of the driver failed. After a fault in a kernel the context is lost, and every later call fails too: the first one counts.",
    example: "A kernel that reads outside its buffers.",
    fix: "compute-sanitizer on the same command shows the access.",
  },
  DSC5610: {
    name: "a kernel would be compiled too late",
    means: "Everything is compiled while a model loads; a compile afterwards would stall it in the middle of a text.",
    example: "None is known.",
    fix: "This is a fault of dsc: please report it.",
  },
  DSC5701: {
    name: "no libtvm_ffi",
    means:
      "dsc/tvm calls libraries through libtvm_ffi, which is found and never bundled: what DSC_TVM names (the library, " +
      "its folder, or site-packages), the Python that DSC_PYTHON names, or the loader's own path. The notes say what " +
      "was tried.",
    example: "node -e 'import(\"dsc/tvm\").then((t) => t.about())' where there is none.",
    fix: "pip install apache-tvm-ffi, and name the Python by DSC_PYTHON.",
  },
  DSC5702: {
    name: "another version of tvm-ffi",
    means: "The C ABI of tvm-ffi is known here as it is in 0.1. Another version may lay out its values otherwise.",
    example: "DSC_TVM names a library of 0.2.",
    fix: "Name a library of 0.1.",
  },
  DSC5703: {
    name: "a value that cannot be passed",
    means:
      "tvm-ffi has ints of 64 bits, floats, booleans, strings, bytes, tensors and objects. The title says what was " +
      "given, and why it is none of them.",
    example: "f.call({}) of a function of dsc/tvm.",
    fix: "Lists become one by array(), maps by map(), functions by callback().",
  },
  DSC5704: {
    name: "an object that was disposed of",
    means: "dispose() gave the object's reference back; what lay behind it may be gone.",
    example: "module.dispose() and then module.get(...).",
    fix: "Dispose when nothing needs it any more, or leave it to the garbage collector.",
  },
  DSC5705: {
    name: "no such function in a library",
    means: "A library exports its functions as __tvm_ffi_NAME; global functions are in the table that names() lists.",
    example: 'module.get("ad") of a library that exports __tvm_ffi_add.',
    fix: "Give a name that is there; has() asks.",
  },
  DSC5706: {
    name: "a tensor that is no array",
    means:
      "view() shows contiguous tensors in the CPU's memory where they lie, and this one is on a device, strided, or of " +
      "a type without a name here.",
    example: "view() of a tensor on a GPU.",
    fix: "Its address, shape, dtype and device are there for any; copy it with the library's own functions first.",
  },
};
