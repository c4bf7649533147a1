// Damaged input ends in success or in a diagnostic with code, place and help. Fixed seeds: a few here, all of them with
// `npm run fuzz`.
import { expect, test } from "vitest";
import { ApiCalls, showCall } from "./api-calls.ts";
import { Checkpoints } from "./checkpoints.ts";
import { compileCase, configOf } from "./configs.ts";
import { compileFamily, showFamily } from "./family.ts";
import { SideFiles } from "./side-files.ts";
import { GenerationOptions, showOptions } from "./generation-options.ts";
import { templateCase, templateOf } from "./templates.ts";
import { textCase, textOf } from "./texts.ts";
import { judge, printTally, type Tally } from "./judge.ts";

const full = process.env.FUZZ !== undefined;

async function all(what: string, cases: number, run: (seed: number) => unknown, show: (seed: number) => string): Promise<Tally> {
  const tally = await judge(what, 0, cases, run, show);
  if (full) process.stderr.write(printTally(what, tally));
  return tally;
}

test("configs", async () => {
  const tally = await all("config", full ? 10_000 : 400, compileCase, (seed) => JSON.stringify(configOf(seed)).slice(0, 3000));
  // Damage that only ever fails at the door would test little.
  expect(tally.succeeded).toBeGreaterThan(tally.cases / 20);
  expect(tally.refused.size).toBeGreaterThan(8);
});

test("every member of the family compiles, for every target, with any passes", async () => {
  // Triton's texts are printed, and not compiled: no Python is looked for.
  const python = process.env.DSC_PYTHON;
  process.env.DSC_PYTHON = "/nonexistent";
  try {
    const tally = await all("family", full ? 5000 : 60, (seed) => void compileFamily(seed), showFamily);
    expect(tally.succeeded).toBe(tally.cases);
  } finally {
    if (python === undefined) delete process.env.DSC_PYTHON;
    else process.env.DSC_PYTHON = python;
  }
});

test("module texts", async () => {
  const tally = await all(".dsc", full ? 2000 : 150, textCase, (seed) => textOf(seed).slice(0, 3000));
  expect(tally.succeeded).toBeGreaterThan(tally.cases / 100);
  expect(tally.refused.size).toBeGreaterThan(3);
});

test("checkpoints", async () => {
  const checkpoints = await Checkpoints.make();
  try {
    const tally = await all("checkpoint", full ? 2000 : 100, (seed) => checkpoints.run(seed), (seed) => checkpoints.show(seed));
    expect(tally.succeeded).toBeGreaterThan(0);
    expect(tally.refused.size).toBeGreaterThan(2);
  } finally {
    checkpoints.remove();
  }
});

test("side files", async () => {
  const files = new SideFiles();
  try {
    const tally = await all("side files", full ? 5000 : 200, (seed) => files.run(seed), (seed) => files.show(seed));
    expect(tally.succeeded).toBeGreaterThan(tally.cases / 20);
    expect(tally.refused.size).toBeGreaterThan(4);
  } finally {
    files.remove();
  }
});

test("calls of the Node API", async () => {
  const calls = await ApiCalls.make();
  try {
    const tally = await all("call", full ? 20_000 : 500, (seed) => calls.run(seed), showCall);
    expect(tally.succeeded).toBeGreaterThan(tally.cases / 20);
    expect(tally.refused.size).toBeGreaterThan(3);
  } finally {
    await calls.close();
  }
});

test("generation options", async () => {
  const options = await GenerationOptions.make();
  try {
    const tally = await all("options", full ? 20_000 : 500, (seed) => options.run(seed), showOptions);
    expect(tally.succeeded).toBeGreaterThan(tally.cases / 20);
    expect(tally.refused.size).toBeGreaterThan(3);
  } finally {
    await options.close();
  }
});

test("chat templates", async () => {
  const tally = await all("template", full ? 20_000 : 1000, templateCase, templateOf);
  expect(tally.succeeded).toBeGreaterThan(tally.cases / 10);
  expect(tally.refused.size).toBeGreaterThan(3);
});
