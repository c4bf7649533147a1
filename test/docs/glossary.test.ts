// The words of docs/glossary.md: every place it names is there, and words that it replaced do not come back where a reader meets a file
// first, in its name and in the comment it opens with, nor in the text of a kernel.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.join(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
const filesOf = (folder: string): string[] =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".ts"))
    .map((f) => `${folder}/${f}`);

const rows = [...read("docs/glossary.md").matchAll(/^\| (?!term|---)([^|]+?) \| [^|]+ \| ([^|]+?) \|$/gm)].map(
  ([, term, where]) => ({ term, where }),
);

test("the glossary has a row for each term, in order, and every place is there", () => {
  expect(rows.length).toBeGreaterThanOrEqual(30);
  const terms = rows.map((r) => r.term.toLowerCase());
  expect(terms).toEqual(terms.toSorted());
  expect(rows.map((r) => r.where).filter((w) => !existsSync(path.join(root, w)))).toEqual([]);
});

/** Words that the field has a term for. */
const RETIRED = /\b(tall|slim|thin|teams?|letters?|slab|steady|mail|onward)\b|copy engine|stream-(?:bmm|linear)/;

test("retired words are in no file name of kernels and their tests", () => {
  const names = ["codegen", "runtime/devices", "test/kernels"].flatMap(filesOf);
  expect(names.filter((f) => RETIRED.test(path.basename(f, ".ts").replaceAll("-", " ")) || RETIRED.test(f))).toEqual([]);
});

test("retired words are in no comment that a file of codegen opens with", () => {
  const headOf = (file: string): string => /^(?:\/\/.*\n)*/.exec(read(file))![0].replace(/\n\/\/ /g, " ");
  expect(
    filesOf("codegen")
      .map((f) => ({ f, word: RETIRED.exec(headOf(f))?.[0] }))
      .filter((x) => x.word),
  ).toEqual([]);
});

/** The same as kernels would say them, in comments or identifiers. */
const RETIRED_IN_KERNELS = /\b([Tt]eams?|TEAMS?|slab|[Ll]etters?|LETTER|deep|DEEP|HELD|FLYING|CHAIN)\b|copy engine/;

test("retired words are in no kernel's text", () => {
  const kernels = readdirSync(path.join(root, "test/golden/natives"));
  expect(kernels.length).toBeGreaterThan(10);
  expect(
    kernels
      .flatMap((k) =>
        read(`test/golden/natives/${k}`)
          .split("\n")
          .map((line, i) => `${k}:${i + 1} ${line}`),
      )
      .filter((line) => RETIRED_IN_KERNELS.test(line)),
  ).toEqual([]);
});
