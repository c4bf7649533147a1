// A real Chromium for the tests of the report's page: the one DSC_CHROMIUM names, or one of the usual names on the path.
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/** Its program, or nothing. */
export function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const candidates = [process.env.DSC_CHROMIUM ?? "", ...folders.flatMap((f) => NAMES.map((n) => path.join(f, n)))];
  return candidates.find((file) => {
    try {
      if (!path.isAbsolute(file)) return false;
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: findChromium(), args: ["--no-sandbox", "--disable-gpu"] });

export interface Opened {
  page: Page;
  /** What went wrong so far: errors of scripts and of the console, and requests for anything but the file. */
  troubles: string[];
}

/** Opens a report and waits until its first panel is there. */
export async function openReport(browser: Browser, file: string, colorScheme: "light" | "dark" = "light"): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme });
  const troubles: string[] = [];
  page.on("pageerror", (e) => troubles.push(`error: ${e.message}`));
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") troubles.push(`console: ${m.text()}`);
  });
  page.on("request", (r) => {
    if (r.url() !== `file://${file}`) troubles.push(`request: ${r.url()}`);
  });
  await page.goto(`file://${file}`);
  await page.waitForFunction(() => document.documentElement.dataset.ready !== undefined);
  return { page, troubles };
}

/** Goes to a place in the page, and waits until its panel is drawn; the place that is shown then. */
export async function visit(page: Page, hash: string): Promise<string> {
  return page.evaluate(
    (to) =>
      new Promise<string>((resolve) => {
        const root = document.documentElement;
        if (location.hash === to) return resolve(root.dataset.ready!);
        window.addEventListener("hashchange", () => resolve(root.dataset.ready!), { once: true });
        location.hash = to;
      }),
    hash,
  );
}
