// Every line of every generated text is known: what it is, the ops it serves, and where its numbers came from.
import { describe, expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { linesOf, type KernelLines, type Line } from "../../compiler/analysis/lines.ts";
import type { Origins } from "../../compiler/analysis/origins.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { processors } from "../../codegen/loops/processor.ts";
import { targetOf } from "../../codegen/target.ts";
import { meet, numbered } from "../../compiler/analysis/aligned.ts";
import { onCpu, type Manifest } from "../../ir/artifact.ts";
import { opNamed } from "../../ir/ops/index.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { at, dsc, r1, refusal } from "./dsc.ts";
import { lacks } from "../conditions.ts";
import { supported, textOf, withKeys, type Config } from "../frontend/configs.ts";

// Code of these libraries is never run.
process.env.CFLAGS = "-O0";

const targets = ["cpu", "cuda", "triton"] as const;
type Target = CompileOptions["target"];

interface Made {
  manifest: Manifest;
  text(kernel: string): string;
  problems: Record<string, Problem>;
  origins: Origins;
  backend: ReturnType<typeof targetOf>;
}

function made(config: Config, target: Target, natives = "all"): Made {
  const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
  const activations = onCpu(target) ? "f32" : "bf16";
  const arch = target === "c" ? { arch: processors[0].name } : {};
  const { manifest, files } = compileSpec(spec, { ...defaults, activations, natives, target, ...arch });
  const read = <T>(name: string): T => JSON.parse(String(files.get(name))) as T;
  return {
    manifest,
    text: (kernel) => String(files.get({ ...manifest.system, ...manifest.kernels }[kernel].text)),
    problems: read("problems.json"),
    origins: read("origins.json"),
    backend: targetOf(target, { activations, natives, processor: processors[0] }),
  };
}

/** A kernel's lines; without `numbers` what they are of alone. */
function linesIn({ manifest, text, problems, origins, backend }: Made, kernel: string, numbers = true): KernelLines {
  const facts = { kernel, manifest, text: text(kernel), problem: problems[kernel] };
  return linesOf(numbers ? { ...facts, target: backend } : facts, origins);
}

/** How long a text may be whose numbers are looked at here: what makes one does not depend on how often its code is written out. */
const MOST_LINES = { cpu: 220, c: 220, cuda: 450, triton: 450 } as const;

/** The shortest kernel of every family, if it is short, and the runtime's. */
function ofEveryFamily({ manifest, text }: Made): string[] {
  const by = new Map<string, string>();
  const length = (name: string): number => text(name).split("\n").length;
  for (const [name, { family }] of Object.entries(manifest.kernels)) {
    const known = by.get(family);
    if (known === undefined || length(name) < length(known)) by.set(family, name);
  }
  const short = [...by.values()].filter((name) => length(name) <= MOST_LINES[manifest.target as keyof typeof MOST_LINES]);
  return [...short, ...Object.keys(manifest.system ?? {})];
}

/** Numbers of code and of comments, as a reader sees them. */
const count = (line: string): number =>
  [...line.matchAll(/(?<![\w.$])(?:0x[\da-fA-F]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=f?\b|\b|f\b)/g)].length;

const NAMED: ReadonlySet<string> = new Set(["header", "helper", "statement"]);

/** What is wrong with what is said of a line. */
function faults(l: Line, traced: boolean): string[] {
  const out: string[] = [];
  if (!l.origins.length) out.push("no op");
  if (NAMED.has(l.kind) && !l.name) out.push("no name");
  if (l.computes?.some((op) => !opNamed(op))) out.push("no such op");
  for (const o of l.origins) {
    if (!o.keys.length) out.push("no key");
    if (!o.graph) out.push("no line of the graph");
    if (traced && o.constants.length !== count(l.text)) out.push("a number that is not spoken of");
    if (o.constants.some((c) => !c.from || c.from.includes("undefined") || c.from === "the site, as a whole"))
      out.push("no reason");
  }
  return out;
}

describe.each([...targets, "c"] as const)("for %s", (target) => {
  // C has the tile programs of cpu, so that one model shows what its printer says.
  const names = target === "c" ? ["DeepSeek-R1"] : ["DeepSeek-R1", "Kimi-K2", "DeepSeek-V2-Lite"];
  const needed = target === "c" ? (["C compiler"] as const) : [];
  test.skipIf(lacks(...needed)).each(names)("every line of %s is of an op with keys, or has a name", (name) => {
    // A few layers have all kernels.
    const m = made(withKeys(supported[name], { num_hidden_layers: 5 }), target);
    const traced = new Set(name === "DeepSeek-R1" ? ofEveryFamily(m) : []);
    let lines = 0;
    const bad: string[] = [];
    for (const kernel of [...Object.keys(m.manifest.kernels), ...Object.keys(m.manifest.system ?? {})])
      for (const l of linesIn(m, kernel, traced.has(kernel)).lines) {
        lines++;
        for (const fault of faults(l, traced.has(kernel))) bad.push(`${kernel}:${l.line}: ${fault}: ${l.text}`);
      }
    expect(bad.slice(0, 20)).toEqual([]);
    expect(lines).toBeGreaterThan(500);
    expect(Object.values(m.origins.kernels).some((k) => k.lines.some(([, , , ops]) => ops?.includes("rms_norm")))).toBe(true);
    const { launches, nodes, fields } = m.origins;
    for (const l of launches) {
      expect(l.node, `${l.site} ${l.kernel}`).toBeDefined();
      expect(nodes[l.node!].keys.length, nodes[l.node!].line).toBeGreaterThan(0);
    }
    expect(fields.flatMap((f) => Object.values(f)).filter((f) => f.from === "the site, as a whole")).toEqual([]);
  });
});

/** Sizes that are no sum or product of two others, and none of the numbers that kernels have of themselves. */
const different: Config = withKeys(supported["DeepSeek-R1"], {
  num_hidden_layers: 4,
  hidden_size: 128 * 17,
  num_attention_heads: 23,
  num_key_value_heads: 23,
  q_lora_rank: 128 * 13,
  kv_lora_rank: 128 * 3,
  qk_nope_head_dim: 208,
  qk_rope_head_dim: 44,
  v_head_dim: 144,
  intermediate_size: 128 * 29,
  moe_intermediate_size: 128 * 7,
  vocab_size: 10007,
  n_routed_experts: 78,
  n_group: 6,
  topk_group: 4,
  num_experts_per_tok: 5,
  max_position_embeddings: 4801,
  rope_scaling: null,
});

test.each(targets)("for %s a number that is a size of the config says so, and no other number says it is that size", (target) => {
  const keys = [
    "hidden_size",
    "q_lora_rank",
    "intermediate_size",
    "moe_intermediate_size",
    "vocab_size",
    "max_position_embeddings",
  ];
  const sizes = new Map(keys.map((k) => [String(different[k]), k]));
  const m = made(different, target);
  let seen = 0;
  const bad: string[] = [];
  for (const kernel of ofEveryFamily(m))
    for (const l of linesIn(m, kernel).lines)
      for (const c of l.origins.flatMap((o) => o.constants)) {
        const key = sizes.get(c.text);
        if (key !== undefined) seen++;
        // Words that are one key alone are of a number that is its value.
        const right = keys.includes(c.from) ? c.text === String(different[c.from]) : true;
        if (!right || (key !== undefined && !c.keys.includes(key)))
          bad.push(`${kernel}:${l.line}: ${l.text.trim()}\n${c.text}: ${c.from}`);
      }
  expect(bad).toEqual([]);
  expect(seen).toBeGreaterThan(50);
});

/** As many sizes as can be are the same number. */
const alike: Config = withKeys(supported["DeepSeek-R1"], {
  num_hidden_layers: 4,
  hidden_size: 512,
  num_attention_heads: 64,
  num_key_value_heads: 64,
  q_lora_rank: 512,
  kv_lora_rank: 512,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 64,
  v_head_dim: 64,
  intermediate_size: 512,
  moe_intermediate_size: 512,
  vocab_size: 512,
  n_routed_experts: 64,
  n_group: 8,
  topk_group: 8,
  num_experts_per_tok: 8,
  n_shared_experts: 1,
  max_position_embeddings: 512,
  rope_scaling: null,
});

/** Launches at a place, in their order. */
function byPlace({ launches }: Origins): Map<string, Origins["launches"]> {
  const by = new Map<string, Origins["launches"]>();
  for (const l of launches) by.set(`${l.site} ${l.op}`, [...(by.get(`${l.site} ${l.op}`) ?? []), l]);
  return by;
}

test.each(targets)(
  "for %s where sizes are the same numbers, a number that another value of a key changes is of that key",
  (target) => {
    const a = made(alike, target, "none");
    const short = new Set(ofEveryFamily(a));
    const known = new Map<string, KernelLines>();
    let changed = 0;
    for (const [key, value] of [["hidden_size", 1024] as const, ["moe_intermediate_size", 640] as const]) {
      const b = made(withKeys(alike, { [key]: value }), target, "none");
      const others = byPlace(b.origins);
      const seen = new Set<string>();
      for (const [place, launches] of byPlace(a.origins)) {
        const theirs = others.get(place) ?? [];
        for (const [i, l] of theirs.length === launches.length ? launches.entries() : []) {
          const [from, to] = [a.manifest.kernels[l.kernel], b.manifest.kernels[theirs[i].kernel]];
          if (from.family !== to.family || seen.has(l.kernel) || !short.has(l.kernel)) continue;
          seen.add(l.kernel);
          const [own, other] = [a.text(l.kernel), b.text(theirs[i].kernel)].map(numbered);
          const lines = known.get(l.kernel) ?? linesIn(a, l.kernel);
          known.set(l.kernel, lines);
          meet(own, other, ([line, n], [m, o]) => {
            const { text, column } = own.numbers[line][n];
            const { kind, origins, text: full } = lines.lines[line];
            if (text === other.numbers[m][o].text || kind === "header" || kind === "helper") return;
            changed++;
            const constant = origins.find((g) => g.sites.includes(l.site))!.constants.find((c) => c.column === column);
            expect(constant?.keys, `${key}: ${l.kernel}:${line + 1}: ${full}\n${text}: ${constant?.from}`).toContain(key);
          });
        }
      }
    }
    expect(changed).toBeGreaterThan(40);
  },
);

/** Runs dsc with --json, and gives the array it prints. */
async function json<T>(...words: string[]): Promise<T> {
  const { stdout, stderr } = await dsc(...words, "--json");
  expect(stderr).toBe("");
  return JSON.parse(stdout) as T;
}

describe("inspect --line, --op, --key, --tensor", () => {
  interface Origin {
    op: string;
    keys: string[];
    tensors: string[];
    rule: string | null;
    constants: { text: string; from: string; keys: string[] }[];
  }
  const out = at("lines-r1");
  const made = dsc("compile", r1, "--target", "cuda", "-o", out);
  const lineOf = async (kernel: string, part: string): Promise<number> => {
    await made;
    const { stdout } = await dsc("inspect", out, kernel);
    return stdout.split("\n").findIndex((l) => l.includes(part)) + 1;
  };

  test("64 rows of a page times the width of a row come of just these", async () => {
    const line = await lineOf("rope_append_512_64", "(i64)page * 36864");
    const found = await json<Origin[]>("inspect", out, "rope_append_512_64", "--line", String(line));
    for (const o of found) {
      expect(o).toMatchObject({
        op: "rope_append",
        keys: ["kv_lora_rank", "qk_rope_head_dim"],
        rule: "fuse-rope-append: norm, rope and append in one pass",
      });
      expect(o.constants.find((c) => c.text === "36864")!.from).toBe(
        "made of r (kv_lora_rank), d (qk_rope_head_dim), pageRows (rows of a page of the cache)",
      );
    }
    expect((await dsc("inspect", out, "rope_append_512_64", "--line", String(line))).stdout).toContain(
      "36864    made of r (kv_lora_rank)",
    );
  });

  test("a line of a native has the keys of its numbers; a helper has its name", async () => {
    const kernel = "mla_attend_128x512_64_fixed16x8";
    const scale = await json<Origin[]>("inspect", out, kernel, "--line", String(await lineOf(kernel, "0.13523")));
    expect(scale[0].keys).toEqual(expect.arrayContaining(["qk_nope_head_dim", "qk_rope_head_dim", "rope_scaling"]));
    const helper = await json<(Origin & { helper?: string })[]>(
      "inspect",
      out,
      kernel,
      "--line",
      String(await lineOf(kernel, "mbarrier.try_wait")),
    );
    expect(helper[0].helper).toMatch(/wait/);
  });

  test("from a key, a tensor and an op to launches, and to lines of a kernel", async () => {
    await made;
    type Found = { kernel: string; site: string; op: string; fields?: Record<string, { value: number }> };
    const [key, tensor, op, lines] = await Promise.all([
      json<Found[]>("inspect", out, "--key", "kv_lora_rank"),
      json<Found[]>("inspect", out, "--tensor", "q_b_proj"),
      json<Found[]>("inspect", out, "--op", "mla_attend"),
      json<{ line: number; text: string }[]>("inspect", out, "rope_append_512_64", "--key", "kv_lora_rank"),
    ]);
    expect(key.some((f) => f.op === "mla_attend" && f.fields!.r.value === 512)).toBe(true);
    expect(key.some((f) => f.op === "argmax")).toBe(false);
    expect(new Set(tensor.map((f) => f.site.split("/").at(-1)))).toEqual(new Set(["q"]));
    expect(op.every((f) => f.kernel.startsWith("mla_attend"))).toBe(true);
    expect(lines.some((l) => l.text.includes("36864"))).toBe(true);
    expect(await refusal("inspect", out, "--key", "kv_lora_rang")).toContain("did you mean kv_lora_rank?");
    expect(await refusal("inspect", out, "--tensor", "q_b_projj")).toContain("did you mean");
    expect(await refusal("inspect", out, "rope_append_512_64", "--line", "9999")).toContain("has lines 1 to");
    expect(await refusal("inspect", out, "--line", "3")).toContain("--line is of a kernel");
  });
});
