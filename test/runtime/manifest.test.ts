// manifest.json as compiles write it holds together; with its digest made anew, what does not is refused with the place of it.
import path from "node:path";
import { describe, expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { shrink } from "../../compiler/analysis/shrink.ts";
import type { Manifest, Step } from "../../ir/artifact.ts";
import { checkManifest, parseManifest } from "../../runtime/manifest.ts";
import { manifestText } from "../../runtime/manifest-text.ts";

const root = path.resolve(import.meta.dirname, "../..");

function manifestOf(src: string, o: Partial<CompileOptions>): Manifest {
  const small = shrink(loadSpec(path.join(root, src)).spec);
  return compileSpec({ ...small, layers: [...new Set(small.layers)] }, { ...defaults, ...o }).manifest;
}

describe("what a compile writes holds together", () => {
  const sources = [
    "examples/deepseek-r1",
    "test/configs/DeepSeek-V2.json",
    "test/configs/Moonlight-16B-A3B-Instruct.json",
    "test/fixtures/a05-v3-halfsplit-tied-bias",
  ];
  const options: Partial<CompileOptions>[] = [{}, { passes: "none" }, { taps: true }, { attention: "expanded" }];
  const cuda: Partial<CompileOptions>[] = [...options, { deterministic: true }, { natives: "none" }].map((o) => ({
    ...o,
    target: "cuda",
    activations: "bf16",
  }));
  test.each(sources)("%s", (src) => {
    for (const o of [...options, ...cuda]) {
      const manifest = manifestOf(src, o);
      expect(() => checkManifest(structuredClone(manifest)), JSON.stringify(o)).not.toThrow();
      expect(parseManifest("out", manifestText(manifest))).toEqual(JSON.parse(JSON.stringify(manifest)));
    }
  });
});

const whole = manifestOf("examples/deepseek-r1", {});
const kernelSteps = (m: Manifest): Extract<Step, { kind: "kernel" }>[] =>
  m.functions[m.entries.decode].steps.filter((s) => s.kind === "kernel");
const symbol = Object.entries(whole.weights).find(([, w]) => w.source.kind === "checkpoint" && w.source.pieces.length > 1)![0];

test.each<[string, (m: Manifest) => unknown, RegExp]>([
  [
    "a slot far away",
    (m) => (kernelSteps(m)[0].args[2] = { slot: 1_000_000_000 }),
    /DSC5005.*functions\.\S*decode\S*steps\[0\].*slots/s,
  ],
  [
    "a source of no kind",
    (m) => Object.assign(m.weights[symbol].source, { kind: "anything" }),
    /DSC5005.*weights\S+source\.kind/s,
  ],
  ["no pieces", (m) => Object.assign(m.weights[symbol].source, { pieces: [] }), /DSC5005.*pieces/s],
  ["a piece less", (m) => (m.weights[symbol].source as { pieces: unknown[] }).pieces.pop(), /DSC5005.*pieces (fill|leave)/s],
  [
    "one kernel's binary under another's name",
    (m) => (Object.values(m.kernels)[0].binary = Object.values(m.kernels)[1].binary),
    /DSC5005.*kernels\.\S+binary/s,
  ],
  ["an operand less", (m) => kernelSteps(m)[0].args.pop(), /DSC5005.*operands are given/s],
  ["a dim named __proto__", (m) => (kernelSteps(m)[0].dims[0] = "__proto__"), /DSC5005.*dims\[0\]/s],
  [
    "scratch that is a text",
    (m) => Object.assign(Object.values(m.kernels)[0], { scratchBytes: "__proto__" }),
    /DSC5005.*scratchBytes/s,
  ],
  [
    "a part of no weight",
    (m) =>
      Object.assign(
        kernelSteps(m)
          .flatMap((s) => s.args)
          .find((a) => "weight" in a)!,
        { part: "anything" },
      ),
    /DSC5005.*part/s,
  ],
  ["a thousand million cells", (m) => (m.kernels[kernelSteps(m)[0].kernel].cells = 1e9), /DSC5005.*cells for/s],
  [
    "calls that never end",
    (m) => m.functions[m.entries.decode].steps.push({ kind: "call", function: m.entries.decode, layer: 0, args: {} }),
    /DSC5005/,
  ],
  ["a member nobody knows", (m) => Object.assign(m.model, { vocabs: 1 }), /DSC5005.*"vocabs"/s],
  [
    "a layer that is not there",
    (m) => m.functions[m.entries.decode].steps.find((s) => s.kind === "call" && Object.assign(s, { layer: 99 })),
    /DSC5005.*layer/s,
  ],
  ["widths that disagree", (m) => (m.model.vocab += 1), /DSC5005.*logits/s],
])("%s is refused", (_, change, message) => {
  const m = structuredClone(whole);
  change(m);
  expect(() => parseManifest("out", manifestText(m))).toThrow(message);
});

test("an edited manifest is named as edited, one cut short and one without digest too", () => {
  const text = manifestText(whole);
  expect(() => parseManifest("out", text.replace('"layers": ', '"layers":  '))).toThrow(/DSC5003.*it was edited/s);
  expect(() => parseManifest("out", JSON.stringify(whole))).toThrow(/DSC5003.*its own digest/s);
  expect(() => parseManifest("out", text.slice(0, -40))).toThrow(/DSC5001.*not JSON/s);
});
