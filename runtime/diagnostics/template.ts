// What can be wrong with a chat template.
import { place, thrown, type Form } from "../../ir/diagnostic.ts";

export const noChatTemplate = thrown<{ folder: string; why: string }>("DSC5052", {
  name: "no chat template",
  means:
    "A conversation is turned into text by the template that the checkpoint ships, in tokenizer_config.json or chat_template.jinja.",
  example: "A folder with tokenizer.json only.",
  fix: "Put the template there, or use --prompt with the text the model expects.",
  at: ({ folder }) => [place(folder)],
  short: ({ folder, why }) => ({
    title: `no chat template in ${folder}`,
    notes: [why],
    help: "use --prompt with the text the model expects, or put chat_template.jinja beside tokenizer.json",
  }),
});

export const noSuchTemplate = thrown<{ folder: string; wanted: string | undefined; names: readonly string[] }>("DSC5061", {
  name: "no chat template of that name",
  means: 'A checkpoint may bring several templates with names; without a name, "default" is taken, as transformers does.',
  example: 'A list of templates called "rag" and "tool_use".',
  fix: "Choose one: --chat-template NAME, or the option template of chat().",
  at: ({ folder }) => [place(folder)],
  short: ({ folder, wanted, names }) => ({
    title:
      wanted === undefined
        ? `the chat templates of ${folder} have names, and none is "default"`
        : `no chat template "${wanted}" in ${folder}`,
    notes: [`there ${names.length === 1 ? "is" : "are"} ${names.map((n) => `"${n}"`).join(", ")}`],
    help: `choose one: --chat-template ${names[0]}, or chat(model, tokenizer, { template: "${names[0]}" })`,
  }),
});

export const unreadableTemplate = thrown<{ folder: string; why: string }>("DSC5056", {
  name: "the chat template cannot be read",
  means: "Its file or key holds something else than a text, or than a list of texts with names.",
  example: "chat_template of tokenizer_config.json is [null].",
  fix: "Fetch the file again, or use --prompt.",
  short: ({ folder, why }) => ({
    title: `the chat template of ${folder} cannot be read`,
    notes: [why],
    help: "fetch the file again, or use --prompt with the text the model expects",
  }),
});

const LONG = 600;

interface TemplateFault {
  /** The template's or the engine's word. */
  why: string;
  /** The text around the place, where its line is too long to be shown. */
  near?: string | undefined;
}

export const fault = (title: string, help: string): Pick<Form<TemplateFault>, "short"> => ({
  short: ({ why, near }) => ({
    title,
    notes: [why.length > LONG ? `${why.slice(0, LONG)}...` : why, ...(near ? [`near: ${near}`] : [])],
    help,
  }),
});

/** What a template does wrong, or what it asks for that is not here. */
export const templateFault = {
  syntax: thrown<TemplateFault>("DSC5060", {
    name: "the chat template is no Jinja template",
    means: "Its text does not parse; line and column are the template's.",
    example: "{% if %}",
    fix: "Fetch the file again, or use --prompt with the text the model expects.",
    ...fault("the chat template is no Jinja template", "fetch the file again, or use --prompt with the text the model expects"),
  }),
  runtime: thrown<TemplateFault>("DSC5059", {
    name: "the chat template fails",
    means: "It does what Python's Jinja does not allow either, at the line and column given.",
    example: "{{ tools.name }} where tools is none",
    fix: "Use --prompt with the text the model expects; the template's authors can mend it.",
    ...fault("the chat template fails", "Python's Jinja fails here too; use --prompt with the text the model expects"),
  }),
  raised: thrown<TemplateFault>("DSC5054", {
    name: "the chat template refuses the conversation",
    means: "Templates may raise errors of their own: turns out of order, a system message they do not know.",
    example: "Two turns of the user in a row.",
    fix: "Do as the template's message says.",
    ...fault("the chat template refuses the conversation", "a template may want turns to alternate, or know no system message"),
  }),
  unsupported: thrown<TemplateFault>("DSC5057", {
    name: "the chat template uses what dsc's Jinja has not",
    means:
      "Templates are written for Python's Jinja. What it can do and dsc cannot is refused by name, never rendered otherwise.",
    example: "{{ 'é'.encode() }}",
    fix: "Use --prompt with the text the model expects, and please report the template.",
    ...fault(
      "the chat template uses what dsc's Jinja has not",
      "use --prompt with the text the model expects, and please report the template",
    ),
  }),
  budget: thrown<TemplateFault>("DSC5058", {
    name: "the chat template takes too much",
    means: "Templates come with downloaded models. Steps, nesting and text have limits that no conversation reaches.",
    example: "Two loops of 100000 inside each other.",
    fix: "Do not trust such a template.",
    ...fault("the chat template takes too much", "a template of a conversation takes far less: do not trust this one"),
  }),
};
