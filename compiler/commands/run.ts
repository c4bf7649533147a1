// dsc run SRC_OR_OUT: tokens. A config or model folder is compiled into the cache first; an artifact runs as it is.
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { TextStream, argmax, load, loadTokenizer, readArtifact, saveTensors, type Model, type Result, type Tokenizer } from "../../runtime/index.ts";
import { cacheArtifact } from "../artifact.ts";
import { compile } from "../compile.ts";
import { badIds, compileOptionOnArtifact, needsTaps, usage } from "../diagnostics.ts";
import { storesF32 } from "../stored.ts";
import { compileFlagNames, compileFlags, optionsOf, type CompileFlags } from "./options.ts";

interface Options extends CompileFlags {
  src: string;
  weights?: string;
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
    ).conflicts("prompt", "ids") as unknown as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if (a.prompt === undefined && a.ids === undefined) throw new DiagnosticError(usage("give --prompt TEXT or --ids LIST"));
    if (!Number.isSafeInteger(a.maxNew) || a.maxNew < 1) throw new DiagnosticError(usage(`--max-new ${a.maxNew}: give a whole number of at least 1`));
    if (a.threads !== undefined && (!Number.isSafeInteger(a.threads) || a.threads < 1)) throw new DiagnosticError(usage(`--threads ${a.threads}: give a whole number of at least 1`));
    const { folder, beside } = await artifactOf(a);
    const weights = a.weights ?? beside;
    if (weights === undefined) throw new DiagnosticError(usage("an artifact holds no weights", "give --weights DIR, or --weights synthetic:0"));
    const tokenizer = a.prompt === undefined ? undefined : await loadTokenizer(weights.startsWith("synthetic:") ? (beside ?? ".") : folderOf(weights));
    const prompts = a.prompt === undefined ? readIds(a.ids!) : withBos(tokenizer!, a.prompt, folder);
    if (a.save && prompts.batch.length > 1) throw new DiagnosticError(usage("--save keeps one sequence; the batch has several", "run the prompts one by one"));
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

async function artifactOf(a: ArgumentsCamelCase<Options>): Promise<{ folder: string; beside?: string }> {
  if (existsSync(path.join(a.src, "manifest.json"))) {
    const given = compileFlagNames.filter((n) => process.argv.some((w) => w === `--${n}` || w.startsWith(`--${n}=`)));
    if (given.length) throw new DiagnosticError(compileOptionOnArtifact(given.map((n) => `--${n}`)));
    const { manifest } = await readArtifact(a.src);
    if (a.save && !manifest.options.taps) throw new DiagnosticError(needsTaps());
    return { folder: a.src };
  }
  const c = compile(a.src, { ...optionsOf(a), taps: a.taps || a.save !== undefined, storesF32: await storesF32(a.weights ?? a.src) });
  for (const w of c.warnings) process.stderr.write(render(w) + "\n");
  return { folder: cacheArtifact(c), beside: statSync(a.src).isDirectory() ? a.src : path.dirname(a.src) };
}

const folderOf = (p: string): string => (existsSync(p) && statSync(p).isDirectory() ? p : path.dirname(p));

function readIds(word: string): Prompts {
  let value: unknown;
  if (/^\s*\d+(\s*,\s*\d+)*\s*$/.test(word)) value = word.split(",").map(Number);
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
  throw new DiagnosticError(badIds(word, "it is neither an array of ids nor an array of such arrays"));
}

function withBos(tokenizer: Tokenizer, prompt: string, folder: string): Prompts {
  const bos = (JSON.parse(readFileSync(path.join(folder, "manifest.json"), "utf8")) as { model: { bos: number | null } }).model.bos;
  const ids = tokenizer.encode(prompt);
  return { batch: [bos !== null && ids[0] !== bos ? [bos, ...ids] : ids], nested: false };
}

async function generateAll(a: ArgumentsCamelCase<Options>, model: Model, { batch, nested }: Prompts, tokenizer: Tokenizer | undefined): Promise<void> {
  const stop = a.prompt !== undefined || a.stopEos;
  const { eos, maxPositions } = model.manifest.model;
  const longest = Math.max(...batch.map((p) => p.length)) + a.maxNew;
  const session = model.session({ maxTokens: Math.min(longest, maxPositions) });
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
  if (saved) await save(a.save!, model, batch[0], out[0], saved, steps);
  session.close();
  const perToken = decode.length ? decode.reduce((x, y) => x + y, 0) / decode.length : null;
  if (a.json) {
    const text = tokenizer ? { text: tokenizer.decode(out[0]) } : {};
    process.stdout.write(JSON.stringify({ ids: nested ? out : out[0], prompt_ids: nested ? batch : batch[0], ...text, prefill_ms: prefillMs, decode_ms_per_token: perToken }) + "\n");
  } else if (streams) process.stdout.write("\n");
  else for (const ids of out) process.stdout.write(ids.join(",") + "\n");
  if (!a.json && perToken !== null) process.stderr.write(`prefill ${prefillMs.toFixed(1)} ms, ${perToken.toFixed(2)} ms per token\n`);
}

type Saved = Record<string, { shape: number[]; data: Float32Array | Int32Array }>;

const copyTaps = (r: Result): Saved => Object.fromEntries(Object.entries(r.taps).map(([k, t]) => [k, { shape: [...t.shape], data: t.data.slice() }]));

/** logits, hidden.0 .. hidden.L, final_norm, route.N.*, greedy_logits, and mtp.logits where the extra layer exists. */
async function save(file: string, model: Model, prompt: number[], ids: number[], taps: Saved, steps: Float32Array[]): Promise<void> {
  const { final, ...rest } = taps;
  const out: Saved = { ...rest, ...(final ? { final_norm: final } : {}) };
  const vocab = model.manifest.model.vocab;
  const greedy = new Float32Array(steps.length * vocab);
  steps.forEach((s, i) => greedy.set(s, i * vocab));
  out.greedy_logits = { shape: [steps.length, vocab], data: greedy };
  if (model.manifest.entries.draft !== undefined && final) {
    const session = model.session({ maxTokens: prompt.length });
    const drafted = await session.draft([[...prompt.slice(1), ids[0]]], final.data as Float32Array);
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
