// The table of device functions, and what kernels' texts take from it.
import path from "node:path";
import { expect, test } from "vitest";
import { callsOf, entriesFor, identifiers, table } from "../../codegen/cuda/ptx/index.ts";
import { compile, defaults } from "../../compiler/compile.ts";

const root = path.resolve(import.meta.dirname, "../..");
const texts = ["examples/deepseek-r1", "examples/printed-model"].flatMap((model) =>
  [false, true].flatMap((deterministic) => {
    const { manifest, files } = compile(path.join(root, model), {
      ...defaults,
      target: "cuda",
      activations: "bf16",
      deterministic,
    });
    return Object.entries(manifest.kernels).map(([name, k]) => [name, String(files.get(k.text))] as const);
  }),
);

/** Names that a text defines for all of it: functions and macros, types. */
const defined = (text: string): string[] =>
  [
    ...text.matchAll(
      /^(?:template <[^>]*> )?__device__ (?:__forceinline__ )?[\w ]+?[*& ]+(\w+)\(|^#define (\w+)\(|^typedef [\w ]+ (\w+);|^struct (?:__align__\(\d+\) )?(\w+)/gm,
    ),
  ].map((m) => m.slice(1).find((n) => n !== undefined)!);

test("every entry has a name of its own, a text that defines it, and a meaning for the machine of fibres", () => {
  expect(new Set(table.map((e) => e.name)).size).toBe(table.length);
  const machine = ["TensorMap", "shared_address", "await_previous"];
  for (const e of table) {
    expect(defined(e.text), e.name).toContain(e.name);
    expect(e.host !== "" || machine.includes(e.name), `host of ${e.name}`).toBe(true);
  }
});

test("an entry stands behind those it calls, and no entry calls itself", () => {
  for (const [i, e] of table.entries())
    for (const c of callsOf(e)) expect(table.indexOf(c), `${e.name} calls ${c.name}`).toBeLessThan(i);
});

test("comments and strings name nothing", () => {
  expect([...identifiers('a(b); // c\nasm("mov d;\\n" :: "r"(e));')]).toEqual(["a", "b", "asm", "e"]);
});

test("a kernel's text has the entries it calls, each once, and no others", () => {
  const own = new Set(table.map((e) => e.name));
  for (const [name, text] of texts) {
    const got = defined(text).filter((d) => own.has(d));
    expect([...new Set(got)].toSorted(), name).toEqual(
      entriesFor(text)
        .map((e) => e.name)
        .toSorted(),
    );
    for (const g of new Set(got))
      expect(text.split(new RegExp(`\\b${g}\\b`)).length - 1, `${g} in ${name} is called`).toBeGreaterThan(
        got.filter((d) => d === g).length,
      );
  }
});
