// dsc run SRC_OR_OUT: tokens. A config or model folder is compiled into the cache first; an artifact runs as it is.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import {
  TextStream,
  followRank,
  generate,
  load,
  memoryNeed,
  readArtifact,
  type Finish,
  type Model,
  type Sampling,
  type Tokenizer,
} from "../../runtime/index.ts";
import { missing, needsDraftLayer, usage } from "../diagnostics.ts";
import { during, firstDuring } from "../progress.ts";
import { size } from "../report/summary.ts";
import { say } from "../tell.ts";
import { converse } from "./converse.ts";
import { checkTargetEffects } from "./effects.ts";
import { checkWhole, compileFlags } from "./options.ts";
import { checkFit, promptText, readIds, promptOf, type Prompts } from "./prompts.ts";
import { samplingFlags, samplingOf, type SamplingFlags } from "./sampling.ts";
import { checkWritable, copyTaps, leastBytes, save, type Saved } from "./save.ts";
import { endRank, rankHere } from "./ranks.ts";
import { generationOf, sourceOf, tokenizerOf, type SourceFlags } from "./source.ts";
import { taking } from "../taking.ts";

interface Options extends SourceFlags, SamplingFlags {
  prompt?: string;
  promptFile?: string;
  ids?: string;
  chat: boolean;
  system?: string;
  allowControlTokens: boolean;
  chatTemplate?: string;
  maxNew?: number;
  draft: number;
  stopEos: boolean;
  json: boolean;
  save?: string;
  threads?: number;
  nvcc: boolean;
  tp?: number;
  ep?: number;
  processes: boolean;
}

export const run = {
  command: "run <src>",
  describe: "tokens, or a conversation, from a model folder, a config with weights, or an artifact",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      compileFlags(
        samplingFlags(
          y
            .positional("src", { type: "string", demandOption: true, describe: "a model folder, a config.json, or an artifact" })
            .option("weights", { type: "string", describe: "a checkpoint folder, or synthetic:SEED (default: the model folder)" })
            .option("prompt", { type: "string", describe: "text; - reads stdin; stops at the end token" })
            .option("prompt-file", { type: "string", describe: "a file of UTF-8 text, instead of --prompt" })
            .option("ids", { type: "string", describe: "1,2,3 or a JSON file with ids, or with arrays of ids for a batch" })
            .option("chat", { type: "boolean", default: false, describe: "a conversation in the terminal" })
            .option("allow-control-tokens", {
              type: "boolean",
              default: false,
              describe: "--chat: control tokens in what you type are these tokens, not text",
            })
            .option("system", { type: "string", describe: "what a conversation begins with" })
            .option("chat-template", { type: "string", describe: "which of the checkpoint's chat templates, by name" })
            .option("max-new", { type: "number", describe: "tokens to make (--chat: of one answer, by default as many as fit)" })
            .option("draft", {
              type: "number",
              default: 0,
              describe: "tokens the extra prediction layer drafts per step, up to 4; greedy answers stay the same",
            })
            .option("stop-eos", { type: "boolean", default: false, describe: "stop at the end token with --ids too" })
            .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" })
            .option("save", { type: "string", describe: "write logits, hidden states and routes to a .safetensors file" })
            .option("nvcc", {
              type: "boolean",
              default: false,
              describe: "cuda: compile kernels by nvcc, not by NVRTC in this process",
            })
            .option("tp", {
              type: "number",
              describe: "divide the model over so many ranks, all in this process (cuda: all on one GPU) unless --processes",
            })
            .option("ep", { type: "number", describe: "of these ranks, so many groups hold whole experts" })
            .option("processes", {
              type: "boolean",
              default: false,
              describe:
                "a process for each rank, on GPUs with one each, started here (under torchrun, mpirun, srun: this is one of theirs)",
            })
            .option("threads", { type: "number", describe: "worker threads (default: the cores there are)" }),
        ),
      ),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkForm(a);
    a.prompt = promptText(a);
    const mesh = meshGiven(a);
    if (mesh !== undefined) a.mesh = mesh;
    const source = await sourceOf(a, a.save === undefined ? undefined : "--save");
    const { folder, weights } = source;
    const { manifest } = await readArtifact(folder);
    const place = rankHere(manifest.mesh, a.processes);
    const flags = { weights, nvcc: a.nvcc, ...(a.threads ? { threads: a.threads } : {}) };
    if (place && place.rank > 0) return followRank(folder, flags, place).catch(endRank(false));
    const tokenizer =
      a.ids !== undefined ? undefined : await tokenizerOf(source, a.chat ? "--chat" : "--prompt", "give --ids 1,2,3");
    const { model: facts, entries } = manifest;
    if (a.draft > 0 && entries.draft === undefined) throw new DiagnosticError(needsDraftLayer());
    checkTargetEffects(manifest.target, a);
    const generation = a.chat || a.prompt !== undefined || a.stopEos ? await generationOf(source) : undefined;
    generation?.warnings.forEach(say);
    const sampling = samplingOf(a, a.chat ? generation : undefined);
    const open = (): Promise<Model> =>
      during(
        `loading ${size(memoryNeed(manifest).resident)} of weights`,
        load(folder, { ...flags, ...(place || a.processes ? { processes: true, lost: endRank(a.json) } : {}) }),
      );
    if (a.chat) {
      await converse(open, tokenizer!, {
        ...sampling,
        draft: a.draft,
        ...(a.system === undefined ? {} : { system: a.system }),
        allowControlTokens: a.allowControlTokens,
        ...(a.chatTemplate === undefined ? {} : { template: a.chatTemplate }),
        ...(a.maxNew === undefined ? {} : { maxNew: a.maxNew }),
      });
      return;
    }
    const prompts = a.prompt === undefined ? readIds(a.ids!) : promptOf(tokenizer!, a.prompt, facts.bos);
    checkFit(prompts.batch, a.maxNew!, facts);
    if (a.save && prompts.batch.length > 1)
      throw new DiagnosticError(
        usage({ problem: "--save keeps one sequence; the batch has several", help: "run the prompts one by one" }),
      );
    if (a.save !== undefined) await checkWritable(a.save, leastBytes(manifest, prompts.batch[0].length));
    const model = await open();
    try {
      const kept = await generateAll(a, model, prompts, tokenizer, sampling, generation?.eos ?? facts.eos);
      // After the answer is out: a disk that fills up meanwhile costs the file, not the answer.
      if (kept) await save(a.save!, model, prompts.batch[0], kept.saved, kept.logits);
    } finally {
      await model.close();
    }
  },
};

/** The mesh that --tp and --ep say; one alone is as many ranks. */
function meshGiven({ tp, ep, mesh }: Options): string | undefined {
  if (tp === undefined && ep === undefined) return mesh;
  const word = tp === undefined ? "--ep" : "--tp";
  if (mesh !== undefined)
    throw new DiagnosticError(
      usage({ problem: `run: give only one of --mesh and ${word}`, help: "--mesh tp=8,ep=4 says both", word }),
    );
  checkWhole("--tp", tp, 1);
  checkWhole("--ep", ep, 1);
  return [...(tp === undefined ? [] : [`tp=${tp}`]), ...(ep === undefined ? [] : [`ep=${ep}`])].join();
}

/** Which options go together. */
function checkForm(a: Options): void {
  const given = [
    ...(a.prompt === undefined ? [] : ["--prompt"]),
    ...(a.promptFile === undefined ? [] : ["--prompt-file"]),
    ...(a.ids === undefined ? [] : ["--ids"]),
    ...(a.chat ? ["--chat"] : []),
  ];
  if (given.length !== 1)
    throw new DiagnosticError(
      usage({
        problem: given.length ? `run: give only one of ${given.join(" and ")}` : "run: give --prompt TEXT, --ids LIST or --chat",
      }),
    );
  if (!a.chat && a.maxNew === undefined) throw new DiagnosticError(missing("run", ["--max-new"]));
  if (!a.chat && a.system !== undefined)
    throw new DiagnosticError(
      usage({ problem: "--system is for --chat", help: "a text for --prompt may begin with anything", word: "--system" }),
    );
  if (!a.chat && a.allowControlTokens)
    throw new DiagnosticError(
      usage({
        problem: "--allow-control-tokens is for --chat",
        help: "--prompt takes them as they are",
        word: "--allow-control-tokens",
      }),
    );
  if (!a.chat && a.chatTemplate !== undefined)
    throw new DiagnosticError(
      usage({
        problem: "--chat-template is for --chat",
        help: "a text for --prompt is continued as it is",
        word: "--chat-template",
      }),
    );
  for (const option of ["json", "save", "stopEos"] as const)
    if (a.chat && a[option]) {
      const word = `--${option === "stopEos" ? "stop-eos" : option}`;
      throw new DiagnosticError(usage({ problem: `--chat does not go with ${word}`, help: "run --prompt or --ids", word }));
    }
  if (a.stopEos && a.ids === undefined)
    throw new DiagnosticError(
      usage({ problem: "--stop-eos is for --ids", help: "a text ends at the end token without it", word: "--stop-eos" }),
    );
  if (a.taps && a.save === undefined)
    throw new DiagnosticError(
      usage({
        problem: "--taps keeps hidden states and routes, and run shows none of them",
        help: "--save FILE.safetensors writes them, and needs no --taps",
        word: "--taps",
      }),
    );
  checkWhole("--max-new", a.maxNew, 1);
  checkWhole("--threads", a.threads, 1);
  checkWhole("--draft", a.draft, 0, 4);
  if (a.draft > 0 && a.save !== undefined)
    throw new DiagnosticError(
      usage({ problem: "--save keeps the logits of steps without drafts", help: "leave --draft out", word: "--draft" }),
    );
}

async function generateAll(
  a: Options,
  model: Model,
  { batch, nested }: Prompts,
  tokenizer: Tokenizer | undefined,
  sampling: Sampling,
  eos: readonly number[],
): Promise<{ saved: Saved; logits: Float32Array[] } | undefined> {
  const stop = a.prompt !== undefined || a.stopEos ? eos : [];
  const stream = tokenizer && !a.json ? new TextStream(tokenizer) : undefined;
  const out: number[][] = batch.map(() => []);
  let finish: (Finish | null)[] = [];
  let saved: Saved | undefined;
  const logits: Float32Array[] = [];
  let prefillMs = 0;
  const decode = { ms: 0, tokens: 0 };
  const count = { steps: 0, drafted: 0, accepted: 0 };
  const rows = batch.reduce((n, p) => n + p.length, 0);
  const steps = generate(model, batch, { ...sampling, maxNew: a.maxNew!, stop, draft: a.draft, ahead: a.save === undefined });
  for await (const step of firstDuring(`prefill of ${rows} tokens`, steps)) {
    if (step.index === 0) {
      prefillMs = step.ms;
      // Not before: on a terminal, progress is shown on the line where the text will stand.
      if (stream) process.stdout.write(a.prompt!);
      if (a.save !== undefined) saved = copyTaps(step.result);
    } else count.steps++;
    // The first decode step is left out: it meets kernels and memory for the first time.
    if (step.index > 1) {
      decode.ms += step.ms;
      decode.tokens += Math.max(...step.ids.map((ids) => ids.length));
    }
    if (saved) logits.push(step.result.logits(0).slice());
    count.drafted += step.drafted;
    count.accepted += step.accepted;
    finish = step.finish;
    for (const [b, ids] of step.ids.entries())
      for (const id of ids) {
        if (stop.includes(id)) continue;
        out[b].push(id);
        if (stream) process.stdout.write(stream.push(id));
      }
  }
  const kept = saved && { saved, logits };
  const perToken = decode.tokens ? decode.ms / decode.tokens : null;
  if (a.json) {
    process.stdout.write(
      JSON.stringify({
        ids: nested ? out : out[0],
        prompt_ids: nested ? batch : batch[0],
        ...(tokenizer ? { text: tokenizer.decode(out[0]) } : {}),
        finish: nested ? finish : finish[0],
        ...(sampling.temperature ? { seed: sampling.seed } : {}),
        prefill_ms: prefillMs,
        decode_ms_per_token: perToken,
        ...(a.draft ? { ...count, acceptance: count.drafted ? count.accepted / count.drafted : null } : {}),
      }) + "\n",
    );
    return kept;
  }
  if (stream) process.stdout.write(stream.end() + "\n");
  else for (const ids of out) process.stdout.write(ids.join(",") + "\n");
  const tokens = batch.reduce((n, p) => n + p.length, 0);
  const each =
    perToken === null
      ? ""
      : `, then ${perToken.toFixed(2)} ms per ${batch.length > 1 ? `step of ${batch.length} tokens` : "token"}`;
  const drafts = a.draft ? `; ${count.accepted} of ${count.drafted} drafts accepted, ${count.steps} steps` : "";
  const seed = sampling.temperature ? `; seed ${sampling.seed}` : "";
  process.stderr.write(
    `prefill of ${tokens} token${tokens === 1 ? "" : "s"} ${prefillMs.toFixed(1)} ms${each}${drafts}${seed}\n`,
  );
  return kept;
}
