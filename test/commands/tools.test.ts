// explain, doctor, completion, opt, progress, and the options that make a model smaller.
import { execFile, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { during, progressLine } from "../../compiler/progress.ts";
import { flops } from "../../compiler/report/summary.ts";
import { at, cli, dsc, json, r1, refusal, tiny } from "./dsc.ts";
import { lacks } from "../conditions.ts";

test("explain takes a code with or without its letters, and lists all without one", async () => {
  const [long, short, all] = await Promise.all([dsc("explain", "DSC1015"), dsc("explain", "1015"), dsc("explain")]);
  expect(long).toEqual(short);
  expect(long.stdout).toMatch(/^DSC1015: .+\n[^]+For example:\n[^]+What to do:\n/);
  expect(all.stdout.split("\n").length).toBeGreaterThan(90);
  expect(await refusal("explain", "DSC1105")).toContain("did you mean DSC10");
});

test("doctor says what there is, and that is a success on any machine", async () => {
  const answer = await json<{
    can: Record<string, boolean>;
    checks: { part: string; state: string; found: string; needed_for: string; looked_for?: string; version?: string }[];
  }>("doctor");
  expect(answer.can).toMatchObject({ compile: true, run_cpu: true });
  const parts = answer.checks.map((c) => c.part);
  for (const p of [
    "Node",
    "cores",
    "memory",
    "WebAssembly SIMD",
    "WebAssembly threads",
    "koffi",
    "CUDA driver",
    "NCCL",
    "nvcc",
    "C compiler",
    "Python with Triton",
    "tvm-ffi",
    "TVM",
  ])
    expect(parts).toContain(p);
  // Of what is no part of this process it is said where it was looked for, and of what was found its version.
  for (const c of answer.checks.filter((x) => !/^(Node|cores|memory|WebAssembly.*)$/.test(x.part)))
    expect(c.looked_for, c.part).toMatch(/./);
  const tools = answer.checks.filter((c) => c.state === "ok" && /^(nvcc|NVRTC|NCCL|C compiler|tvm-ffi|TVM)$/.test(c.part));
  for (const c of tools) expect(c.version, c.part).toMatch(/^\d+\.\d+/);
  for (const c of answer.checks) {
    expect(c.found, c.part).not.toBe("");
    expect(c.needed_for, c.part).not.toBe("");
  }
});

describe("completion", () => {
  const cases: [string[], string[]][] = [
    [["com"], ["compile", "completion"]],
    [
      ["compile", "--target", ""],
      ["cpu", "c", "tvm", "cuda", "triton", "native"],
    ],
    [["compile", "x", "--att"], ["--attention"]],
    [["compile", "x", "--passes", "all,ad"], ["all,add-norm"]],
    [["why", "x", "add"], ["add-norm"]],
    [["why", "--json", "x", "ker"], ["kernels"]],
    [
      ["explain", "DSC600"],
      ["DSC6001", "DSC6002", "DSC6003", "DSC6004", "DSC6005", "DSC6006", "DSC6007", "DSC6008", "DSC6009"],
    ],
    [["ops", "rms"], ["rms_norm"]],
    [
      ["inspect", "OUT", "norm_quant"],
      ["norm_quant_144", "norm_quant_256"],
    ],
    [
      ["help", "pl"],
      ["plan", "plugin"],
    ],
    [["ver"], ["verify", "version"]],
  ];
  const made = dsc("compile", tiny, "-o", at("completed"));
  const words = (c: string[]): string[] => c.map((w) => (w === "OUT" ? at("completed") : w));

  test("bash completes commands, options, values, passes, ops, codes and kernels", async () => {
    await made;
    writeFileSync(at("dsc.bash"), (await dsc("completion", "bash")).stdout);
    const script = `source ${at("dsc.bash")}; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _dsc; printf '%s\\n' "\${COMPREPLY[@]}"`;
    for (const [typed, wanted] of cases) {
      const { stdout } = await promisify(execFile)("bash", ["-c", script, "bash", "dsc", ...words(typed)]);
      expect(stdout.trim().split("\n").toSorted(), typed.join(" ")).toEqual(wanted.toSorted());
    }
    expect((await dsc("completion", "zsh")).stdout).toContain("bashcompinit");
  });

  test.skipIf(lacks("fish"))("fish completes the same", async () => {
    await made;
    writeFileSync(at("dsc.fish"), (await dsc("completion", "fish")).stdout);
    for (const [typed, wanted] of cases) {
      const { stdout } = await promisify(execFile)("fish", [
        "--no-config",
        "-c",
        'source $argv[1]; complete -C "$argv[2]"',
        at("dsc.fish"),
        ["dsc", ...words(typed)].join(" "),
      ]);
      expect(
        stdout
          .trim()
          .split("\n")
          .map((l) => l.split("\t")[0])
          .toSorted(),
        typed.join(" "),
      ).toEqual(wanted.toSorted());
    }
  });

  test("PowerShell's script has the same words", async () => {
    const { stdout } = await dsc("completion", "pwsh");
    for (const word of [
      "'compile --target' = @('cpu', 'c', 'tvm', 'cuda', 'triton', 'native')",
      "'help 1' = @('summary', 'compile'",
      "'inspect 2' = $true",
      "'passes 1' = @('absorb-mla'",
    ])
      expect(stdout).toContain(word);
  });
});

test("opt reads stdin and writes a file, whole or not at all", async () => {
  const text = "module t\n\nfunc @f(%a: [T, 4] f32) assume {T = 16} {\n  return y = %a\n}\n";
  writeFileSync(at("t.dsc"), text);
  const piped = spawnSync(process.execPath, [cli, "opt", "-", "-p", "none", "-o", at("t-out.dsc")], {
    input: text,
    encoding: "utf8",
  });
  expect([piped.status, piped.stdout, piped.stderr]).toEqual([0, "", ""]);
  expect(readFileSync(at("t-out.dsc"), "utf8")).toBe((await dsc("opt", at("t.dsc"), "-p", "none")).stdout);
  const wrong = spawnSync(process.execPath, [cli, "opt", "-", "-p", "none"], { input: "modul", encoding: "utf8" });
  expect(wrong.stderr).toMatch(/--> <stdin>:1:1/);
  expect(await refusal("opt", at("t.dsc"), "-p", "none", "-o", at("t.dsc/below"))).toContain("cannot write");
  expect(await refusal("opt", "/dev/zero", "-p", "none")).toContain("- reads stdin");
});

test("a cost is a number a person reads", async () => {
  for (const page of ["absorb-mla", "experts-add", "add-norm"])
    expect((await dsc("passes", page)).stdout).not.toMatch(/e[+-]\d+ |0\.00\d+ /);
  expect(["0 FLOP", "320 FLOP", "1.39 TFLOP", "999 GFLOP", "1.00 TFLOP", "12.3 kFLOP"]).toEqual(
    [0, 320, 1.39e12, 999.2e9, 999.7e9, 12_345].map(flops),
  );
});

test("--layers keeps the first layers at full width, --shrink every mechanism at a small one", async () => {
  const few = await json<{ parameters: number; layers: object }>("summary", r1, "--layers", "4");
  expect(few).toMatchObject({ parameters: 15_111_101_696, layers: { dense: 3, moe: 1, mtp: 0 } });
  const small = await json<{ parameters_with_mtp: number; layers: object }>("summary", r1, "--shrink");
  expect(small.layers).toEqual({ dense: 2, moe: 2, mtp: 1 });
  expect(small.parameters_with_mtp).toBeLessThan(5e6);
  const both = await json<{ layers: object }>("summary", r1, "--shrink", "--layers", "2");
  expect(both.layers).toEqual({ dense: 2, moe: 0, mtp: 0 });
  const ran = await json<{ ids: number[] }>(
    "run",
    r1,
    "--shrink",
    "--weights",
    "synthetic:0",
    "--ids",
    "1,2,3",
    "--max-new",
    "3",
  );
  expect(ran.ids).toHaveLength(3);
  // The first layers of a checkpoint run with the checkpoint as it is.
  expect((await json<{ ids: number[] }>("run", tiny, "--layers", "2", "--ids", "1,2,3", "--max-new", "2")).ids).toHaveLength(2);
  expect(await refusal("summary", r1, "--layers", "62")).toContain("the model has 61 layers");
  expect(await refusal("compile", r1, "-o", at("none"), "--layers", "1.5")).toContain("--layers");
});

describe("progress", () => {
  const said: string[] = [];
  const stream = (isTTY: boolean): NodeJS.WriteStream =>
    ({ isTTY, columns: 40, write: (t: string) => said.push(t) > 0 }) as unknown as NodeJS.WriteStream;

  test("a line on a terminal, taken away when the work is done", async () => {
    const slow = async (): Promise<string> => {
      while (!said.length) await sleep(50);
      return "done";
    };
    expect(await during("loading 1.40 GB of weights", slow(), progressLine(stream(true)))).toBe("done");
    expect(said.join("")).toMatch(/loading 1\.40 GB of weights, \d+ s/);
    expect(said.at(-1)).toBe("\r\x1b[K");
  });

  test("nothing where stderr is no terminal, and nothing for short work", async () => {
    said.length = 0;
    await during("loading", sleep(900), progressLine(stream(false)));
    await during("loading", sleep(20), progressLine(stream(true)));
    expect(said).toEqual([]);
  });
});
