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
  // The runtime knows nothing of graphs: only the artifact and the words it is written in.
  runtime: (to) =>
    to.startsWith("runtime/") || ["ir/artifact.ts", "ir/diagnostic.ts", "ir/size.ts", "ir/kernel/catalogue.ts"].includes(to),
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

test("imports point to the ground floor", () => {
  const all = project();
  for (const folder of Object.keys(may)) all.addSourceFilesAtPaths(path.join(root, folder, "**/*.ts"));
  expect(wrongImports(all.getSourceFiles())).toEqual([]);
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
