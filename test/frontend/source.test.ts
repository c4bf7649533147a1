// SRC as a file: its JSON with places, and what is no config.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { parseJson } from "../../compiler/frontend/json.ts";
import { codes, pathOf, refusedText } from "./configs.ts";

describe("JSON", () => {
  test("positions and strings survive escapes, tabs and other scripts", () => {
    const doc = parseJson('{"a\\u0041": "\\n",\r\n\t"名": [1, {"b": -2.5e3}]}', "x");
    expect(doc.value).toEqual({ aA: "\n", 名: [1, { b: -2500 }] });
    expect(doc.spanOf("名.1.b")).toMatchObject({ line: 2, column: 17, length: 6 });
    expect(doc.keySpanOf("名")).toMatchObject({ line: 2, column: 2, length: 3 });
    expect(codes(refusedText('{"a": "x\ty"}'))).toEqual(["DSC1001"]);
  });

  const cases: [text: string, line: number, column: number, problem: RegExp][] = [
    ['{"a": 1,\n "a": 2}', 2, 2, /second time/],
    ['{"a": 1}\n x', 2, 2, /more text/],
    ['{"a": 1,}', 1, 8, /comma/],
    ['{"a": 01}', 1, 8, /expected , or }/],
    ['{"a": NaN}', 1, 7, /begins no value/],
    ['{"a": [1 2]}', 1, 10, /expected , or ]/],
    ["{'a': 1}", 1, 2, /double quotes/],
    ['{"a" 1}', 1, 6, /expected :/],
    ['{"a": ', 1, 7, /ends in the middle/],
    ["", 1, 1, /ends in the middle/],
  ];
  test.each(cases)("%j", (text, line, column, problem) => {
    const [d] = refusedText(text);
    expect(d.code).toBe("DSC1001");
    expect(d.title).toMatch(problem);
    expect(d.spans[0]).toMatchObject({ line, column });
  });

  test("a list is no config, a folder without one is none either", () => {
    expect(codes(refusedText("[1]"))).toEqual(["DSC1003"]);
    expect(() => loadSpec(pathOf("test/frontend"))).toThrow(/DSC1002.*/);
    expect(() => loadSpec(pathOf("no/such/file"))).toThrow(/DSC1002.*/);
  });
});

test.each<[string, Record<string, string>, string, RegExp]>([
  [
    "a LoRA adapter",
    { "adapter_config.json": "{}", "adapter_model.safetensors": "" },
    "",
    /no config.json; it has adapter_config.json: a LoRA adapter[^]*merge it/,
  ],
  ["a folder of GGUF", { "model-q4.gguf": "GGUF" }, "", /no config.json; it has model-q4.gguf; GGUF files are not read/],
  ["a GGUF file", { "m.gguf": "GGUF\x03\0" }, "m.gguf", /it is a GGUF file/],
  [
    "a Git LFS pointer as config",
    { "config.json": "version https://git-lfs.github.com/spec/v1\n" },
    "",
    /Git LFS pointer[^]*git lfs pull/,
  ],
  ["a page as config", { "config.json": "<!doctype html><title>404</title>" }, "config.json", /web page/],
])("%s as SRC is named", (_, files, src, message) => {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-source-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
    expect(() => loadSpec(path.join(folder, src))).toThrow(/DSC1002/);
    expect(() => loadSpec(path.join(folder, src))).toThrow(message);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
