// The pages made from the code, and what other pages repeat of it, are as the code has it; every diagnostic has its long form; examples
// that can be run give what they say.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { entries } from "../../compiler/explain/index.ts";
import { standard } from "../../passes/index.ts";
import { at, dsc } from "../commands/dsc.ts";
import { pages, root } from "./pages.ts";

const folders = ["ir", "passes", "codegen", "runtime", "compiler"];
const sources = folders.flatMap((f) =>
  (readdirSync(path.join(root, f), { recursive: true }) as string[]).filter((n) => n.endsWith(".ts")).map((n) => path.join(f, n)),
);

/** Code to the functions that make it, "file name". */
function makers(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const file of sources) {
    if (file.startsWith("compiler/explain")) continue;
    const text = readFileSync(path.join(root, file), "utf8");
    for (const m of text.matchAll(/"(DSC\d{4})"/g)) {
      if (!/diagnostics(\.ts|\/)/.test(file)) continue;
      const name = [...text.slice(0, m.index).matchAll(/export (?:const|function) (\w+)/g)].at(-1)?.[1] ?? "?";
      found.set(m[1], (found.get(m[1]) ?? new Set()).add(`${file} ${name}`));
    }
  }
  return found;
}

test.each([...pages])("%s is up to date (npm run docs)", (name, text) => {
  expect(readFileSync(path.join(root, name), "utf8")).toBe(text());
});

test("passes/README.md lists the passes in their order, each in the file of its name", () => {
  const listed = [
    ...readFileSync(path.join(root, "passes/README.md"), "utf8").matchAll(/^\| `([\w-]+)` \| [^|]+ \| \[([\w/-]+\.ts)\]/gm),
  ];
  expect(listed.map(([, name]) => name)).toEqual(standard.map((p) => p.name));
  expect(
    listed
      .filter(([, name, file]) => path.basename(file, ".ts") !== name || !existsSync(path.join(root, "passes", file)))
      .map(([line]) => line),
  ).toEqual([]);
});

test("the pass that README shows is its file, whole but for its comments", () => {
  const [, file, shown] = /^`(passes\/[\w/-]+\.ts)`, whole but for its comments:\n\n```ts\n([^]*?)```$/m.exec(
    readFileSync(path.join(root, "README.md"), "utf8"),
  )!;
  expect(shown).toBe(readFileSync(path.join(root, file), "utf8").replaceAll(/^ *(\/\/|\/\*\*).*\n/gm, ""));
});

test("every code has an entry in compiler/explain, every entry a code, every code one meaning", () => {
  const made = makers();
  expect([...made.keys()].filter((c) => !entries.has(c))).toEqual([]);
  expect([...entries.keys()].filter((c) => !made.has(c))).toEqual([]);
  expect([...made].filter(([, by]) => by.size > 1).map(([c, by]) => `${c}: ${[...by].join(", ")}`)).toEqual([]);
});

const runnable = [...entries].filter(([, e]) => e.example.startsWith("$ dsc "));

describe.concurrent("examples give what they say", () => {
  test.each(runnable.map(([code, e]) => [code, e.example.slice(6)]))("%s: dsc %s", async (code, line) => {
    const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map((m) => (m[1] ?? m[2]).replace(/^\.dsc\/x$/, at(`${code}-out`)));
    const { stderr } = await dsc(...words);
    expect(stderr).toContain(`[${code}]`);
    if (stderr.startsWith("error"))
      for (const part of stderr.trim().split(/^(?=error\[)/m))
        expect(part, "each says where, and what to try").toMatch(/-->[^]*help: /);
  });
});
