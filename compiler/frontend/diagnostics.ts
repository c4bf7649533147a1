// DSC1xxx: what can be wrong with a config or with the folder it lies in.
import { coded, place } from "../../ir/diagnostic.ts";

export const badJson = coded<{ problem: string }>("DSC1001", {
  name: "the file is not JSON",
  means:
    "A config is one JSON object, as the checkpoint ships it: no comments, no trailing commas, no NaN. The caret " +
    "stands where reading failed.",
  example: "$ dsc summary README.md",
  fix: "Correct the text at the caret, or fetch config.json again.",
  short: ({ problem }) => ({
    title: `this is not JSON: ${problem}`,
    help: "the file must be one JSON object, as the checkpoint ships it",
  }),
});

export const noSource = coded<{ path: string; problem: string; help?: string | undefined }>("DSC1002", {
  name: "SRC cannot be read",
  means: "SRC is a config.json or a folder that has one. A checkpoint file, or a file of more than 16 MB, is no config.",
  example: "$ dsc summary examples",
  fix: "Name the model's folder, or its config.json.",
  at: ({ path }) => [place(path)],
  short: ({ path, problem, help = "give a config.json, or a folder that has one" }) => ({
    title: `cannot read ${path}: ${problem}`,
    help,
  }),
});

export const notObject = coded("DSC1003", {
  name: "the config is no JSON object",
  means: "The file is JSON, but a list, a number or a string.",
  example: "A file that holds only [].",
  fix: "Use the checkpoint's config.json.",
  at: () => [place("the config")],
  short: () => ({ title: "the config is not a JSON object", help: "it begins with { and holds key: value pairs" }),
});

export const badSet = coded<{ word: string }>("DSC1004", {
  name: "--set without key=value",
  means:
    "--set lays one value over the config before anything is read: a key, =, a value. Values are numbers, true, " +
    "false, null, JSON, or plain words.",
  example: "$ dsc summary examples/tiny-r1 --set vocab_size",
  fix: "Write --set vocab_size=512; members of objects are reached with dots, as in --set rope_scaling.factor=4.",
  short: ({ word }) => ({
    title: `--set ${word}: expected key=value`,
    help: "--set num_hidden_layers=2 or --set rope_scaling.factor=4; values are numbers, true, false, null, or JSON",
  }),
});

export const setInside = coded<{ key: string }>("DSC1005", {
  name: "--set reaches inside what has no members",
  means: "The key before a dot is a number, a word, or a list without that index, so nothing can be set inside it.",
  example: "$ dsc summary examples/tiny-r1 --set hidden_size.x=1",
  fix: "Set the whole of it.",
  short: ({ key }) => ({
    title: `--set reaches inside "${key}", which has no such member`,
    help: `set the whole of it: --set ${key}=VALUE`,
  }),
});

export const unknownKey = coded<{ key: string; near: string | undefined }>("DSC1011", {
  name: "unknown key (warning)",
  means:
    "Every key of a config is read, or known and ignored with a reason. This one is neither: it changes nothing, " +
    "which is rarely what was meant.",
  example: "$ dsc summary examples/tiny-r1 --set n_routed_expert=8",
  fix: "Correct the spelling if one is suggested; otherwise remove the key, or live with the warning.",
  severity: "warning",
  at: () => [place("the config")],
  short: ({ key, near }) => ({
    title: `"${key}" is not a field I know`,
    notes: ["it has no effect on what is compiled"],
    help: near ? `did you mean "${near}"?` : "remove it, or ignore this: dsc summary shows what was understood",
  }),
});

export const missingKeys = coded<{ keys: readonly string[]; file: string }>("DSC1012", {
  name: "keys are missing",
  means:
    "These keys have no published default: without them a model cannot be derived. (A key that every published " +
    "config leaves out may be left out.)",
  example: 'A config without "kv_lora_rank".',
  fix: "Use the whole config.json of the checkpoint, or give the keys with --set.",
  at: ({ file }) => [{ file, line: 1, column: 1 }],
  short: ({ keys }) => ({
    title: `the config lacks ${keys.map((k) => `"${k}"`).join(", ")}`,
    notes: ["these have no published default, so a model cannot be derived from the rest"],
    help: "use the whole config.json of the checkpoint, or add the keys with --set",
  }),
});

export const wrongKind = coded<{ key: string; want: string; got: string }>("DSC1013", {
  name: "a value of the wrong kind",
  means:
    "The key holds a string, number, list or object where another kind is needed, or a number that is not whole or out of range.",
  example: "$ dsc summary examples/tiny-r1 --set hidden_size=big",
  fix: "Give the kind that is named.",
  at: () => [place("the config")],
  label: ({ got }) => `this is ${got}`,
  short: ({ key, want }) => ({ title: `"${key}" must be ${want}`, help: `give ${want}` }),
});

export const unsupported = coded<{ key: string; got: string; rule: string; nearest: string }>("DSC1014", {
  name: "a value that is not supported",
  means:
    "The value is well formed, but no kernel or rule of dsc means it. The note gives the rule, the help the nearest " +
    "value that is supported.",
  example: "$ dsc summary examples/tiny-r1 --set hidden_act=gelu",
  fix: "If the checkpoint really uses it, dsc cannot compile the model yet; if not, correct the config.",
  at: () => [place("the config")],
  short: ({ key, got, rule, nearest }) => ({
    title: `"${key}": ${got} is not supported`,
    notes: [rule],
    help: `the nearest supported value is ${nearest}`,
  }),
});

export const inconsistent = coded<{ title: string; rule: string; help: string }>("DSC1015", {
  name: "values that contradict each other",
  means:
    "Two keys cannot both be true: experts that do not divide into groups, two spellings of one setting, a list as " +
    "long as no number of layers.",
  example: "$ dsc summary examples/deepseek-r1 --set n_group=7",
  fix: "The note shows the arithmetic, the help a value that fits.",
  at: () => [place("the config")],
  short: ({ title, rule, help }) => ({ title, notes: [rule], help }),
});

export const missingType = coded<{ key: string }>("DSC1016", {
  name: "rope settings without a type",
  means:
    "The settings have a factor but no type. Implementations ignore the factor then, silently, and positions past " +
    "the original length are wrong.",
  example: "$ dsc summary examples/deepseek-r1 --set 'rope_scaling={\"factor\": 40}'",
  fix: 'Add "type": "yarn", or remove the factor.',
  at: () => [place("the config")],
  short: ({ key }) => ({
    title: `"${key}" has a factor, but no type`,
    notes: ["without a type the factor would be ignored"],
    help: `add "type": "yarn" to it`,
  }),
});

export const foreignId = coded<{ key: string; id: number; vocab: number }>("DSC1017", {
  name: "a token outside the vocabulary (warning)",
  means:
    "bos_token_id or eos_token_id is no index of the embedding. Such an id can be neither read nor produced: " +
    "generation never stops at it.",
  example: "$ dsc summary examples/tiny-r1 --set eos_token_id=999999",
  fix: "Set the id that the tokenizer uses, or null.",
  severity: "warning",
  at: () => [place("the config")],
  short: ({ key, id, vocab }) => ({
    title: `"${key}": token ${id} is not in the vocabulary`,
    notes: [`vocab_size is ${vocab}, so it can be neither read nor produced`],
    help: "set the id to one of the vocabulary, or null",
  }),
});

export const mechanism = coded<{ key: string; got: string; what: string }>("DSC1018", {
  name: "a key that stands for a missing mechanism",
  means:
    "The architecture is supported, but this key switches on something of a relative (sparse attention, identity " +
    "experts, ...) that is not. Ignoring it would compute another function.",
  example: "$ dsc summary examples/deepseek-r1 --set index_topk=2048",
  fix: "If the checkpoint does not use it, set it to null. Otherwise the model cannot be compiled yet.",
  at: () => [place("the config")],
  short: ({ key, got, what }) => ({
    title: `"${key}": ${got} needs what cannot be compiled yet`,
    notes: [`it stands for ${what}; without it the model would compute something else`],
    help: `if the checkpoint does not use it, set it off: --set ${key}=null`,
  }),
});

export const lacksText = coded<{ name: string }>("DSC1019", {
  name: "a wrapped model without its text part",
  means: "Kimi-VL and Kimi-K2.5 wrap a text model, described under text_config.",
  example: "$ dsc summary examples/deepseek-r1 --set 'architectures=[\"KimiVLForConditionalGeneration\"]'",
  fix: "Use the whole config.json of the checkpoint.",
  at: () => [place("the config")],
  short: ({ name }) => ({
    title: `${name} wraps a text model, but the config has no "text_config"`,
    help: "use the whole config.json of the checkpoint",
  }),
});

export const unsupportedModel = coded<{ name: string; needs: string; supported: readonly string[] }>("DSC1020", {
  name: "a relative that is recognised, but not compiled yet",
  means:
    "The name is known and so is what the model needs beyond R1; the note names the mechanism. Nothing close to it is computed instead.",
  example: "$ dsc summary test/configs/DeepSeek-V3.2.json",
  fix: "Use one of the supported architectures that are listed.",
  at: () => [place("the config")],
  short: ({ name, needs, supported }) => ({
    title: `${name} is recognised, but cannot be compiled yet`,
    notes: [`it needs ${needs}`],
    help: `supported: ${supported.join(", ")}`,
  }),
});

export const unknownModel = coded<{ name: string; near: string | undefined; supported: readonly string[]; latent: boolean }>(
  "DSC1021",
  {
    name: "an unknown architecture",
    means: "Dispatch is by architectures, then by model_type. Neither is known here.",
    example: "$ dsc summary examples/deepseek-r1 --set 'architectures=[\"DeepsekV3ForCausalLM\"]'",
    fix: "Correct the name. A model without kv_lora_rank has no latent attention and is not for dsc.",
    at: () => [place("the config")],
    short: ({ name, near, supported, latent }) => ({
      title: `I do not know the architecture ${JSON.stringify(name)}`,
      notes: latent ? [] : ["the config has no kv_lora_rank, so this is no model with multi-head latent attention"],
      help: near ? `did you mean ${near}?` : `supported: ${supported.join(", ")}`,
    }),
  },
);

export const setInVain = coded<{ key: string; why: string; help: string }>("DSC1023", {
  name: "a --set that changes nothing",
  means:
    "The key is known and not read, or it stands where it does not count: a wrapped config keeps the model under " +
    "text_config, and what is there comes first.",
  example: "$ dsc summary examples/deepseek-r1 --set attention_dropout=0.1",
  fix: "Write the key where it counts, as the help line does, or leave it out.",
  at: () => [place("the config")],
  short: ({ key, why, help }) => ({ title: `--set ${key} changes nothing`, notes: [why], help }),
});

export const idleFactor = coded<{ key: string; member: string }>("DSC1024", {
  name: "settings of YaRN beside the plain type (warning)",
  means:
    'A factor, or another member that only YaRN reads, stands in rope settings whose type is "default". It is passed ' +
    "over, as transformers does.",
  example: "$ dsc summary examples/deepseek-r1 --set rope_scaling.type=default",
  fix: "Set the type to yarn, or remove the member.",
  severity: "warning",
  at: () => [place("the config")],
  short: ({ key, member }) => ({
    title: `"${key}.${member}" counts with YaRN, and the type is "default"`,
    notes: ["positions are plain, as transformers takes them"],
    help: `if the model was made for YaRN, set ${key}.type=yarn; if not, remove "${member}"`,
  }),
});

export const unreadBeside = coded<{ file: string; why: string }>("DSC1022", {
  name: "a file beside the config cannot be read (warning)",
  means:
    "hf_quant_config.json, which re-quantised copies have, says how their weights are stored. It is there, but is no " +
    "JSON; config.json alone counts then.",
  example: "A download of hf_quant_config.json that was cut short.",
  fix: "Fetch it again, or remove it.",
  severity: "warning",
  at: ({ file }) => [place(file)],
  short: ({ file, why }) => ({
    title: `${file} cannot be read`,
    notes: [why, "config.json alone says how the weights are stored then"],
    help: "fetch it again, or remove it",
  }),
});
