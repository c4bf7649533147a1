// The page of `dsc report` in a real browser: every panel and every link of it, without an error, a request, or what axe finds wrong
// for people who cannot see well or use no mouse.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compile, defaults, type Compiled } from "../../compiler/compile.ts";
import { gpus } from "../../codegen/cuda/arch/index.ts";
import { collect } from "../../compiler/report/html/collect.ts";
import { REPORT_MARK, reportFile } from "../../compiler/report/html/file.ts";
import { at, dsc, refusal, root } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";
import { supported } from "../frontend/configs.ts";
import { launchBrowser, openReport, visit, type Opened } from "./browser.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-report-"));
afterAll(() => rmSync(work, { recursive: true }));

const PANELS = ["overview", "model", "passes", "ledger", "kernels", "memory", "costs"];

function reported(name: string, { manifest, files }: Compiled): string {
  const bytes = new Map([...files].map(([k, v]) => [k, typeof v === "string" ? new TextEncoder().encode(v) : v]));
  const html = reportFile(collect({ manifest, files: bytes }, gpus.h200, { batch: 1, context: 1024 }));
  const file = path.join(work, `${name}.html`);
  writeFileSync(file, html);
  return file;
}

const models = {
  r1: () => reported("r1", compile(path.join(root, "examples/deepseek-r1"), { ...defaults, target: "cuda" })),
  lite: () => {
    const config = path.join(work, "lite.json");
    writeFileSync(config, JSON.stringify(supported["DeepSeek-V2-Lite"]));
    return reported("lite", compile(config, { ...defaults, target: "cuda" }));
  },
  tiny: () => reported("tiny", compile(path.join(root, "examples/tiny-r1"), defaults)),
};

let tiny: Promise<string> | undefined;
/** An artifact of tiny-r1 for the CPU, made once. */
async function tinyArtifact(): Promise<string> {
  const out = at("report-artifact");
  tiny ??= dsc("compile", "examples/tiny-r1", "-o", out).then(() => out);
  return tiny;
}

test("the file is one: R1's is under 6 MB, fetches nothing, and replaces only an earlier report", async () => {
  const html = readFileSync(models.r1(), "utf8");
  expect(html.length).toBeLessThan(6e6);
  expect(html).toContain(REPORT_MARK);
  expect(html).toContain("default-src 'none'");
  expect(html.replace(/<script>[\s\S]*<\/script>/, "")).not.toMatch(/<(?:script|link|img)[^>]+(?:src|href)=/);
  const [out, file] = [await tinyArtifact(), at("report.html")];
  expect((await dsc("report", out, "-o", file, "--device", "h200")).stdout).toMatch(
    /^written to .*report\.html \(.*kB\); open it in a browser/,
  );
  const first = readFileSync(file);
  // Without a device named, the CPU's bandwidth would be measured.
  await dsc("report", out, "-o", file, "--device", "h200");
  expect(readFileSync(file).equals(first)).toBe(true);
  writeFileSync(file, "mine");
  expect(await refusal("report", out, "-o", file)).toContain("no export of dsc");
  expect(await refusal("report", "examples", "-o", file)).toMatch(/DSC5001|DSC6002/);
});

/** The report of tiny-r1 with two runs of it over it. */
async function measuredReport(): Promise<string> {
  const [out, file, profile, bench] = [await tinyArtifact(), at("measured.html"), at("profile.json"), at("bench.json")];
  const sizes = ["-p", "24", "-n", "4", "-r", "1", "--batch", "2", "--device", "h200", "--json"];
  writeFileSync(profile, (await dsc("profile", out, ...sizes)).stdout);
  writeFileSync(bench, (await dsc("bench", out, ...sizes)).stdout);
  // Both are of two prompts side by side: weights are read once.
  type Rows<T> = { rows: T[] };
  const { rows } = JSON.parse(readFileSync(profile, "utf8")) as Rows<{ phase: string; floor_us: number }>;
  const [prompts] = (JSON.parse(readFileSync(bench, "utf8")) as Rows<{ floor_ms: number }>).rows;
  const floor = rows.filter((r) => r.phase === "prefill").reduce((n, r) => n + r.floor_us, 0);
  expect(prompts.floor_ms).toBeCloseTo(floor / 1000, 9);
  await dsc("report", out, "-o", file, "--device", "h200", "--runs", profile, "--runs", bench);
  expect(await refusal("report", out, "-o", file, "--runs", "package.json")).toContain("it is no run of dsc");
  writeFileSync(profile, '{"schema":"dsc-profile/1","device":"a","wall":{"prefill_ms":1,"decode_ms":"2"},"rows":[]}');
  expect(await refusal("report", out, "-o", file, "--runs", profile)).toContain("wall.decode_ms");
  return file;
}

/** What axe finds that is serious; its own source is let in by the test alone. */
async function barriers(page: Page): Promise<string[]> {
  const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(source);
  return page.evaluate(async () => {
    const axe = (
      globalThis as unknown as {
        axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> };
      }
    ).axe;
    const { violations } = await axe.run();
    return violations
      .filter((v) => ["serious", "critical"].includes(v.impact))
      .map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 160)}`);
  });
}

describe.skipIf(lacks("Chromium"))("in Chromium", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  const pages = new Map<string, Promise<Opened>>();
  const opened = (name: keyof typeof models, scheme: "light" | "dark" = "light"): Promise<Opened> => {
    const key = `${name} ${scheme}`;
    if (!pages.has(key)) pages.set(key, openReport(browser, models[name](), scheme));
    return pages.get(key)!;
  };

  for (const name of ["r1", "lite", "tiny"] as const)
    test(`${name}: every panel is drawn, in the dark too, and bars nobody`, async () => {
      for (const scheme of ["light", "dark"] as const) {
        const { page, troubles } = await opened(name, scheme);
        for (const panel of PANELS) {
          await visit(page, `#${panel}`);
          expect(await page.locator("h1").first().innerText(), panel).not.toBe("");
          expect(await barriers(page), `${panel}, ${scheme}`).toEqual([]);
        }
        expect(troubles).toEqual([]);
      }
    });

  test("every link of every panel leads to a place that is drawn", async () => {
    const { page, troubles } = await opened("r1");
    const seen = new Set<string>();
    const links = (): Promise<string[]> =>
      page.evaluate(() => [...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href")!));
    for (const panel of PANELS) {
      await visit(page, `#${panel}`);
      for (const link of await links()) seen.add(link);
    }
    expect(seen.size).toBeGreaterThan(150);
    for (const link of seen) {
      expect(link).toMatch(/^#/);
      await visit(page, link);
      expect(await page.locator("main, #page").first().innerText(), link).not.toMatch(/undefined|\[object/);
    }
    expect(troubles).toEqual([]);
  });

  test("runs lie over the model: times beside floors at the lengths of the run, and nowhere else", async () => {
    const { page, troubles } = await openReport(browser, await measuredReport());
    await visit(page, "#overview");
    const runs = await page.getByRole("table", { name: /^Runs/ }).innerText();
    for (const words of ["prefill of 2 sequences with 24 rows each", "decode of 2 sequences", "pp24", "tg4"])
      expect(runs).toContain(words);
    await visit(page, "#model");
    expect(await page.locator("h1 + p").innerText()).toContain("decode step of 2 rows, 24 cached");
    const measured = page.locator(".graph .note", { hasText: /^measured [\d.]+ [µm]s/ });
    expect(await measured.count()).toBe(await page.locator(".graph .note", { hasText: /^\d+ launch/ }).count());
    expect(await page.locator(".graph .heat.measured").count()).toBeGreaterThan(3);
    await visit(page, "#costs");
    expect(await page.getByRole("table", { name: /measured time/ }).innerText()).toMatch(/ × floor/);
    await visit(page, "#costs?step=1");
    expect(await page.locator("h1 + p").innerText()).toContain("1024 cached");
    expect(await page.getByRole("table", { name: /measured time/ }).count()).toBe(0);
    expect(await barriers(page)).toEqual([]);
    expect(troubles).toEqual([]);
    await page.close();
  });

  test("config, graph and kernel light up together; the search finds a tensor; the model opens a layer", async () => {
    const { page, troubles } = await opened("r1");
    const kernel = await page.evaluate(async () => {
      location.hash = "#kernels";
      await new Promise((r) => setTimeout(r, 300));
      return document.querySelector("table a")!.textContent!;
    });
    await visit(page, `#kernels/${kernel}`);
    await page.locator('[data-key="hidden_size"]').first().focus();
    expect(await page.locator(".ir .lit").count()).toBeGreaterThan(0);
    await page.locator(".source .line").nth(20).focus();
    expect(await page.locator(".ir .lit").count()).toBeGreaterThan(0);
    expect(await page.locator('.config .lit[data-key="hidden_size"]').count()).toBe(1);
    await page.keyboard.press("/");
    await page.getByPlaceholder(/Find a kernel/).fill("q_b_proj");
    expect(await page.locator("[role=option]").first().innerText()).toContain("q_b_proj");
    await visit(page, "#model/decode%2Fmoe_layer");
    expect(await page.locator("h1").first().innerText()).toContain("moe_layer");
    expect(troubles).toEqual([]);
  });
});
