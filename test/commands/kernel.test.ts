// dsc kernel: an edit is tested before it runs, is said by every command, outlives a compile, and goes without a trace.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { at, dsc, dscIn, filesOf, refusal, root, type Answer } from "./dsc.ts";

const model = path.join(root, "test/fixtures/a01-v3-yarn");
const plain = at("plain");
const kernel = "rms_norm_64";
const LOOP = /  for p = 0 \.\. 64 by 128:\n    v1([^]*?)\n\n/;

beforeAll(async () => {
  expect((await dsc("compile", model, "-o", plain)).code).toBe(0);
  known = ids(plain);
});

/** A copy of the artifact. */
function copy(name: string): string {
  cpSync(plain, at(name), { recursive: true });
  return at(name);
}

/** The tile program of a kernel as it was compiled, changed. */
function changed(name: string, change: (text: string) => string): string {
  const text = readFileSync(path.join(plain, `kernels/${kernel}.txt`), "utf8").split("\n;; lowered:")[0];
  const other = change(text);
  expect(other).not.toBe(text);
  writeFileSync(at(name), other);
  return at(name);
}

/** Its one block of the second loop without the loop: the same function, in another text. */
const unrolled = (text: string): string =>
  `${text}\n`.replace(LOOP, (_, body: string) => `  v1${body.replaceAll("p :", "0 :").replaceAll("\n    ", "\n  ")}\n`);
/** Sums that leave the row's last elements out. */
const short = (text: string): string =>
  text.replace("v[1, 128] = load x[i, p : 128 | 64]", "v[1, 128] = load x[i, p : 128 | 61]");

let known: Promise<Answer>;
const ids = (out: string): Promise<Answer> => dsc("run", out, "--weights", model, "--ids", "1,2,3,4,5", "--max-new", "6");
const said = /\[DSC6039\]/;

test("a right edit is tested, runs, is said, and gives the same ids; taken back, every byte is as it was", async () => {
  const out = copy("right");
  const { code, stdout } = await dsc("kernel", out, kernel, "--use", changed("right.txt", unrolled));
  expect(stdout).toMatch(/^rms_norm_64: held to rms_norm at \d+ cases on WebAssembly.*; largest error \d+ % of its limit\n/);
  expect(code).toBe(0);
  const [before, after] = [await known, await ids(out)];
  expect(after.stdout).toBe(before.stdout);
  expect(after.stderr).toMatch(/^note\[DSC6039\]: edited kernels are in use, and proved/);
  // What runs is the edit: its text and its binary are the kernel's.
  const { text, binary } = JSON.parse((await dsc("inspect", out, kernel, "--json")).stdout) as { text: string; binary: string };
  expect([text, binary]).toEqual([`edits/${kernel}.txt`, `edits/${kernel}.wasm`]);
  const shown = await dsc("inspect", out, kernel);
  expect(shown.stdout).toContain("  v1[1, 128] = load x[i, 0 : 128 | 64]\n");
  expect(shown.stderr).toMatch(said);
  const times = JSON.parse((await dsc("kernel", out, kernel, "--bench", "--json")).stdout) as Record<string, number>;
  expect([times.original_us > 0, times.edit_us > 0, times.faster > 0]).toEqual([true, true, true]);
  // As compiled it is inside the artifact still.
  expect(filesOf(out).get(`kernels/${kernel}.txt`)).toEqual(filesOf(plain).get(`kernels/${kernel}.txt`));
  expect((await dsc("kernel", out)).stdout).toMatch(/^rms_norm_64: proved at \d+ cases on WebAssembly/);
  expect((await dsc("kernel", out, kernel, "--revert")).stdout).toBe("rms_norm_64 is as it was compiled\n");
  expect(filesOf(out)).toEqual(filesOf(plain));
});

test("a wrong edit is refused with the first element that is off, and nothing changes; a test that finds it ends with 1", async () => {
  const out = copy("wrong");
  const file = changed("wrong.txt", short);
  const words = await refusal("kernel", out, kernel, "--use", file);
  expect(words).toMatch(
    /DSC6037\]: rms_norm_64 does not do what rms_norm says: element \[0, \d+\] of \w+ is \S+, and \S+ is expected within/,
  );
  expect(words).toMatch(/= at \w+\/\S*: 1 row of 1 sequence/);
  expect(filesOf(out)).toEqual(filesOf(plain));
  const { code, stdout } = await dsc("kernel", out, kernel, "--use", file, "--force", "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    kernel,
    edit: { forced: expect.stringContaining("is expected") },
    report: { proved: false },
  });
  // Every command says so.
  for (const words of [
    ["inspect", out],
    ["plan", out],
    ["graph", out],
  ])
    expect((await dsc(...words)).stderr, words.join(" ")).toMatch(
      /^warning\[DSC6039\]: an edited kernel that is not proved is in use/,
    );
  const ran = await ids(out);
  expect(ran.stderr).toMatch(/^warning\[DSC6039\][^]*rms_norm_64: not proved \(element .*\), and forced/);
  expect(ran.stdout).not.toBe((await known).stdout);
  const tried = await dsc("kernel", out, kernel, "--test");
  expect(tried.code).toBe(1);
  expect(tried.stdout).toMatch(/ wrong /);
  expect(tried.stderr).toContain("DSC6037");
  const data = await dsc("kernel", out, kernel, "--test", "--json");
  expect(data.code).toBe(1);
  expect(JSON.parse(data.stdout)).toMatchObject({ proved: false, on: "cpu", against: ["rms_norm"] });
});

test("a text that is no kernel, or takes something else, is refused at its line", async () => {
  const none = changed("none.txt", (t) => t.replace("squares = squares + sum", "squares = squares + summ"));
  expect(await refusal("kernel", plain, kernel, "--use", none)).toMatch(/none\.txt:13:\d+/);
  const other = changed("other.txt", (t) => t.replace("gain: bf16[64]", "gain: f32[64]"));
  expect(await refusal("kernel", plain, kernel, "--use", other, "--force")).toMatch(/DSC6036[^]*other\.txt:\d+/);
  expect(await refusal("kernel", plain, kernel, "--use", at("nowhere.txt"))).toContain("DSC6013");
  const same = path.join(plain, `kernels/${kernel}.txt`);
  expect((await dsc("kernel", plain, kernel, "--use", same)).stdout).toMatch(/nothing is changed/);
});

test("a compile carries edits over: as they are, merged and tested again, or beside with both texts", async () => {
  const out = copy("again");
  const swapped = changed("swapped.txt", (t) => t.replace(/( {4}v1.*\n)( {4}g\[.*\n)/, "$2$1"));
  expect((await dsc("kernel", out, kernel, "--use", swapped)).code).toBe(0);
  const before = filesOf(out);
  const same = await dsc("compile", model, "-o", out);
  expect(same.stderr).toMatch(
    /note\[DSC6041\]: the edit of rms_norm_64 is in the new artifact too: its kernel's text is what it was/,
  );
  expect(filesOf(out)).toEqual(before);
  // Another epsilon is another line of the text.
  const merged = await dsc("compile", model, "-o", out, "--set", "rms_norm_eps=0.001");
  expect(merged.stderr).toMatch(/note\[DSC6041\].*: merged with what is compiled now, and tested again at \d+ cases/);
  const text = readFileSync(path.join(out, `edits/${kernel}.txt`), "utf8");
  expect(text).toContain("/ 64 + 0.001)");
  expect(text).toMatch(/ g\[.*\n +v1\[/);
  // The same line changed by both.
  const mine = changed("mine.txt", (t) =>
    t.replace("by = 1 / sqrt(squares / 64 + 0.000001)", "by = 1 / sqrt(squares * 0.015625 + 0.000001)"),
  );
  const clash = copy("clash");
  expect((await dsc("kernel", clash, kernel, "--use", mine)).code).toBe(0);
  const conflict = await dsc("compile", model, "-o", clash, "--set", "rms_norm_eps=0.001");
  expect(conflict.code).toBe(0);
  expect(conflict.stderr).toMatch(/warning\[DSC6040\]: the edit of rms_norm_64 was not carried over: 1 place/);
  const beside = readFileSync(path.join(clash, `edits/${kernel}.conflict.txt`), "utf8");
  expect(beside).toMatch(
    /<<<<<<< your edit\n.*0\.015625.*\n\|{7} .*\n.*0\.000001\)\n=======\n.*0\.001\)\n>>>>>>> as it is compiled now/,
  );
  expect((await dsc("kernel", clash)).stdout).toBe("no kernel of it is edited\n");
});

test("the editor is the person's own; a text that is refused is kept", async () => {
  const out = copy("editor");
  expect(await dscIn({ env: { VISUAL: "", EDITOR: "" } }, "kernel", out, kernel, "--edit")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("DSC6042"),
  });
  const script = "sed -i 's/ | 64\\]/ | 60]/'";
  const bad = await dscIn({ env: { VISUAL: script } }, "kernel", out, kernel, "--edit");
  expect(bad.code).toBe(1);
  const kept = /your text is kept in (\S+)/.exec(bad.stderr)![1];
  expect(readFileSync(kept, "utf8")).toContain("| 60]");
  const good = await dscIn(
    { env: { VISUAL: "sed -i 's/squares + sum/sum + squares/'" } },
    "kernel",
    out,
    kernel,
    "--edit",
    "--json",
  );
  expect(JSON.parse(good.stdout)).toMatchObject({ kernel, edit: { held: { on: "cpu" } } });
});

test("a kernel has the names of the places it serves, and a word too many is a usage error", async () => {
  expect((await dsc("kernel", plain, "kv_a_proj_with_mqa")).stdout).toMatch(/^linear_\w+: as it was compiled/);
  expect(await refusal("kernel", plain, "rms_norm_65")).toMatch(/did you mean rms_norm_64/);
  expect(await refusal("kernel", plain, "decode/moe_layer", "--test")).toMatch(/is served by \d+ kernels/);
  expect(await refusal("kernel", plain, kernel, "--test", "--revert")).toMatch(/only one of --test and --revert/);
  expect(await refusal("kernel", plain, "--test")).toMatch(/--test is of a kernel/);
  expect(await refusal("kernel", plain, kernel, "--revert", "--force")).toMatch(/--force is of --use/);
});
