// DSC503x: what a session, a step and a conversation refuse, and the options they are given.
import { didYouMean, place, thrown } from "../../ir/diagnostic.ts";
import { shown } from "../shown.ts";

export const logitsNotFinite = thrown<{ sequence: number; id: number; weight: string | undefined }>("DSC5037", {
  name: "logits that are not numbers",
  means:
    "What chooses the ids of a step reads every logit, and one that is NaN or infinite means that the others are " +
    "worth nothing. Stored weights were looked at when they were loaded; they are again, and the first that is no " +
    "number is named.",
  example: "A config whose rms_norm_eps or scaling does not fit the checkpoint, so that values overflow.",
  fix: "Fetch or convert the checkpoint again; where all weights are numbers, see that the config is the checkpoint's own.",
  at: ({ sequence }) => [place(`sequence ${sequence}`)],
  short: ({ sequence, id, weight }) => ({
    title: `the logits of sequence ${sequence} are not numbers`,
    notes: [
      `the logit of token ${id} is NaN or infinite`,
      weight ??
        "no stored weight is NaN or infinite: values overflowed between the kernels, as they do when a config does not fit its checkpoint",
    ],
    help: weight
      ? "fetch the checkpoint again, or convert it again"
      : "compare config.json with the checkpoint's own; --activations f32 has more range",
  }),
});

export const tooLong = thrown<{ sequence: number; wanted: number; capacity: number }>("DSC5031", {
  name: "a sequence longer than its session",
  means: "A session holds a cache of maxTokens rows for each sequence.",
  example: "session({ maxTokens: 8 }) and nine ids",
  fix: "Open the session with a larger maxTokens.",
  at: ({ sequence }) => [place(`sequence ${sequence}`)],
  short: ({ sequence, wanted, capacity }) => ({
    title: `sequence ${sequence} would reach ${wanted} tokens, and the session holds ${capacity}`,
    help: "open the session with a larger maxTokens",
  }),
});

export const badId = thrown<{ sequence: number; index: number; id: unknown; vocab: number }>("DSC5032", {
  name: "an id outside the vocabulary",
  means: "Ids are indices of the embedding that was compiled.",
  example: "session.prefill([[999999]])",
  fix: "Use the tokenizer of the same model.",
  at: ({ sequence, index }) => [place(`token ${index} of sequence ${sequence}`)],
  short: ({ sequence, index, id, vocab }) => ({
    title: `token ${index} of sequence ${sequence} is ${shown(id)}`,
    notes: [`ids are whole numbers from 0 to ${vocab - 1}, the vocabulary that was compiled`],
    help: "use the tokenizer of the same model",
  }),
});

export const misuse = thrown<{ what: string; help?: string | undefined }>("DSC5033", {
  name: "a session is used wrongly",
  means: "Calls of one session take turns, sequences have rows, and what was closed stays closed.",
  example: "Two session.decode calls at once.",
  fix: "Await one call before the next; docs/architecture.md, Runtime.",
  at: () => [place("session")],
  short: ({ what, help = "docs/architecture.md, Runtime, says how sessions are used" }) => ({ title: what, help }),
});

export const badArgument = thrown<{ call: string; seen: string; wanted: string }>("DSC5039", {
  name: "an argument of the Node API is wrong",
  means: "JavaScript does not check what is handed to a function; dsc/runtime does, before anything happens.",
  example: 'session.prefill("text")',
  fix: "Give what the message asks for.",
  at: ({ call }) => [place(call)],
  short: ({ call, seen, wanted }) => ({ title: `${call}: ${seen}`, notes: [`it must be ${wanted}`], help: `give ${wanted}` }),
});

export const unknownOption = thrown<{ call: string; key: string; known: readonly string[] }>("DSC5038", {
  name: "an option of the Node API that does not exist",
  means: "A misspelt option would be passed over, and its default would hold.",
  example: "generate(model, prompts, { maxnew: 9 })",
  fix: "Spell it as the message lists it.",
  at: ({ call }) => [place(call)],
  short: ({ call, key, known }) => {
    const near = didYouMean(key, known);
    return {
      title: `${call} has no option ${key}`,
      notes: [`it has ${known.join(", ")}`],
      help: near ? `did you mean ${near}?` : "leave it out",
    };
  },
});

export const badSampling = thrown<{ option: string; seen: unknown; wanted: string }>("DSC5034", {
  name: "a sampling option out of range",
  means: "A temperature is not negative, top-k is a whole number, top-p and penalties are positive.",
  example: "generate(model, prompts, { temperature: -1 })",
  fix: "Give a value as the note says.",
  at: ({ option }) => [place(option)],
  short: ({ option, seen, wanted }) => ({
    title: `${option} is ${shown(seen)}`,
    notes: [`it must be ${wanted}`],
    help: `give ${wanted}`,
  }),
});

export const tooManyRows = thrown<{ rows: number; most: number }>("DSC5036", {
  name: "too many rows for a deterministic step",
  means: "With --deterministic every product of a step has one form for all batches, and keeps its bits up to 64 rows.",
  example: "65 sequences at once on such an artifact.",
  fix: "Run fewer sequences, or fewer drafts, at once, or compile without --deterministic.",
  at: () => [place("a step")],
  short: ({ rows, most }) => ({
    title: `a step of ${rows} rows, and the artifact takes ${most} at once`,
    notes: [
      "it was compiled with --deterministic: one form of every product serves all steps, and it holds its bits so far only",
    ],
    help: "run fewer sequences (or drafts) at once, or compile without --deterministic",
  }),
});

export const noDraftLayer = thrown("DSC5035", {
  name: "no layer to draft with",
  means: "Drafts come from the extra prediction layer, num_nextn_predict_layers of the config; this model has none.",
  example: "dsc run examples/printed-model --weights synthetic:0 --ids 1,2 --max-new 2 --draft 1",
  fix: "Run it without --draft.",
  at: () => [place("num_nextn_predict_layers of the config")],
  short: () => ({
    title: "the model has no extra prediction layer",
    notes: [
      "num_nextn_predict_layers of its config is 0 or missing, or its checkpoint had no such layer when it was " +
        "compiled, so there is nothing to draft with",
    ],
    help: "run it without drafts",
  }),
});

export const conversationFull = thrown<{ needed: number; capacity: number }>("DSC5055", {
  name: "the conversation is full",
  means: "Turns stay in the cache, and the cache has room for so many tokens.",
  example: "A long chat.",
  fix: "Begin anew with /reset.",
  at: () => [place("conversation")],
  short: ({ needed, capacity }) => ({
    title: `the conversation would reach ${needed} tokens, and there is room for ${capacity}`,
    help: "begin anew (/reset), or say less",
  }),
});
