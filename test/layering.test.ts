// The import table of docs/architecture.md, held by reading every import with ts-morph.
import path from "node:path";
import { Project } from "ts-morph";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const may: Record<string, (to: string) => boolean> = {
  ir: (to) => to.startsWith("ir/"),
  passes: (to) => to.startsWith("ir/") || to.startsWith("passes/"),
  codegen: (to) => to.startsWith("ir/") || to.startsWith("codegen/"),
  // The runtime knows nothing of graphs: only the artifact and the words it is written in.
  runtime: (to) => to.startsWith("runtime/") || ["ir/artifact.ts", "ir/diagnostic.ts", "ir/size.ts", "ir/kernel/catalogue.ts"].includes(to),
  compiler: (to) => !to.startsWith("test/") && !to.startsWith("examples/"),
};

test("imports point to the ground floor", () => {
  const project = new Project({ compilerOptions: { allowImportingTsExtensions: true, noEmit: true } });
  for (const folder of Object.keys(may)) project.addSourceFilesAtPaths(path.join(root, folder, "**/*.ts"));
  const wrong: string[] = [];
  for (const file of project.getSourceFiles()) {
    const from = path.relative(root, file.getFilePath());
    for (const d of [...file.getImportDeclarations(), ...file.getExportDeclarations()]) {
      const to = d.getModuleSpecifierValue();
      if (!to?.startsWith(".")) continue;
      const target = path.relative(root, path.resolve(path.dirname(file.getFilePath()), to));
      if (!may[from.split(path.sep)[0]](target)) wrong.push(`${from}:${d.getStartLineNumber()} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});
