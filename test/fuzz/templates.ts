// Chat templates with damage, and bombs among them: a text, or a fault with its place, in bounded time.
import { readFileSync } from "node:fs";
import path from "node:path";
import { templateFault } from "../../runtime/diagnostics.ts";
import { Fault, LIMITS, Template } from "../../runtime/jinja/index.ts";
import { mutate } from "./mutate-text.ts";
import { Random } from "./random.ts";

const folder = path.join(import.meta.dirname, "../jinja");
const sources = [
  ...readFileSync(path.join(folder, "snippets.txt"), "utf8").split("\n¶\n"),
  ...["reasoning", "chatml"].map((n) => readFileSync(path.join(folder, `templates/${n}.jinja`), "utf8")),
];
const variables = JSON.parse(readFileSync(path.join(folder, "variables.json"), "utf8")) as Record<string, unknown>;

export function templateOf(seed: number): string {
  const r = new Random(seed);
  // Two snippets at a time meet in one scope.
  return mutate(Array.from({ length: 1 + r.below(2) }, () => r.one(sources)).join(r.one(["", "\n", "\r\n"])), r);
}

export function templateCase(seed: number): undefined {
  try {
    new Template(templateOf(seed)).render(variables, { limits: { ...LIMITS, steps: 200_000 } });
  } catch (e) {
    if (!(e instanceof Fault)) throw e;
    const { line, column } = e.at ?? { line: 1, column: 1 };
    throw templateFault[e.kind]({ why: "a fault of the template" }, { file: "template", line, column });
  }
}
