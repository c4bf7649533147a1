// DSC1xxx: what can be wrong with a config or with the folder it lies in.
import { error, warning, type Diagnostic, type Span } from "../../ir/diagnostic.ts";

const at = (span: Span | undefined, label?: string): Span[] => (span ? [label ? { ...span, label } : span] : []);

export const badJson = (problem: string, span: Span): Diagnostic =>
  error("DSC1001", `this is not JSON: ${problem}`, { spans: [span], help: "the file must be one JSON object, as the checkpoint ships it" });

export const noSource = (path: string, problem: string): Diagnostic =>
  error("DSC1002", `cannot read ${path}: ${problem}`, { help: "give a config.json, or a folder that has one" });

export const notObject = (span: Span | undefined): Diagnostic => error("DSC1003", "the config is not a JSON object", { spans: at(span) });

export const badSet = (word: string): Diagnostic =>
  error("DSC1004", `--set ${word}: expected key=value`, { help: "--set num_hidden_layers=2 or --set rope_scaling.factor=4; values are numbers, true, false, null, or JSON" });

export const unknownKey = (key: string, near: string | undefined, span: Span | undefined): Diagnostic =>
  warning("DSC1011", `"${key}" is not a field I know`, {
    spans: at(span),
    notes: ["it has no effect on what is compiled"],
    help: near ? `did you mean "${near}"?` : undefined,
  });

export const missingKeys = (keys: readonly string[], file: string): Diagnostic =>
  error("DSC1012", `the config lacks ${keys.map((k) => `"${k}"`).join(", ")}`, {
    spans: [{ file, line: 1, column: 1 }],
    notes: ["these have no published default, so a model cannot be derived from the rest"],
    help: "use the whole config.json of the checkpoint, or add the keys with --set",
  });

export const wrongKind = (key: string, want: string, got: string, span: Span | undefined): Diagnostic =>
  error("DSC1013", `"${key}" must be ${want}`, { spans: at(span, `this is ${got}`) });

export const unsupported = (key: string, got: string, rule: string, nearest: string, span: Span | undefined): Diagnostic =>
  error("DSC1014", `"${key}": ${got} is not supported`, { spans: at(span), notes: [rule], help: `the nearest supported value is ${nearest}` });

export const inconsistent = (title: string, rule: string, help: string, span: Span | undefined): Diagnostic =>
  error("DSC1015", title, { spans: at(span), notes: [rule], help });

export const unsupportedModel = (name: string, mechanism: string, supported: readonly string[], span: Span | undefined): Diagnostic =>
  error("DSC1020", `${name} is recognised, but cannot be compiled yet`, {
    spans: at(span),
    notes: [`it needs ${mechanism}`],
    help: `supported: ${supported.join(", ")}`,
  });

export const unknownModel = (name: string, near: string | undefined, supported: readonly string[], span: Span | undefined): Diagnostic =>
  error("DSC1021", `I do not know the architecture ${JSON.stringify(name)}`, {
    spans: at(span),
    help: near ? `did you mean ${near}?` : `supported: ${supported.join(", ")}`,
  });
