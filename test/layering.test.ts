// The import table of docs/architecture.md, held by reading every way one file names another with ts-morph: import and export
// declarations, import("..."), types of import("..."), import x = require("..."), and the package by its own name.
import path from "node:path";
import { Project, SyntaxKind, type Node, type SourceFile } from "ts-morph";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const may: Record<string, (to: string) => boolean> = {
  ir: (to) => to.startsWith("ir/"),
  passes: (to) => to.startsWith("ir/") || to.startsWith("passes/"),
  codegen: (to) => to.startsWith("ir/") || to.startsWith("codegen/"),
  // The runtime knows nothing of graphs: only the artifact, and what its words are read and told with.
  runtime: (to) =>
    to.startsWith("runtime/") ||
    ["artifact", "diagnostic", "json", "library-call", "mesh", "size", "system", "kernel/catalogue"].some(
      (name) => to === `ir/${name}.ts`,
    ),
  compiler: (to) => !to.startsWith("test/") && !to.startsWith("examples/"),
};

/** Every module a file names, with the node that names it. */
function named(file: SourceFile): [string, Node][] {
  const found: [string | undefined, Node][] = [...file.getImportDeclarations(), ...file.getExportDeclarations()].map((d) => [
    d.getModuleSpecifierValue(),
    d,
  ]);
  const literal = (n: Node | undefined): string | undefined =>
    n?.isKind(SyntaxKind.StringLiteral) || n?.isKind(SyntaxKind.NoSubstitutionTemplateLiteral) ? n.getLiteralText() : undefined;
  for (const n of file.getDescendantsOfKind(SyntaxKind.CallExpression)) {
    const called = n.getExpression();
    if (called.isKind(SyntaxKind.ImportKeyword) || /^(require|require\.resolve|import\.meta\.resolve)$/.test(called.getText()))
      found.push([literal(n.getArguments()[0]), n]);
  }
  for (const n of file.getDescendantsOfKind(SyntaxKind.ImportType)) {
    const argument = n.getArgument();
    found.push([argument.isKind(SyntaxKind.LiteralType) ? literal(argument.getLiteral()) : undefined, n]);
  }
  for (const n of file.getDescendantsOfKind(SyntaxKind.ExternalModuleReference)) found.push([literal(n.getExpression()), n]);
  for (const n of file.getDescendantsOfKind(SyntaxKind.ModuleDeclaration)) found.push([literal(n.getNameNode()), n]);
  return found.filter((f): f is [string, Node] => f[0] !== undefined);
}

/** The file a module's name leads to, relative to the root; undefined for a package that is not this one. */
function target(from: string, to: string): string | undefined {
  if (to === "dsc" || to.startsWith("dsc/")) return `${to.slice("dsc/".length)}/index.ts`;
  return to.startsWith(".") ? path.relative(root, path.resolve(path.dirname(from), to)) : undefined;
}

function wrongImports(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const from = path.relative(root, file.getFilePath());
    const layer = may[from.split(path.sep)[0]];
    return named(file).flatMap(([word, node]) => {
      const to = target(file.getFilePath(), word);
      return to === undefined || layer(to) ? [] : [`${from}:${node.getStartLineNumber()} imports ${to}`];
    });
  });
}

const project = (): Project => new Project({ compilerOptions: { allowImportingTsExtensions: true, noEmit: true } });

/** The sources, read once. */
const sources = project();
for (const folder of [...Object.keys(may), "test"]) sources.addSourceFilesAtPaths(path.join(root, folder, "**/*.ts"));
const below = (folders: readonly string[]): SourceFile[] =>
  folders.flatMap((folder) =>
    sources.getSourceFiles().filter((f) => f.getFilePath().startsWith(path.join(root, folder) + path.sep)),
  );

test("imports point to the ground floor", () => {
  expect(below(Object.keys(may)).length).toBeGreaterThan(300);
  expect(wrongImports(below(Object.keys(may)))).toEqual([]);
});

test.each([
  ["an import declaration", 'import { standard } from "../passes/index.ts";'],
  ["an import for its effect", 'import "../passes/index.ts";'],
  ["an export declaration", 'export * from "../passes/index.ts";'],
  ["an import of types", 'import type { Pass } from "../passes/index.ts";'],
  ["import(...)", 'export const load = () => import("../passes/index.ts");'],
  ["import(`...`)", "export const load = () => import(`../passes/index.ts`);"],
  ["a type of import(...)", 'export type P = import("../passes/index.ts").Pass;'],
  ["typeof import(...)", 'export type P = typeof import("../passes/index.ts");'],
  ["import = require", 'import passes = require("../passes/index.ts");'],
  ["require", 'const passes = require("../passes/index.ts");'],
  ["the package's own name", 'import { standard } from "dsc/passes";'],
  ["the package's own name, when called", 'export const load = () => import("dsc/passes");'],
  ["an augmentation", 'declare module "../passes/index.ts" { interface X { y: 1 } }'],
])("%s upward is seen", (_, text) => {
  const file = project().createSourceFile(path.join(root, "ir/upward.ts"), text);
  expect(wrongImports([file])).toEqual(["ir/upward.ts:1 imports passes/index.ts"]);
});

/** Files that import one another in a ring, types included; a file on its own is none. Tarjan's strongly connected components. */
function knots(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const [order, low, stack, found] = [new Map<string, number>(), new Map<string, number>(), [] as string[], [] as string[][]];
  const visit = (file: string): void => {
    order.set(file, order.size);
    low.set(file, order.get(file)!);
    stack.push(file);
    for (const to of imports.get(file) ?? []) {
      if (!order.has(to)) visit(to);
      if (stack.includes(to)) low.set(file, Math.min(low.get(file)!, low.get(to)!));
    }
    if (low.get(file) !== order.get(file)) return;
    const knot = stack.splice(stack.indexOf(file));
    if (knot.length > 1) found.push(knot.toSorted());
  };
  for (const file of imports.keys()) if (!order.has(file)) visit(file);
  return found.toSorted((a, b) => (a[0] < b[0] ? -1 : 1));
}

/** What each file names, as paths from the root. */
const importsOf = (files: readonly SourceFile[]): Map<string, string[]> =>
  new Map(
    files.map((file) => [
      path.relative(root, file.getFilePath()),
      named(file).flatMap(([word]) => target(file.getFilePath(), word) ?? []),
    ]),
  );

test("no file imports itself by way of others, types included", () => {
  expect(knots(importsOf(sources.getSourceFiles()))).toEqual([]);
});

test("a ring of three files is seen, whatever imports into it", () => {
  const all = project();
  const file = (name: string, text: string): SourceFile => all.createSourceFile(path.join(root, "ir", name), text);
  const files = [
    file("a.ts", 'import type { B } from "./b.ts";'),
    file("b.ts", 'export * from "./c.ts";'),
    file("c.ts", 'type A = import("./a.ts").A;'),
    file("d.ts", 'import "./a.ts"; import "./e.ts";'),
    file("e.ts", ""),
  ];
  expect(knots(importsOf(files))).toEqual([["ir/a.ts", "ir/b.ts", "ir/c.ts"]]);
});
