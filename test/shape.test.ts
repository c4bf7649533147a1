// The shape of the sources, counted: functions that do not fit a screen, lines that do not fit a window, template holes that choose
// between two strings where another function should be chosen, and casts that nothing checks. Each number may only go down, towards the
// aim beside it; a commit that brings one down takes its ceiling along.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { ts } from "ts-morph";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");

/** What there is at most, and what there should be. */
const CEILINGS = {
  functions: { most: 0, aim: 0 },
  lines: { most: 0, aim: 0 },
  holes: { most: 0, aim: 0 },
  casts: { most: 15, aim: 15 },
} as const;

const LONG_FUNCTION = 80;
const LONG_LINE = 140;

const parse = (file: string, text: string): ts.SourceFile => ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);

/** The nodes of a file that are of a kind, each by its place. */
function places<N extends ts.Node>(file: ts.SourceFile, is: (n: ts.Node) => n is N, counts: (n: N) => boolean): string[] {
  const found: string[] = [];
  const visit = (n: ts.Node): void => {
    if (is(n) && counts(n)) found.push(`${file.fileName}:${lineOf(file, n.getStart()) + 1}`);
    ts.forEachChild(n, visit);
  };
  visit(file);
  return found;
}

const lineOf = (file: ts.SourceFile, at: number): number => file.getLineAndCharacterOfPosition(at).line;

const longFunctions = (file: ts.SourceFile): string[] =>
  places(file, ts.isFunctionLike, (f) => lineOf(file, f.getEnd()) - lineOf(file, f.getStart()) >= LONG_FUNCTION);

const longLines = (file: ts.SourceFile): string[] =>
  file.text.split("\n").flatMap((line, i) => (line.length > LONG_LINE ? [`${file.fileName}:${i + 1}`] : []));

const bare = (e: ts.Expression): ts.Expression => (ts.isParenthesizedExpression(e) ? bare(e.expression) : e);

/** Whether an expression is text as it is written, or a choice of such texts. */
function isText(e: ts.Expression): boolean {
  const of = bare(e);
  return ts.isConditionalExpression(of)
    ? isText(of.whenTrue) && isText(of.whenFalse)
    : ts.isStringLiteral(of) || ts.isTemplateLiteral(of);
}

const choosingHoles = (file: ts.SourceFile): string[] =>
  places(file, ts.isTemplateSpan, ({ expression: e }) => ts.isConditionalExpression(bare(e)) && isText(e));

/** `x as unknown as T` and `x as number`: what the compiler was told to believe. */
const casts = (file: ts.SourceFile): string[] =>
  places(file, ts.isAsExpression, ({ type }) => [ts.SyntaxKind.UnknownKeyword, ts.SyntaxKind.NumberKeyword].includes(type.kind));

const sources = (folder: string): ts.SourceFile[] =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".ts"))
    .map((f) => `${folder}/${f}`)
    .map((f) => parse(f, readFileSync(path.join(root, f), "utf8")));

const codegen = sources("codegen");
const all = [...codegen, ...["ir", "passes", "runtime", "compiler"].flatMap(sources)];

test.each([
  ["functions over 80 lines", all, longFunctions, CEILINGS.functions],
  ["lines over 140 columns", all, longLines, CEILINGS.lines],
  ["holes of codegen's templates that choose between two strings", codegen, choosingHoles, CEILINGS.holes],
  ["casts to number, and by way of unknown", all, casts, CEILINGS.casts],
] as const)("%s: no more than there were", (_, files, find, { most, aim }) => {
  const found = files.flatMap(find);
  expect(aim).toBeLessThanOrEqual(most);
  expect(found.length, `${found.length} where ${most} may be:\n${found.join("\n")}`).toBeLessThanOrEqual(most);
});

test.each([
  ["a long function", longFunctions, `function f() {\n${"  x();\n".repeat(79)}}`, 1],
  ["one that still fits", longFunctions, `function f() {\n${"  x();\n".repeat(78)}}`, 0],
  ["a long arrow", longFunctions, `const f = () => \`${"\n".repeat(80)}\`;`, 1],
  ["a long line", longLines, `// ${"x".repeat(138)}`, 1],
  ["a hole with two strings", choosingHoles, 'const t = `${c ? "a" : "b"}`;', 1],
  ["a hole with strings in brackets, nested", choosingHoles, 'const t = `${(c ? `a${x}` : d ? "b" : "")}`;', 1],
  ["a hole with one string", choosingHoles, 'const t = `${c ? "a" : f()}`;', 0],
  ["a cast", casts, "const n = x as number;", 1],
  ["a cast by way of unknown", casts, "const n = x as unknown as T;", 1],
  ["a cast to another type", casts, "const n = x as number[];", 0],
])("%s is seen or let pass", (_, find, text, count) => {
  expect(find(parse("t.ts", text))).toHaveLength(count);
});
