// README's figures are those of the kept measurements: each is computed again from the file that README names.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { root } from "../commands/dsc.ts";

const readme = readFileSync(path.join(root, "README.md"), "utf8");
const kept = <T>(name: RegExp): T => JSON.parse(readFileSync(path.join(root, name.exec(readme)![0]), "utf8")) as T;
type Row = Record<string, number | string | undefined>;
type Parts = Record<string, Row[]>;
const gpu = kept<Parts>(/test\/bench\/results\/device-h200-[\d-]+\.json/);
/** The run that had cuBLASLt beside it. */
const beside = kept<Parts>(/(?<=cuBLASLt are of [^)]*\()test\/bench\/results\/device-h200-[\d-]+\.json/);
const cpu = kept<{ cases: Record<string, { rows: Row[] }> }>(/test\/bench\/results\/cpu-[\d-]+\.json/);

/** The first row that has all these values. */
function row(part: string, wanted: Row): Record<string, number> {
  const found = gpu[part].find((r) => Object.entries(wanted).every(([k, v]) => r[k] === v));
  expect(found, `${part} ${JSON.stringify(wanted)}`).toBeDefined();
  return found as Record<string, number>;
}
const geometric = (list: readonly number[]): number => Math.exp(list.reduce((a, x) => a + Math.log(x), 0) / list.length);
function median(list: readonly number[]): number {
  const s = list.toSorted((a, b) => a - b);
  return (s[Math.floor((s.length - 1) / 2)] + s[Math.ceil((s.length - 1) / 2)]) / 2;
}
const slower = (list: readonly number[]): number => list.filter((x) => x < 1).length;
const ratios = (part: string, key: string, of: (r: Record<string, number>) => boolean = () => true, run = gpu): number[] =>
  run[part]
    .filter(
      (r) => r.what !== "FlashMLA over ours, geometric mean" && typeof r[key] === "number" && of(r as Record<string, number>),
    )
    .map((r) => r[key] as number);

/** The line of README's table that begins so. */
function line(head: string): string {
  const found = readme.split("\n").find((l) => l.startsWith(`| ${head}`));
  expect(found, head).toBeDefined();
  return found!;
}

test("products of FP8, beside what the same run measured and beside constants", () => {
  const few = ratios("block-gemm.measure", "public_over_ours", (r) => r.m <= 64);
  const many = ratios("block-gemm.measure", "public_over_ours", (r) => r.m >= 128);
  expect(line("FP8 block GEMM, R1's eight shapes, 1 to 64")).toContain(
    `(${few.length} cases), beside the better of DeepGEMM and cuBLASLt | | ${geometric(few).toFixed(2)} (geometric mean; least ${down(Math.min(...few))}; ${slower(few)} slower)`,
  );
  expect(readme).toContain(
    `| the same, 128 rows and more (${many.length} cases) | | ${geometric(many).toFixed(2)} (least ${Math.min(...many).toFixed(2)}; **${slower(many)} of ${many.length} are slower**)`,
  );
  const same = {
    few: ratios("block-gemm.measure", "cublaslt_over_ours", (r) => r.m <= 64, beside),
    many: ratios("block-gemm.measure", "cublaslt_over_ours", (r) => r.m >= 128, beside),
  };
  expect(line("FP8 block GEMM, R1's eight shapes, 8 to 64")).toContain(
    `(${same.few.length} cases), beside cuBLASLt's | | theirs over ours ${geometric(same.few).toFixed(2)} (geometric mean; least ${Math.min(...same.few).toFixed(2)})`,
  );
  expect(readme).toContain(
    `| ${geometric(same.many).toFixed(2)} (least ${Math.min(...same.many).toFixed(2)}; ${slower(same.many)} of ${same.many.length} are slower)`,
  );
  const experts = row("grouped-gemm.measure", { what: "1 tokens, 8 of 256", n: 4096 });
  const words = line("one token through 8 of 256");
  expect(words).toContain(
    `${experts.us.toFixed(1)} us, ${((100 * experts.floor_us) / experts.us).toFixed(0)} % of bandwidth | ${experts.public_over_ours.toFixed(2)} (${experts.public_us} us)`,
  );
});

/** Two digits, never rounded up: of a least. */
const down = (x: number): string => (Math.floor(x * 100) / 100).toFixed(2);

test("attention", () => {
  const mla = ratios("mla-decode.measure", "public_over_ours");
  const short = gpu["mla-decode.measure"]
    .filter((r) => r.batch === 1 && r.cached === 1024)
    .map((r) => r.public_over_ours as number);
  expect(line("MLA decode")).toContain(
    `(${mla.length} cases), beside FlashMLA | | median ${median(mla).toFixed(2)}; **${slower(mla)} of ${mla.length} are slower**, least ${Math.min(...mla).toFixed(2)}; ` +
      `geometric mean ${geometric(mla).toFixed(2)}, which two short single sequences lift (${short.map((x) => x.toFixed(1)).join(" and ")})`,
  );
  const prefill = row("mla-prefill.measure", { heads: 128, t: 4096, s: 4096 });
  expect(line("MLA prefill")).toContain(
    `${prefill.us.toFixed(0)} us, ${prefill.tflops.toFixed(0)} TFLOP/s | ${prefill.public_over_ours.toFixed(2)} (${prefill.public_us.toFixed(0)} us)`,
  );
});

test("whole models on the card", () => {
  const ahead = row("models.measure", { what: "decode, steps begun ahead", context: 1024 });
  expect(line("698.8M-parameter model")).toContain(
    `begun before ids are fetched | ${ahead.ms_per_token.toFixed(2)} ms | floor ${ahead.floor_ms.toFixed(2)}`,
  );
  expect(line("the same, every step awaited")).toContain(
    `| ${row("models.measure", { what: "decode", context: 1024 }).ms_per_token.toFixed(2)} ms |`,
  );
  const prefill = row("models.measure", { what: "prefill", tokens: 4096 });
  expect(line("the same, prefill of 4096 tokens")).toContain(
    `${prefill.ms.toFixed(1)} ms | floor ${prefill.floor_ms.toFixed(1)}`,
  );
  const slice = row("slice.measure", { what: "decode, steps begun ahead", context: 1024 });
  const awaited = row("slice.measure", { what: "decode", context: 1024, batch: 1 });
  expect(line("3 dense + 4 MoE layers")).toContain(
    `| ${slice.ms_per_token.toFixed(2)} ms; ${awaited.ms_per_step.toFixed(2)} ms | floor ${slice.floor_ms.toFixed(2)}`,
  );
  const load = row("load.measure", { what: "load from a checkpoint in memory" });
  const start = row("load.measure", { what: "artifact with cubins and checkpoint to first token, the whole program" });
  expect(line("a checkpoint in memory")).toContain(`${load.gb_per_s.toFixed(0)} GB/s; ${(start.ms / 1000).toFixed(1)} s`);
});

test("the CPU", () => {
  const found = (of: string, name: string, over?: string): Record<string, number> =>
    cpu.cases[of].rows.find((r) => r.name === name && r.over === over) as Record<string, number>;
  const text = readme.replaceAll(/\s+/g, " ");
  expect(text).toContain(
    `moves its weights at ${found("decode", "decode, context 64", "WebAssembly SIMD read").ratio.toFixed(2)} of a WebAssembly SIMD read loop and ${found("decode", "decode, context 64", "C read").ratio.toFixed(2)} of one in C`,
  );
  expect(text).toContain(
    `a token takes ${found("decode", "decode, context 64, a token").value.toFixed(0)} ms at context 64 and ${found("decode", "decode, context 1024, a token").value.toFixed(0)} ms at 1024`,
  );
  expect(text).toContain(
    `products of 64 rows reach ${found("gemm", "64 rows, all of a layer", "SIMD128 multiply-add peak").ratio.toFixed(2)} of the SIMD peak`,
  );
  expect(text).toContain(
    `loads at ${found("load", "load, whole").value.toFixed(1)} GB/s, and R1 compiles in ${found("compile", "compile R1").value.toFixed(1)} s`,
  );
});
