// Sessions on the GPU, on tiny-r1: the same seed gives the CPU's ids, drafts and batches change nothing, the cache grows, a conversation
// goes on, and the perplexity is the reference's. Greedy ids are held to the CPU's with exact activations, where only f32 rounds.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { chat, generate, load, loadTokenizer, score, type GenerateOptions, type Model } from "../../runtime/index.ts";
import type { Row } from "./device.ts";
import { open, root } from "./models.ts";

const tiny = path.join(root, "examples/tiny-r1");
const expected = JSON.parse(readFileSync(path.join(tiny, "expected.json"), "utf8")) as {
  prompts: { prompt_ids: number[] }[];
  eval: { modes: Record<string, { perplexity: number }> };
};
const prompts = expected.prompts.map((p) => p.prompt_ids);

interface Answer {
  ids: number[][];
  steps: number;
  drafted: number;
  accepted: number;
}

async function answer(model: Model, batch: number[][], options: GenerateOptions): Promise<Answer> {
  const out: Answer = { ids: batch.map(() => []), steps: 0, drafted: 0, accepted: 0 };
  for await (const s of generate(model, batch, options)) {
    s.ids.forEach((ids, b) => out.ids[b].push(...ids));
    out.steps += s.index > 0 ? 1 : 0;
    out.drafted += s.drafted;
    out.accepted += s.accepted;
  }
  return out;
}

/** Ids up to where the first answers part, of all. */
const common = (a: number[][], b: number[][]): { same: number; of: number } => ({
  same: a.reduce((n, ids, i) => n + (ids.findIndex((id, j) => id !== b[i][j]) + 1 || ids.length + 1) - 1, 0),
  of: a.reduce((n, ids) => n + ids.length, 0),
});

const sampling = { temperature: 0.8, topK: 50, topP: 0.95, repeatPenalty: 1.1, seed: 3, maxNew: 40 };

/** What the CPU of the same machine answers. */
async function onCpu(): Promise<{ greedy: number[][]; sampled: number[][]; drafted: number[][] }> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-cpu-"));
  writeArtifact(compile(tiny, { ...defaults, actQuant: "none" }), folder);
  const model = await load(folder, { weights: tiny });
  try {
    return {
      greedy: (await answer(model, prompts, { maxNew: 40 })).ids,
      sampled: (await answer(model, prompts, sampling)).ids,
      drafted: (await answer(model, prompts, { ...sampling, draft: 2 })).ids,
    };
  } finally {
    await model.close();
    rmSync(folder, { recursive: true });
  }
}

async function idRows(model: Model): Promise<Row[]> {
  const cpu = await onCpu();
  const greedy = await answer(model, prompts, { maxNew: 40 });
  const sampled = await answer(model, prompts, sampling);
  const alone: number[][] = [];
  for (const p of prompts) alone.push(...(await answer(model, [p], { maxNew: 40 })).ids);
  const row = (what: string, got: number[][], want: number[][], more: Row = {}): Row => {
    const { same, of } = common(want, got);
    return { what, same, of, ok: same === of, ...more };
  };
  const rows = [
    row("greedy as on the CPU", greedy.ids, cpu.greedy),
    row("seed as on the CPU", sampled.ids, cpu.sampled),
    row("batch as alone", greedy.ids, alone),
  ];
  for (const draft of [1, 2, 4]) {
    const [g, s] = [await answer(model, prompts, { maxNew: 40, draft }), await answer(model, prompts, { ...sampling, draft })];
    rows.push(
      row(`draft ${draft}, greedy`, g.ids, greedy.ids, {
        steps: g.steps,
        without: greedy.steps,
        acceptance: g.accepted / g.drafted,
      }),
    );
    if (draft === 2)
      rows.push(
        row("draft 2, seed as on the CPU", s.ids, cpu.drafted, {
          steps: s.steps,
          without: sampled.steps,
          acceptance: s.accepted / s.drafted,
        }),
      );
  }
  return rows;
}

/** 640 steps while the cache grows and the rope tables move, then the same rows by one prefill. */
async function growth(model: Model): Promise<Row> {
  const session = model.session();
  const ids = [...prompts[0]];
  let result = await session.prefill([ids]);
  const sizes = new Set([session.pages.capacity]);
  for (let i = 0; i < 640; i++) {
    if (i === 300) {
      // As if the tables had been outgrown.
      Object.assign(model, { ropePositions: 0 });
      model.ensureRope(1024);
    }
    ids.push(result.next(0));
    result = await session.decode([ids.at(-1)!]);
    sizes.add(session.pages.capacity);
  }
  const stepped = result.logits(0).slice();
  const again = await session.prefill([ids]);
  const apart = again.logits(0).reduce((most, v, i) => Math.max(most, Math.abs(v - stepped[i])), 0);
  session.close();
  return { what: "growing cache", pages: [...sizes].join(" "), apart, ok: sizes.size > 1 && apart < 5e-3 };
}

async function conversation(model: Model): Promise<Row> {
  const talk = await chat(model, await loadTokenizer(tiny), { maxNew: 24, draft: 1 });
  let text = "";
  for (const line of ["Emma was not in a humour to be pleased.", "And he?"]) for await (const p of talk.say(line)) text += p.text;
  const { kept, prefilled, accepted, drafted } = talk.last!;
  talk.close();
  return { what: "second turn", kept, prefilled, accepted, drafted, text, ok: kept > 30 && prefilled < 15 && text.length > 60 };
}

export async function check(): Promise<Row[]> {
  const rows: Row[] = [];
  const { model } = await open(tiny, tiny, { activations: "f32", actQuant: "none" });
  rows.push(...(await idRows(model)), await growth(model), await conversation(model));
  await model.close();
  const ids = (await loadTokenizer(tiny)).encode(readFileSync(path.join(tiny, "eval.txt"), "utf8"), { special: false });
  for (const [attention, activations] of [
    ["expanded", "bf16"],
    ["absorbed", "f32"],
  ] as const) {
    const taps = await open(tiny, tiny, { activations, attention, taps: true });
    const from = performance.now();
    const { perplexity } = await score(taps.model, ids);
    const want = expected.eval.modes[`fp8_${attention}`].perplexity;
    rows.push({
      what: "perplexity",
      attention,
      activations,
      perplexity,
      reference: want,
      ms: performance.now() - from,
      ok: Math.abs(perplexity - want) < (activations === "f32" ? 0.02 : 0.1),
    });
    await taps.model.close();
  }
  return rows;
}
