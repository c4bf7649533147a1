// Bugs in the runtime: files, memory, threads, sessions, choosing ids, conversations.
import { bug, type Mutant } from "./mutant.ts";

const sample = (only: string): [string, string] => ["test/runtime/sample.test.ts", only];
const session = (only: string): [string, string] => ["test/runtime/session.test.ts", only];
const weights = (only: string): [string, string] => ["test/runtime/weights.test.ts", only];
const whole = (only: string): [string, string] => ["test/run/reference.test.ts", only];
const perplexity: [string, string] = ["test/run/tiny-r1.test.ts", "perplexity of eval.txt, expanded"];
const drafted = "ids that were drafted, taken or not";

export const runtime: readonly Mutant[] = [
  bug("11 a cut gives a page too many back", "runtime/pages.ts", "while (table.length > this.pagesFor(rows)) this.free.push(table.pop()!);", "while (table.length > this.pagesFor(rows - 1)) this.free.push(table.pop()!);", ["test/runtime/pages.test.ts"], "sequences share a page"),
  bug("12 growing copies a page too few", "runtime/cache.ts", "this.device.copy(this.blocks[layer], at, old);", "this.device.copy(this.blocks[layer], at, old - this.pageBytes);", session("the cache grows"), "rows are lost"),
  bug("14 scales of a joined second matrix begin a block late", "runtime/weights.ts", "piece.rows ? blocks(piece.rows[0]) * blocks(whole[1] ?? 1) : 0", "piece.rows ? (blocks(piece.rows[0]) + (piece.rows[0] > 128 ? 1 : 0)) * blocks(whole[1] ?? 1) : 0", whole("passes all FP8"), "R1's latents have other scales",
    { missed: "no joined FP8 matrix began past row 128" }),
  bug("34 windows leave out an id at each border", "runtime/score.ts", "at += length) runs.push", "at += length + 1) runs.push", ["test/runtime/score.test.ts"], "perplexities are of another text"),
  bug("35 ids are scored against themselves", "runtime/score.ts", "vocab, run[r + 1])", "vocab, run[r])", perplexity, "perplexities mean nothing"),
  bug("36 top-p keeps one id too many", "runtime/sample.ts", "while (n < large.length && sum < need)", "while (n < large.length && sum <= need)", sample("top-p keeps the fewest"), "answers are drawn from more than was asked"),
  bug("38 the penalty divides negative logits", "runtime/sample.ts", "out[id] > 0 ? out[id] / this.options.repeatPenalty : out[id] * this.options.repeatPenalty", "out[id] / this.options.repeatPenalty", sample("probabilities are those"), "repetition is rewarded"),
  bug("39 rejected drafts are drawn from p", "runtime/sample.ts", "p.map((x, i) => Math.max(0, x - q[i]))", "p.map((x) => x)", sample(drafted), "drafts change the distribution"),
  bug("40 drafts are judged with the word that drew them", "runtime/sample.ts", "draw(seed, position, sequence, 1) * q[id] < p[id]", "draw(seed, position, sequence, 2) * q[id] < p[id]", sample(drafted), "drafts change the distribution"),
  bug("41 a cut keeps the extra layer's rows", "runtime/session.ts", "this.cutDraft(sequence, draftLength ?? Math.max(0, length - 1));", "this.cutDraft(sequence, this.draftRows[sequence] ?? 0);", session("the extra layer"), "drafts are stale after a cut",
    { missed: "answers do not change, and no test looked at the layer's rows" }),
  bug("42 gaps and overlaps between tensors pass", "runtime/safetensors-header.ts", "if (t.begin !== at) throw", "if (t.begin < 0) throw", ["test/runtime/safetensors.test.ts"], "damaged files load"),
  bug("43 digests are not compared", "runtime/load.ts", "if (seen === digest) return data;", "if (seen) return data;", ["test/runtime/load.test.ts"], "altered kernels run"),
  bug("47 rope tables never grow", "runtime/session.ts", "Math.max(FIRST_POSITIONS, 2 ** Math.ceil(Math.log2(longest)))", "FIRST_POSITIONS", whole("4,200 rows"), "positions past 4096 are noise", { missed: "no test had so many rows" }),
  bug("53 the last of many threads leaves out its last cell", "runtime/devices/execute.ts", "const end = Math.floor((cells * (index + 1)) / count);", "const end = Math.floor((cells * (index + 1)) / count) - (index === count - 1 && count > 2 && cells > 64 ? 1 : 0);", whole("passes all prompts of more"), "rows are stale",
    { missed: "no test had three threads and 65 cells" }),
  bug("56 rows are kept although the template changed them", "runtime/chat.ts", "kept < ids.length - 1 && held[kept] === ids[kept]", "kept < ids.length - 1", ["test/run/chat.test.ts", "rows are kept up to"], "answers are to something else"),
  bug("58 a later, long prompt begins a row late", "runtime/batch.ts", "positions[starts[i] + j] = e.before + j;", "positions[starts[i] + j] = e.before + j + (i > 0 && e.tokens.length > 64 ? 1 : 0);", whole("passes all prompts of more"), "batches differ from single prompts",
    { missed: "later prompts of a batch had fewer than 64 rows" }),
  bug("62 top-k: all ids at the edge stay", "runtime/sample.ts", "(l[i] === edge && atEdge-- > 0)", "l[i] === edge", sample("probabilities are those"), "answers are drawn from more than was asked"),
  bug("63 seeds lose their high word", "runtime/random.ts", "[seed >>> 0, Math.floor(seed / 2 ** 32)]", "[seed >>> 0, 0]", sample("a draw depends"), "seeds repeat each other"),
  bug("72 e8m0 is read one exponent low", "runtime/widen.ts", "2 ** (codes[i] - 127)", "2 ** (codes[i] - 128)", weights("experts packed"), "FP8 weights are half of what they should be"),
  bug("73 reasoning that the prompt opens is shown as the answer", "runtime/reasoning.ts", "this.afterMark = prompt.trimEnd().endsWith(OPEN);", "this.afterMark = false;", ["test/runtime/text.test.ts", "reasoning"], "the next prompt holds what templates leave out"),
  bug("74 stop ids are looked at a step late", "runtime/generate.ts", "line.pending = id;\n      if (sampler.penalises) line.seen.add(id);\n      line.finish = stop.has(id)", "const was = line.pending;\n      line.pending = id;\n      if (sampler.penalises) line.seen.add(id);\n      line.finish = stop.has(was)", session("greedy generation"), "answers go on past their end"),
  bug("76 a replica is not refreshed", "runtime/devices/segments.ts", "mirrors.values()) m.fresh = false;", "mirrors.values()) void m;", ["test/runtime/segments.test.ts", "blocks used together"], "large models read stale weights"),
  bug("77 what a launch updates is not brought to its segment", "runtime/devices/router.ts", `for (const { operand } of uses) if (operand.kind === "value") this.bring(operand.from, operand.to, this.here);`, `for (const { operand, written } of uses) if (operand.kind === "value" && !written) this.bring(operand.from, operand.to, this.here);`, ["test/runtime/segments.test.ts", "what a launch writes in part"], "large models are wrong",
    { missed: "no model of the tests has a value whose parts are made in two segments" }),
  bug("78 F8_E5M2 passes for F8_E4M3", "runtime/place.ts", `["BF16"] : ["F8_E4M3"];`, `["BF16"] : ["F8_E4M3", "F8_E5M2"];`, weights("FP8 of another format"), "another format is read as e4m3", { missed: "no test offered it" }),
  bug("80 <bos> is left out of windows", "runtime/score.ts", "window : window - 1, bos)", "window : window - 1, null)", perplexity, "perplexities are of another text"),
  bug("top-k keeps one id more", "runtime/sample.ts", "kthLargest(l, topK)", "kthLargest(l, topK + 1)", sample("probabilities are those"), "answers are drawn from more than was asked"),
  bug("a temperature is by ln 2 off", "runtime/sample.ts", "1 / (temperature * Math.LN2)", "1 / temperature", sample("probabilities are those"), "answers are too sure"),
  bug("Philox has nine rounds", "runtime/random.ts", "round < 10", "round < 9", sample("Philox"), "a seed draws other ids than a GPU"),
  bug("a new prompt does not forget the old one", "runtime/session.ts", "this.ids.forEach((_, b) => this.truncate(b, 0));", "", session("what a user can do|many sequences|prefill"), "answers are to something else"),
  bug("every row is of the first sequence", "runtime/batch.ts", "sequence[starts[i] + j] = i;", "sequence[starts[i] + j] = 0;", session("prefill, extend and decode"), "sequences mix"),
  bug("the last page of a sequence is not in its table", "runtime/batch.ts", "p * pageRows < lengths[i] ? page", "(p + 1) * pageRows <= lengths[i] ? page", session("prefill, extend and decode"), "sequences mix"),
  bug("an answer is one id longer than asked", "runtime/generate.ts", "++line.made >= options.maxNew", "++line.made > options.maxNew", session("greedy generation"), "limits do not hold"),
  bug("widening bf16 shifts by 15", "runtime/widen.ts", "out[i] = bits[i] << 16;", "out[i] = bits[i] << 15;", weights("bf16 and f16 widen"), "every weight is another"),
  bug("scales of another shape pass", "runtime/place.ts", "if (!same(s.shape, p.scales.shape))", "if (s.shape.length > 16)", weights("scales"), "blocks have other scales"),
  bug("a value that was written elsewhere counts as here", "runtime/devices/router.ts", `if (written && operand.kind === "value") this.coherence.wrote(`, `if (written && operand.kind === "value" && this.here < 0) this.coherence.wrote(`, ["test/runtime/segments.test.ts", "examples/tiny-r1, passes all"], "large models are wrong"),
  bug("one tensor in two shards passes", "runtime/safetensors.ts", "if (other) throw", "if (other && t.name === \"\") throw", ["test/runtime/safetensors.test.ts"], "which of the two is read is chance"),
  bug("a system message is forgotten at a reset", "runtime/chat.ts", "this.begin();\n    this.session.truncate(0, 0);", "this.messages.length = 0;\n    this.session.truncate(0, 0);", ["test/run/chat.test.ts", "a system message"], "the model forgets its orders"),
];
