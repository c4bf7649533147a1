// dsc bench and dsc profile: a model's steps, timed on this machine; times themselves are not judged.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { at, dsc, json, refusal, tiny } from "./dsc.ts";

test("bench: a prompt and decode steps, as data, a table, markdown and a spreadsheet", async () => {
  interface Answer {
    schema: string;
    rows: { test: string; tokens: number; ms: number; tokens_per_s: number; floor_ms: number; of_floor: number }[];
  }
  const words = ["bench", tiny, "-p", "12", "-n", "3", "-r", "1", "--weights", "synthetic:1"];
  const { schema, rows } = await json<Answer>(...words);
  expect(schema).toBe("dsc-bench/1");
  expect(rows.map((r) => [r.test, r.tokens])).toEqual([
    ["pp12", 12],
    ["tg3", 1],
  ]);
  for (const r of rows) {
    expect(r.tokens_per_s).toBeCloseTo((1000 * r.tokens) / r.ms, 6);
    expect(r.floor_ms).toBeGreaterThan(0);
    expect(r.of_floor).toBeCloseTo(r.floor_ms / r.ms, 9);
  }
  expect((await dsc(...words, "--format", "csv")).stdout).toMatch(/^test,target,batch,.*\npp12,cpu,1,.*\ntg3,cpu,1,/);
  expect((await dsc(...words, "--format", "md")).stdout).toMatch(/^\| test \| .*\n\| --- \|.*\n\| pp12 \|/);
  expect(await refusal("bench", tiny, "-p", "60000", "-n", "1")).toContain("positions of the model");
});

test("profile: every kernel of a step with its launches, shares that add up, and a trace", async () => {
  interface Row {
    phase: string;
    kernel: string;
    launches: number;
    us: number;
    total_us: number;
    share: number;
    floor_us: number | null;
  }
  const out = at("profile-tiny");
  await dsc("compile", tiny, "-o", out);
  const trace = at("trace.json");
  const words = ["profile", out, "-p", "12", "-n", "3", "--weights", "synthetic:1"];
  const { rows } = await json<{ rows: Row[] }>(...words, "--trace", trace);
  const step = await json<{ launches: { kernel: string; step: string | null; times: number }[] }>(
    "inspect",
    out,
    "--cost",
    "--batch",
    "1",
    "--context",
    "12",
  );
  for (const phase of ["prefill", "decode"]) {
    const here = rows.filter((r) => r.phase === phase);
    expect(here.reduce((a, r) => a + r.share, 0)).toBeCloseTo(1, 6);
    for (const r of here) {
      expect(r.total_us).toBeCloseTo(r.launches * r.us, 3);
      expect(r.floor_us, r.kernel).not.toBeNull();
    }
    // As many launches as the plan has.
    const want = new Map<string, number>();
    for (const l of step.launches.filter((l) => l.step === phase)) want.set(l.kernel, (want.get(l.kernel) ?? 0) + l.times);
    if (phase === "decode") for (const r of here) expect(r.launches, r.kernel).toBe(want.get(r.kernel));
  }
  const { traceEvents } = JSON.parse(readFileSync(trace, "utf8")) as {
    traceEvents: { name: string; ph: string; dur?: number }[];
  };
  expect(traceEvents.filter((e) => e.ph === "X" && e.name === "decode")).toHaveLength(3);
  expect(traceEvents.some((e) => e.name === rows[0].kernel)).toBe(true);
  expect((await dsc(...words, "--format", "csv")).stdout).toMatch(/^phase,%,kernel,launches,/);
});
