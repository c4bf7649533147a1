// A model divided over ranks says what it says on one: every fixture in lockstep, and its proof in float64 with negative controls.
import path from "node:path";
import { expect, test } from "vitest";
import { largest, step, type MadeWeights } from "../../compiler/analysis/verify.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { undivided } from "../../compiler/driver/divides.ts";
import { modelModule } from "../../compiler/frontend/model.ts";
import { allReduce, interpretRanks, parseMesh, parseModule, printModule, tensorOf, verify } from "../../ir/index.ts";
import { localModule } from "../../passes/shard/local.ts";
import { shardModule } from "../../passes/shard/shard.ts";
import { answers } from "./answers.ts";

const root = path.resolve(import.meta.dirname, "..", "..");
const fixture = (name: string): string => path.join(root, "test/fixtures", name);
const names = ["a01-v3-yarn", "a02-v3-noq-nogroup", "a03-v2-greedy", "a04-v2-group", "a05-v3-halfsplit-tied-bias"];
names.push("a06-v3-dense", "a07-v3-fp8", "a08-v3-mtp", "a09-v3-odd");
const meshes = ["tp=2", "tp=4", "tp=4,ep=2", "ep=2"];
for (const name of names)
  test(`${name}: ids of every mesh are those of one rank, logits to 2e-4`, async () => {
    const one = await answers(name);
    for (const mesh of meshes) {
      const many = await answers(name, parseMesh(mesh));
      expect(many.ids, mesh).toEqual(one.ids);
      for (const [i, row] of many.logits.entries())
        expect(largest(Float64Array.from(row), Float64Array.from(one.logits[i])), `${mesh}, step ${i}`).toBeLessThan(2e-4);
    }
  });

test("a divided module is printed, parsed and proved, and every rank has the same bits", () => {
  for (const name of ["a01-v3-yarn", "a04-v2-group", "a08-v3-mtp"]) {
    const { spec } = loadSpec(fixture(name), []);
    const plain = modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: false });
    const entries = ["prefill", "extend"] as const;
    const made: MadeWeights = new Map();
    const whole = entries.map((entry) => step(plain, spec, entry, made));
    for (const mesh of meshes) {
      const divided = shardModule(plain, parseMesh(mesh));
      verify(divided);
      for (const m of [divided, localModule(divided)]) {
        const text = printModule(m);
        expect(printModule(parseModule(text))).toBe(text);
      }
      for (const [i, entry] of entries.entries())
        expect(largest(step(divided, spec, entry, made), whole[i]), `${name} ${mesh}`).toBeLessThan(1e-8);
    }
  }
});

test("a dropped collective is found, and named by the types", () => {
  const { spec } = loadSpec(fixture("a01-v3-yarn"), []);
  const divided = shardModule(modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: false }), parseMesh("tp=2"));
  const line = /^ *%(\S+) = all_reduce %(\S+) .*\n/m;
  const text = printModule(divided);
  const [whole, sum, of] = line.exec(text)!;
  const at = text.indexOf(whole);
  const rest = text.slice(at + whole.length).replace(new RegExp(`%${sum}(?![\\w.])`), `%${of}`);
  expect(() => parseModule(text.slice(0, at) + rest)).toThrow(/a sum over tp/);
});

test("ranks that come to different collectives are told apart", () => {
  const text = (order: string): string =>
    `module t\nmesh {tp = 2}\n\nfunc @f(%a: [2] f32, %b: [3] f32) {\n${order}  return x = %x, y = %y\n}\n`;
  const lines = ["  %x = all_reduce %a : [2] f32\n", "  %y = all_reduce %b : [3] f32\n"];
  const rank = (order: readonly string[], results: (s: string) => string): Parameters<typeof interpretRanks>[0][number] => {
    const module = parseModule(results(text(order.join(""))));
    const values = { a: tensorOf([2], [1, 2]), b: tensorOf([3], [1, 2, 3]) };
    return { module, func: module.funcs.get("f")!, inputs: { values } };
  };
  const swapped = (s: string): string => s.replace("x = %x, y = %y", "y = %y, x = %x");
  const same = interpretRanks([rank(lines, (s) => s), rank(lines, (s) => s)]);
  expect(same.map((r) => [...r.x.data])).toEqual([
    [2, 4],
    [2, 4],
  ]);
  expect(() => interpretRanks([rank(lines, (s) => s), rank(lines.toReversed(), swapped)])).toThrow(/DSC2015/);
  expect(allReduce.op.traits.meets).toBe("exchange");
});

test("a mesh that divides no experts, or nothing at all, is told with the key and with what divides", () => {
  const noExperts = /no experts[^]*n_routed_experts/;
  const told: Record<string, Record<string, RegExp>> = {
    "a06-v3-dense": { "ep=2": noExperts },
    "a07-v3-fp8": {
      "tp=4,ep=2": /72 rows of moe_layer.experts.gate is 36, and a block of codes is 128[^]*what divides: tp=4,ep=4/,
    },
    "a09-v3-odd": { "tp=4,ep=2": /n_routed_experts and moe_intermediate_size: 33 [^]*what divides: tp=4,ep=4/ },
    // 3 ranks: 4 heads, widths of 197 and 40, and 131 ids all stay whole.
    "a02-v3-noq-nogroup": {
      "tp=3": /divides nothing[^]*num_attention_heads: 128 rows[^]*vocab_size: 131[^]*divides: tp=2; tp=4/,
    },
    "a01-v3-yarn": {},
  };
  for (const [name, of] of Object.entries(told)) {
    const { spec } = loadSpec(fixture(name), []);
    const plain = modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: false });
    expect(undivided(plain, parseMesh("tp=4")).length, name).toBe(name === "a07-v3-fp8" ? 1 : 0);
    for (const [mesh, says] of Object.entries(of)) {
      const [d] = undivided(plain, parseMesh(mesh));
      expect(d.severity).toBe("warning");
      expect([d.title, ...d.notes, d.help].join("\n"), `${name} ${mesh}`).toMatch(says);
    }
  }
});
