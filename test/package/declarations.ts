// After tsc: makes the declarations in dist fit for projects with older compilers and other libraries than this one. Generic views of
// buffers came with TypeScript 5.7, imports of .ts files need a resolver that knows them, and Node projects have no browser library.
// Builders of ops get the summary of their op as documentation, and maps of sources the sources, which the package does not hold.
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const dist = path.resolve(import.meta.dirname, "../..");
const folders = ["ir", "passes", "codegen", "runtime", "compiler"];

const VIEWS =
  "Buffer|Uint8Array|Int8Array|Uint16Array|Int16Array|Uint32Array|Int32Array|Float32Array|Float64Array|BigInt64Array|BigUint64Array|DataView";

/** One declaration file as any compiler from 5.4 on reads it. */
export function portable(text: string): string {
  return text
    .replaceAll(new RegExp(`\\b(${VIEWS})<(?:ArrayBuffer|ArrayBufferLike|SharedArrayBuffer)>`, "g"), "$1")
    .replaceAll(/(from |import\()"(\.[^"]*)\.ts"/g, '$1"$2.js"')
    .replaceAll(/\bWebAssembly\.Memory\b/g, "{ readonly buffer: ArrayBufferLike; grow(pages: number): number }")
    .replaceAll(/\bWebAssembly\.(Module|Instance)\b/g, "object");
}

/** A map of sources that holds them. */
export function selfContained(map: string, file: string): string {
  const parsed = JSON.parse(map) as { sources: string[]; sourcesContent?: string[] };
  if (parsed.sourcesContent?.length) return map;
  return JSON.stringify({
    ...parsed,
    sourcesContent: parsed.sources.map((s) => readFileSync(path.resolve(path.dirname(file), s), "utf8")),
  });
}

/** Summaries before builders that have no words of their own; `summary` gives that of an exported name. */
export function documented(text: string, summary: (name: string) => string | undefined): string {
  const lines = text.split("\n");
  return lines
    .flatMap((line, i) => {
      const name = /^export declare const (\w+): /.exec(line)?.[1];
      const words = name === undefined || lines[i - 1]?.trimEnd().endsWith("*/") ? undefined : summary(name);
      return words === undefined ? [line] : [`/** ${words} */`, line];
    })
    .join("\n");
}

/** What is left of a source that is no more: tsc does not remove it, and it would be packed. */
function removeStale(folder: string): void {
  for (const name of readdirSync(path.join(dist, folder), { recursive: true }) as string[]) {
    const stem = name.replace(/\.(js|d\.ts|js\.map)$/, "");
    if (stem !== name && !existsSync(path.join(dist, "..", folder, `${stem}.ts`))) rmSync(path.join(dist, folder, name));
  }
}

async function main(): Promise<void> {
  folders.forEach(removeStale);
  for (const folder of folders)
    for (const name of readdirSync(path.join(dist, folder), { recursive: true }) as string[]) {
      if (!name.endsWith(".d.ts") && !name.endsWith(".js.map")) continue;
      const file = path.join(dist, folder, name);
      const before = readFileSync(file, "utf8");
      let text = name.endsWith(".map") ? selfContained(before, file) : portable(before);
      if (folder === "ir" && name.endsWith(".d.ts") && /^ops[/\\](?!index)/.test(name)) {
        const made = (await import(pathToFileURL(file.replace(/\.d\.ts$/, ".js")).href)) as Record<
          string,
          { op?: { summary?: string } } | undefined
        >;
        text = documented(text, (n) => made[n]?.op?.summary);
      }
      if (text !== before) writeFileSync(file, text);
    }
}

if (process.argv[1] === import.meta.filename) await main();
