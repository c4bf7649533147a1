// dsc run SRC_OR_OUT: tokens. A config or model folder is compiled into the cache first; an artifact runs as it is.
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import type { Manifest, ModelFacts } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { TextStream, argmax, load, saveTensors, type Model, type Result, type Tokenizer } from "../../runtime/index.ts";
import { makeFolder } from "../artifact.ts";
import { badIds, cannotWrite, idOutside, tooManyPositions, usage } from "../diagnostics.ts";
import { checkWhole, compileFlags } from "./options.ts";
import { sourceOf, tokenizerOf, type SourceFlags } from "./source.ts";

interface Options extends SourceFlags {
  prompt?: string;
  ids?: string;
  maxNew: number;
  stopEos: boolean;
  json: boolean;
  save?: string;
  threads?: number;
}

export const run = {
  command: "run <src>",
  describe: "greedy tokens from a model folder, a config with weights, or an artifact",
  builder: (y: Argv): Argv<Options> =>
    compileFlags(
      y
        .positional("src", { type: "string", demandOption: true, describe: "a model folder, a config.json, or an artifact" })
        .option("weights", { type: "string", describe: "a checkpoint folder, or synthetic:SEED (default: the model folder)" })
        .option("prompt", { type: "string", describe: "text; stops at the end token" })
        .option("ids", { type: "string", describe: "1,2,3 or a JSON file with ids, or with arrays of ids for a batch" })
        .option("max-new", { type: "number", demandOption: true, describe: "tokens to make" })
        .option("stop-eos", { type: "boolean", default: false, describe: "stop at the end token with --ids too" })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" })
        .option("save", { type: "string", describe: "write logits, hidden states and routes to a .safetensors file" })
        .option("threads", { type: "number", describe: "worker threads (default: the cores there are)" }),
    ) as unknown as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if ((a.prompt === undefined) === (a.ids === undefined)) throw new DiagnosticError(usage(`run: give ${a.ids === undefined ? "" : "only one of "}--prompt TEXT or --ids LIST`));
    checkWhole("--max-new", a.maxNew, 1);
    checkWhole("--threads", a.threads, 1);
    const source = await sourceOf(a, a.save === undefined ? undefined : "--save");
    const { folder, weights } = source;
    const tokenizer = a.prompt === undefined ? undefined : await tokenizerOf(source, "--prompt");
    const { model: facts } = JSON.parse(readFileSync(path.join(folder, "manifest.json"), "utf8")) as Pick<Manifest, "model">;
    const prompts = a.prompt === undefined ? readIds(a.ids!) : withBos(tokenizer!, a.prompt, facts.bos);
    checkFit(prompts.batch, a.maxNew, facts);
    if (a.save && prompts.batch.length > 1) throw new DiagnosticError(usage("--save keeps one sequence; the batch has several", "run the prompts one by one"));
    if (a.save !== undefined) checkWritable(a.save);
    const model = await load(folder, { weights, ...(a.threads ? { threads: a.threads } : {}) });
    try {
      await generateAll(a, model, prompts, tokenizer);
    } finally {
      await model.close();
    }
  },
};

interface Prompts {
  batch: number[][];
  nested: boolean;
}

function readIds(word: string): Prompts {
  let value: unknown;
  if (/^\s*-?\d+(\s*,\s*-?\d+)*\s*$/.test(word)) value = word.split(",").map(Number);
  else if (word.trim() === "") throw new DiagnosticError(badIds(JSON.stringify(word), "there are no ids"));
  else {
    let text: string;
    try {
      text = readFileSync(word, "utf8");
    } catch (e) {
      throw new DiagnosticError(badIds(word, (e as Error).message));
    }
    try {
      value = JSON.parse(text);
    } catch (e) {
      throw new DiagnosticError(badIds(word, `not JSON: ${(e as Error).message}`));
    }
  }
  const isIds = (v: unknown): v is number[] => Array.isArray(v) && v.length > 0 && v.every((x) => Number.isSafeInteger(x) && (x as number) >= 0);
  if (isIds(value)) return { batch: [value], nested: false };
  if (Array.isArray(value) && value.length > 0 && value.every(isIds)) return { batch: value as number[][], nested: true };
  throw new DiagnosticError(badIds(word, "ids are whole numbers from 0 up, in an array or an array of such arrays, none of them empty"));
}

function withBos(tokenizer: Tokenizer, prompt: string, bos: number | null): Prompts {
  const ids = tokenizer.encode(prompt);
  const batch = [bos !== null && ids[0] !== bos ? [bos, ...ids] : ids];
  if (batch[0].length === 0) throw new DiagnosticError(usage("--prompt is empty, and the model has no token that begins a text"));
  return { batch, nested: false };
}

/** Before any weight is read: ids in the vocabulary, and positions for what is asked (the last new token needs none). */
function checkFit(batch: readonly number[][], maxNew: number, { vocab, maxPositions }: ModelFacts): void {
  for (const [b, ids] of batch.entries()) {
    const at = ids.findIndex((id) => id >= vocab);
    if (at >= 0) throw new DiagnosticError(idOutside(batch.length > 1 ? b : undefined, at, ids[at], vocab));
    if (ids.length + maxNew - 1 > maxPositions) throw new DiagnosticError(tooManyPositions(batch.length > 1 ? b : undefined, ids.length, maxNew, maxPositions));
  }
}

async function generateAll(a: ArgumentsCamelCase<Options>, model: Model, { batch, nested }: Prompts, tokenizer: Tokenizer | undefined): Promise<void> {
  const stop = a.prompt !== undefined || a.stopEos;
  const { eos } = model.manifest.model;
  const session = model.session({ maxTokens: Math.max(...batch.map((p) => p.length)) + a.maxNew - 1 });
  const streams = tokenizer && !a.json ? new TextStream(tokenizer) : undefined;
  if (streams) process.stdout.write(a.prompt!);
  const out: number[][] = batch.map(() => []);
  const done = batch.map(() => false);
  const steps: Float32Array[] = [];

  let from = performance.now();
  let result = await session.prefill(batch);
  const prefillMs = performance.now() - from;
  const saved = a.save === undefined ? undefined : copyTaps(result);
  const decode: number[] = [];
  for (let i = 0; ; i++) {
    const next = batch.map((_, b): number | null => (done[b] ? null : argmax(result.logits(b))));
    if (saved) steps.push(result.logits(0).slice());
    for (const [b, id] of next.entries()) {
      if (id === null) continue;
      if (stop && eos.includes(id)) {
        done[b] = true;
        next[b] = null;
        continue;
      }
      out[b].push(id);
      if (streams) process.stdout.write(streams.push(id));
      if (out[b].length >= a.maxNew) {
        done[b] = true;
        next[b] = null;
      }
    }
    if (done.every((d) => d)) break;
    from = performance.now();
    result = await session.decode(next);
    if (i > 0) decode.push(performance.now() - from);
  }
  if (saved) await save(a.save!, model, batch[0], saved, steps);
  session.close();
  const perToken = decode.length ? decode.reduce((x, y) => x + y, 0) / decode.length : null;
  if (a.json) {
    const text = tokenizer ? { text: tokenizer.decode(out[0]) } : {};
    process.stdout.write(JSON.stringify({ ids: nested ? out : out[0], prompt_ids: nested ? batch : batch[0], ...text, prefill_ms: prefillMs, decode_ms_per_token: perToken }) + "\n");
  } else if (streams) process.stdout.write("\n");
  else for (const ids of out) process.stdout.write(ids.join(",") + "\n");
  const tokens = batch.reduce((n, p) => n + p.length, 0);
  const each = perToken === null ? "" : `, then ${perToken.toFixed(2)} ms per ${batch.length > 1 ? `step of ${batch.length} tokens` : "token"}`;
  if (!a.json) process.stderr.write(`prefill of ${tokens} token${tokens === 1 ? "" : "s"} ${prefillMs.toFixed(1)} ms${each}\n`);
}

/** Says so before the work, not after it. */
function checkWritable(file: string): void {
  try {
    if (existsSync(file) && statSync(file).isDirectory()) throw new Error("it is a folder");
    makeFolder(path.dirname(path.resolve(file)));
  } catch (e) {
    throw new DiagnosticError(cannotWrite(file, (e as Error).message));
  }
}

type Saved = Record<string, { shape: number[]; data: Float32Array | Int32Array }>;

const copyTaps = (r: Result): Saved => Object.fromEntries(Object.entries(r.taps).map(([k, t]) => [k, { shape: [...t.shape], data: t.data.slice() }]));

/** logits, hidden.0 .. hidden.L, final_norm, route.N.*, greedy_logits, and mtp.logits where the extra layer exists. */
async function save(file: string, model: Model, prompt: number[], taps: Saved, steps: Float32Array[]): Promise<void> {
  const { final, ...rest } = taps;
  const out: Saved = { ...rest, ...(final ? { final_norm: final } : {}) };
  const vocab = model.manifest.model.vocab;
  const greedy = new Float32Array(steps.length * vocab);
  steps.forEach((s, i) => greedy.set(s, i * vocab));
  out.greedy_logits = { shape: [steps.length, vocab], data: greedy };
  if (model.manifest.entries.draft !== undefined && final) {
    const session = model.session({ maxTokens: prompt.length });
    const drafted = await session.draft([[...prompt.slice(1), argmax(steps[0])]], final.data as Float32Array);
    out["mtp.logits"] = { shape: drafted.taps.logits.shape, data: drafted.taps.logits.data.slice() };
    session.close();
  }
  // Expert indices are i64 in the files others write, so here too.
  await saveTensors(
    file,
    Object.entries(out).map(([name, { shape, data }]) =>
      data instanceof Float32Array ? { name, shape, dtype: "F32", data } : { name, shape, dtype: "I64", data: BigInt64Array.from(data, BigInt) },
    ),
  );
}
