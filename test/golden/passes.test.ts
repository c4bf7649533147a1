// Passes on the shortest texts that show them. A file in test/golden/passes opens with RUN: the passes; each case, between lines of
// five dashes, is weights, a sentence of intent and a function. CHECK and CHECK-NOT are written by hand, what is below ==> by
// `npm run bless`; a diff of it is reviewed as if a person had written it. ERROR stands on the guilty line, with code and wording.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { DiagnosticError, parseModule, printFunc, printModule, type Module } from "../../ir/index.ts";
import { choosePasses, runPipeline, standard } from "../../passes/index.ts";
import { blessing, same } from "./golden.ts";

const folder = path.join(import.meta.dirname, "passes");
const CUT = "// -----";
const ARROW = "// ==>";

/** The functions after the passes, and the weights that were not there before. */
function result(text: string, passes: string): string {
  const before = parseModule(text);
  const after = runPipeline(before, choosePasses(passes, standard), {}, { contracts: false }).module;
  const weights = (m: Module): string[] => printModule(m).split("\n").filter((l) => l.startsWith("@"));
  const had = new Set(weights(before));
  return [...weights(after).filter((w) => !had.has(w)), ...[...after.funcs.values()].map((f) => printFunc(f))].join("\n");
}

function check(source: string, passes: string, where: string): string {
  const [head] = source.split(`\n${ARROW}`);
  const guilty = head.split("\n").findIndex((l) => l.includes("// ERROR: "));
  if (guilty >= 0) {
    const want = head.split("\n")[guilty].split("// ERROR: ")[1].trim();
    let said = "";
    try {
      result(head, passes);
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      const d = e.diagnostics[0];
      said = `${d.code} ${[d.title, ...d.spans.map((s) => s.label ?? ""), ...d.notes].join(" ")}`;
      expect(d.spans[0]?.line, `${where}: the line of the error`).toBe(guilty + 1);
    }
    for (const word of [want.split(" ")[0], want.slice(want.indexOf(" ") + 1)]) expect(said, where).toContain(word);
    return head;
  }
  const got = result(head, passes);
  for (const line of head.split("\n")) {
    if (line.startsWith("// CHECK: ")) expect(got, where).toContain(line.slice(10));
    if (line.startsWith("// CHECK-NOT: ")) expect(got, where).not.toContain(line.slice(14));
  }
  return `${head.trimEnd()}\n${ARROW}\n${got.split("\n").map((l) => `// ${l}`.trimEnd()).join("\n")}\n`;
}

const files = readdirSync(folder).filter((f) => f.endsWith(".dsc"));
for (const file of files) {
  const text = readFileSync(path.join(folder, file), "utf8");
  const passes = /^\/\/ RUN: (.*)$/m.exec(text)![1].replaceAll(" ", "");
  const cases = text.split(`${CUT}\n`);
  describe(`${file}: ${passes}`, () => {
    const made = cases.map((c, i) => {
      const name = /func @(\w+)/.exec(c)![1];
      let now = c;
      test(name, () => {
        now = check(c, passes, `dsc opt test/golden/passes/${file} -p ${passes}, @${name}`);
        if (!blessing) same(`test/golden/passes/${file}, @${name}`, c, now);
      });
      return () => (i === cases.length - 1 ? now : now.endsWith("\n") ? now : `${now}\n`);
    });
    if (blessing) afterAll(() => writeFileSync(path.join(folder, file), made.map((m) => m()).join(`${CUT}\n`)));
  });
}

test("every pass has a file that runs it", () => {
  const run = files.flatMap((f) => /^\/\/ RUN: (.*)$/m.exec(readFileSync(path.join(folder, f), "utf8"))![1].split(", "));
  expect(standard.map((p) => p.name).filter((n) => !run.includes(n))).toEqual([]);
});
