// The types of a plug-in's file, checked against this dsc's own, wherever the file lies and whatever is installed beside it.
import path from "node:path";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { pluginTypes } from "../../passes/plugin-diagnostics.ts";

/** The entries of the package, by the names that plug-ins import. */
const dist = path.resolve(import.meta.dirname, "../..");
const entries: Readonly<Record<string, string>> = {
  dsc: "compiler/index.d.ts",
  "dsc/ir": "ir/index.d.ts",
  "dsc/passes": "passes/index.d.ts",
  "dsc/codegen": "codegen/index.d.ts",
  "dsc/runtime": "runtime/index.d.ts",
  "dsc/plugin": "compiler/plugin/index.d.ts",
};
/** Run from sources, as tests do, the declarations are those that were built. */
const built = path.basename(dist) === "dist" ? dist : path.join(dist, "dist");

/** What TypeScript says of a file and of what it imports beside it, each with its line. */
export async function typeErrors(file: string): Promise<Diagnostic[]> {
  const { Project, ts } = await import("ts-morph");
  const project = new Project({
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2023.d.ts"],
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      allowImportingTsExtensions: true,
      types: [],
      paths: Object.fromEntries(Object.entries(entries).map(([name, to]) => [name, [path.join(built, to)]])),
    },
  });
  project.addSourceFileAtPath(path.resolve(file));
  project.resolveSourceFileDependencies();
  const own = project.getSourceFiles().filter((f) => !f.isDeclarationFile() && !f.isInNodeModules());
  return own.flatMap((source) =>
    [...source.getPreEmitDiagnostics()].map((d): Diagnostic => {
      const start = d.getStart() ?? 0;
      const { line, column } = source.getLineAndColumnAtPos(start);
      const text = source.getFullText().split(/\r?\n/)[line - 1];
      const [title, ...notes] = messagesOf(d.getMessageText());
      return pluginTypes(
        { message: title, code: d.getCode(), notes: notes.slice(0, 4) },
        {
          file: path.relative(process.cwd(), source.getFilePath()) || source.getFilePath(),
          line,
          column,
          text,
          length: d.getLength() ?? 1,
        },
      );
    }),
  );
}

type Message = string | { getMessageText(): string; getNext(): readonly unknown[] | undefined };

/** A message and what it is because of, a line each. */
function messagesOf(m: Message): string[] {
  if (typeof m === "string") return [m];
  return [m.getMessageText(), ...(m.getNext() ?? []).flatMap((n) => messagesOf(n as Message))];
}
