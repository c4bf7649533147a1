// DSC1xxx: what can be wrong with a config or with the folder it lies in.
import { error, place, warning, type Diagnostic, type Span } from "../../ir/diagnostic.ts";

const at = (span: Span | undefined, label?: string): Span[] =>
  span ? [label ? { ...span, label } : span] : [place("the config")];

export const badJson = (problem: string, span: Span): Diagnostic =>
  error("DSC1001", `this is not JSON: ${problem}`, {
    spans: [span],
    help: "the file must be one JSON object, as the checkpoint ships it",
  });

export const noSource = (path: string, problem: string, help = "give a config.json, or a folder that has one"): Diagnostic =>
  error("DSC1002", `cannot read ${path}: ${problem}`, { spans: [place(path)], help });

export const notObject = (span: Span | undefined): Diagnostic =>
  error("DSC1003", "the config is not a JSON object", { spans: at(span), help: "it begins with { and holds key: value pairs" });

export const badSet = (word: string, span: Span): Diagnostic =>
  error("DSC1004", `--set ${word}: expected key=value`, {
    spans: [span],
    help: "--set num_hidden_layers=2 or --set rope_scaling.factor=4; values are numbers, true, false, null, or JSON",
  });

export const setInside = (key: string, span: Span): Diagnostic =>
  error("DSC1005", `--set reaches inside "${key}", which has no such member`, {
    spans: [span],
    help: `set the whole of it: --set ${key}=VALUE`,
  });

export const unknownKey = (key: string, near: string | undefined, span: Span | undefined): Diagnostic =>
  warning("DSC1011", `"${key}" is not a field I know`, {
    spans: at(span),
    notes: ["it has no effect on what is compiled"],
    help: near ? `did you mean "${near}"?` : "remove it, or ignore this: dsc summary shows what was understood",
  });

export const missingKeys = (keys: readonly string[], file: string): Diagnostic =>
  error("DSC1012", `the config lacks ${keys.map((k) => `"${k}"`).join(", ")}`, {
    spans: [{ file, line: 1, column: 1 }],
    notes: ["these have no published default, so a model cannot be derived from the rest"],
    help: "use the whole config.json of the checkpoint, or add the keys with --set",
  });

export const wrongKind = (key: string, want: string, got: string, span: Span | undefined): Diagnostic =>
  error("DSC1013", `"${key}" must be ${want}`, { spans: at(span, `this is ${got}`), help: `give ${want}` });

export const unsupported = (key: string, got: string, rule: string, nearest: string, span: Span | undefined): Diagnostic =>
  error("DSC1014", `"${key}": ${got} is not supported`, {
    spans: at(span),
    notes: [rule],
    help: `the nearest supported value is ${nearest}`,
  });

export const inconsistent = (title: string, rule: string, help: string, span: Span | undefined): Diagnostic =>
  error("DSC1015", title, { spans: at(span), notes: [rule], help });

export const missingType = (key: string, span: Span | undefined): Diagnostic =>
  error("DSC1016", `"${key}" has a factor, but no type`, {
    spans: at(span),
    notes: ["without a type the factor would be ignored"],
    help: `add "type": "yarn" to it`,
  });

export const foreignId = (key: string, id: number, vocab: number, span: Span | undefined): Diagnostic =>
  warning("DSC1017", `"${key}": token ${id} is not in the vocabulary`, {
    spans: at(span),
    notes: [`vocab_size is ${vocab}, so it can be neither read nor produced`],
    help: "set the id to one of the vocabulary, or null",
  });

export const mechanism = (key: string, got: string, what: string, span: Span | undefined): Diagnostic =>
  error("DSC1018", `"${key}": ${got} needs what cannot be compiled yet`, {
    spans: at(span),
    notes: [`it stands for ${what}; without it the model would compute something else`],
    help: `if the checkpoint does not use it, set it off: --set ${key}=null`,
  });

export const lacksText = (name: string, span: Span | undefined): Diagnostic =>
  error("DSC1019", `${name} wraps a text model, but the config has no "text_config"`, {
    spans: at(span),
    help: "use the whole config.json of the checkpoint",
  });

export const unsupportedModel = (name: string, needs: string, supported: readonly string[], span: Span | undefined): Diagnostic =>
  error("DSC1020", `${name} is recognised, but cannot be compiled yet`, {
    spans: at(span),
    notes: [`it needs ${needs}`],
    help: `supported: ${supported.join(", ")}`,
  });

export const unknownModel = (
  name: string,
  near: string | undefined,
  supported: readonly string[],
  latent: boolean,
  span: Span | undefined,
): Diagnostic =>
  error("DSC1021", `I do not know the architecture ${JSON.stringify(name)}`, {
    spans: at(span),
    notes: latent ? [] : ["the config has no kv_lora_rank, so this is no model with multi-head latent attention"],
    help: near ? `did you mean ${near}?` : `supported: ${supported.join(", ")}`,
  });

export const setInVain = (key: string, why: string, help: string, span: Span | undefined): Diagnostic =>
  error("DSC1023", `--set ${key} changes nothing`, { spans: at(span), notes: [why], help });

export const idleFactor = (key: string, member: string, span: Span | undefined): Diagnostic =>
  warning("DSC1024", `"${key}.${member}" counts with YaRN, and the type is "default"`, {
    spans: at(span),
    notes: ["positions are plain, as transformers takes them"],
    help: `if the model was made for YaRN, set ${key}.type=yarn; if not, remove "${member}"`,
  });

export const unreadBeside = (file: string, why: string): Diagnostic =>
  warning("DSC1022", `${file} cannot be read`, {
    spans: [place(file)],
    notes: [why, "config.json alone says how the weights are stored then"],
    help: "fetch it again, or remove it",
  });
