// The example model through the program of docs/interop.md, and dsc verify --onnx.
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { standard } from "../../passes/index.ts";
import { at, dsc, root, tiny } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";

describe.skipIf(lacks("onnxruntime-node"))("in onnxruntime", () => {
  test("examples/onnx/greedy.mjs says what the page shows, which is what dsc run says", async () => {
    cpSync(tiny, at("tiny"), { recursive: true });
    const model = at("tiny/model.onnx");
    const prompt = "Elizabeth was delighted";
    const [made, run] = await Promise.all([
      dsc("export", "onnx", at("tiny"), "-o", model, "--portable"),
      dsc("run", tiny, "--prompt", prompt, "--max-new", "24", "--act-quant", "none"),
    ]);
    const program = path.join(root, "examples/onnx/greedy.mjs");
    const said = execFileSync(process.execPath, [program, at("tiny"), prompt, "24"], { encoding: "utf8" });
    expect(said.trim()).toBe(run.stdout.trim());
    const page = readFileSync(path.join(root, "docs/interop.md"), "utf8");
    expect(page).toContain(`    ${said.trim()}\n`);
    // Sizes and functions are those of the passes there are.
    const plain = (text: string): string => text.replaceAll(/\d[\d.]*/g, "0");
    const [written, , inputs] = made.stdout.replace(model, ".dsc/tiny/model.onnx").split("\n");
    for (const line of [written, inputs]) expect(plain(page)).toContain(`    ${plain(line)}\n`);
  });

  test("dsc verify --onnx compares a small model's calls with our own runtime's", async () => {
    const { code, stdout } = await dsc("verify", "test/fixtures/a03-v2-greedy", "--onnx", "--json");
    const { ok, onnx } = JSON.parse(stdout) as { ok: boolean; onnx: { after: string; attention: string; decode: number }[] };
    expect({ code, ok }).toEqual({ code: 0, ok: true });
    expect(onnx.map((p) => `${p.after} ${p.attention}`)).toEqual([
      "frontend expanded",
      "absorb-mla absorbed",
      `${standard.at(-1)!.name} expanded`,
      `${standard.at(-1)!.name} absorbed`,
    ]);
    for (const p of onnx) expect(p.decode).toBeLessThan(5e-4);
  });
});

test.skipIf(lacks("no onnxruntime-node"))("without onnxruntime-node, dsc verify --onnx says how to install it", async () => {
  const { code, stderr } = await dsc("verify", "test/fixtures/a03-v2-greedy", "--onnx");
  expect(code).toBe(2);
  expect(stderr).toContain("error[DSC6030]");
});
