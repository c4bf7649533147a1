// What @huggingface/jinja makes of the texts that runtime/jinja is held to, for docs/dependencies.md. It is no dependency, so:
//   npm install --no-save @huggingface/jinja@0.5.11 && npm run build && node dist/test/jinja/huggingface.js
import { readFileSync } from "node:fs";
import path from "node:path";

interface Engine {
  Template: new (text: string) => { render(variables: unknown): string };
}
type Answer = string | object;

// From the folder npm runs in: the built file lies in dist, the data beside its source.
const text = (name: string): string => readFileSync(path.join("test/jinja", name), "utf8");
const read = <T>(name: string): T => JSON.parse(text(name)) as T;
const name = "@huggingface/jinja";
const { Template } = (await import(name)) as Engine;
const { snippets, templates } = read<{ snippets: [string, Answer][]; templates: Record<string, Answer[]> }>("expected.json");
const variables = read<unknown>("variables.json");
const conversations = read<unknown[]>("conversations.json");

function rendered(template: string, given: unknown): string | undefined {
  try {
    return new Template(template).render(structuredClone(given));
  } catch {
    return undefined;
  }
}

const tell = (what: string, cases: readonly (readonly [template: string, given: unknown, answer: Answer])[]): void => {
  const ours = cases.filter(([, , answer]) => typeof answer === "string");
  const theirs = ours.map(([template, given]) => rendered(template, given));
  const refused = theirs.filter((t) => t === undefined).length;
  const otherwise = theirs.filter((t, i) => t !== undefined && t !== ours[i][2]).length;
  console.log(`${what}: of ${ours.length} that Python's Jinja renders, ${refused} refused, ${otherwise} rendered otherwise`);
};
tell(
  "snippets",
  snippets.map(([template, answer]) => [template, variables, answer]),
);
for (const [file, answers] of Object.entries(templates))
  tell(
    file,
    answers.map((answer, i) => [text(`templates/${file}`), conversations[i], answer]),
  );
