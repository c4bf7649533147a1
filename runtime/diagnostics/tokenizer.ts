// What can be wrong with the files beside a checkpoint: its tokenizer's and generation_config.json.
import { coded, didYouMean, place, thrown } from "../../ir/diagnostic.ts";

export const noTokenizer = thrown<{ folder: string; why: string }>("DSC5050", {
  name: "no tokenizer",
  means: "Text needs tokenizer.json or tiktoken.model beside config.json or the weights.",
  example: "$ dsc run test/fixtures/a06-v3-dense --prompt Hello --max-new 1",
  fix: "Give --ids, or put the checkpoint's tokenizer.json there.",
  at: ({ folder }) => [place(folder)],
  short: ({ folder, why }) => ({
    title: `no tokenizer in ${folder}`,
    notes: [why],
    help: "give token ids with --ids, or put tokenizer.json or tiktoken.model beside config.json",
  }),
});

export const noTokenizerPackage = thrown<{ why: string }>("DSC5051", {
  name: "the tokenizer package is missing",
  means: "@huggingface/tokenizers is a dependency of dsc that could not be loaded.",
  example: "An install with packages left out.",
  fix: "npm install.",
  at: () => [place("@huggingface/tokenizers")],
  short: ({ why }) => ({
    title: "the package @huggingface/tokenizers cannot be loaded",
    notes: [why],
    help: "npm install @huggingface/tokenizers",
  }),
});

export const badSideFile = thrown<{ why: string }>("DSC5070", {
  name: "a file beside the model cannot be used",
  means:
    "tokenizer.json, tokenizer_config.json, special_tokens_map.json or added_tokens.json is there, and is not what " +
    "it should be: no regular file, no UTF-8, no JSON, or a value of another type. The place is that of the value.",
  example: "A comma before the last brace of tokenizer_config.json.",
  fix: "Fetch the file again, or mend it at the place named.",
  short: ({ why }, [{ file }]) => ({
    title: `${file} cannot be used`,
    notes: [why],
    help: "fetch the file again, or mend it at this place",
  }),
});

export const unknownPart = thrown<{ name: string; word: string; known: readonly string[] }>("DSC5071", {
  name: "a part of a tokenizer that dsc does not know",
  means:
    "tokenizer.json names its model, normalizer, pre-tokenizers, post-processor and decoder by type. One that is " +
    "unknown would give other ids than the model was trained on, so it is refused.",
  example: 'model.type is "Foo"; a Precompiled or BertNormalizer, which models of this family do not have.',
  fix: "Mend the word, or give token ids with --ids.",
  short: ({ name, word, known }) => {
    const near = didYouMean(word, known);
    return {
      title: `${name} is ${JSON.stringify(word)}, which dsc does not know`,
      notes: [`known here: ${known.join(", ")}`],
      help: near ? `did you mean ${near}?` : "give token ids with --ids, made by the tokenizer's own library",
    };
  },
});

export const badTiktoken = thrown<{ why: string }>("DSC5072", {
  name: "a tiktoken vocabulary that cannot be used",
  means:
    "tiktoken.model has a line for each token: its bytes in base64, a space, its rank. Ranks are 0, 1, 2 and so on, " +
    "each once, and a text can be written where all its bytes are tokens.",
  example: "A file that was cut while it was fetched.",
  fix: "Fetch the file again.",
  short: ({ why }, [{ file }]) => ({
    title: `${file} is no tiktoken vocabulary that can be used`,
    notes: [why],
    help: "fetch the file again; a tokenizer.json beside it would be used instead",
  }),
});

export const assumedPattern = coded<{ file: string }>("DSC5073", {
  name: "a tiktoken vocabulary without a pattern",
  means:
    "tiktoken.model does not say how a text is split before it is encoded. The pattern is pat_str in a " +
    "tokenization_*.py beside it, which is read and not run; without one, and without a tokenizer_class " +
    "TikTokenTokenizer, that of Kimi-K2 and Moonlight is assumed.",
  example: "A folder with tiktoken.model and no Python file.",
  fix: "Put the model's tokenization_*.py beside it.",
  severity: "warning",
  at: ({ file }) => [place(file)],
  short: () => ({
    title: "a tiktoken vocabulary that does not say how a text is split",
    notes: ["no tokenization_*.py beside it holds a pattern, so texts are split as Kimi-K2 and Moonlight split them"],
    help: "put the model's tokenization_*.py beside it: its pat_str is read, nothing of it is run",
  }),
});

export const tokenMoved = coded<{ content: string; said: number; got: number; why: string }>("DSC5074", {
  name: "an added token gets another id",
  means:
    "added_tokens_decoder or added_tokens.json gives a token an id that another token has, or one the vocabulary " +
    "knows by another id. It gets the vocabulary's, or the next that is free.",
  example: "A tokenizer_config.json of another version than tokenizer.json.",
  fix: "Compare the tokenizer's files with the published ones.",
  severity: "warning",
  short: ({ content, said, got, why }) => ({
    title: `the added token ${JSON.stringify(content)} gets id ${got}, not ${said}`,
    notes: [why, "transformers gives it the same id"],
    help: "compare the tokenizer's files with the published ones",
  }),
});

export const beginsTwice = coded<{ token: string }>("DSC5075", {
  name: "a prompt that begins twice",
  means:
    "The tokenizer puts a token before every text, and the prompt begins with it already, as a rendered chat " +
    "template does. It is not added a second time.",
  example: "$ dsc run examples/tiny-r1 --prompt '<｜begin▁of▁sentence｜>She' --max-new 1",
  fix: "Leave the token out of the prompt; nothing else changes.",
  severity: "warning",
  at: () => [place("--prompt")],
  short: ({ token }) => ({
    title: `the prompt begins with ${token}, which the tokenizer would put before it`,
    notes: ["a text that begins twice is none the model was trained on, so the token is not added"],
    help: `leave ${token} out of the prompt`,
  }),
});

export const badGeneration = thrown<{ why: string }>("DSC5062", {
  name: "generation_config.json cannot be followed",
  means: "The file says how answers are chosen and where they end. It is no JSON, or a setting is no value for it.",
  example: '"top_p": "high"',
  fix: "Mend the file, or fetch it again.",
  short: ({ why }, [{ file }]) => ({
    title: `${file} cannot be followed`,
    notes: [why],
    help: "mend the file, or fetch it again",
  }),
});

export const settingNotFollowed = coded<{ key: string; value: string }>("DSC5063", {
  name: "a setting of generation_config.json is not followed",
  means: "The file asks for a way of generating that dsc has not, and answers would be others by it.",
  example: '"num_beams": 4',
  fix: "Remove it where it should not count.",
  severity: "warning",
  short: ({ key, value }) => ({
    title: `generation_config.json says ${key} ${value}, which dsc does not follow`,
    notes: ["transformers' generate would answer otherwise for it"],
    help: "remove it where it should not count",
  }),
});
