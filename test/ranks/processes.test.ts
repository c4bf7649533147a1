// A process for each rank says what all ranks in one process say, bit for bit, whatever a session does.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { parseMesh } from "../../ir/index.ts";
import { generate, load, type Model } from "../../runtime/index.ts";
import { lacks } from "../conditions.ts";
import { dsc, dscIn, refusal, tiny } from "../commands/dsc.ts";

// A machine under test may be busy; nothing here hangs.
process.env.DSC_SILENCE_SECONDS = "60";

const fixture = path.resolve(import.meta.dirname, "../fixtures/a08-v3-mtp");
const out = mkdtempSync(path.join(tmpdir(), "dsc-processes-"));
afterAll(() => rmSync(out, { recursive: true }));

/** Logits and ids of everything that a session does: a batch, steps, a sequence more, one cut and continued, drafts. */
async function everything(model: Model, drawn: readonly number[]): Promise<unknown[]> {
  const told: unknown[] = [];
  const bits = (row: Float32Array): number[] => [...new Uint32Array(row.slice().buffer)];
  {
    using session = model.session();
    let result = await session.prefill([
      [3, 5, 7],
      [9, 11, 2, 4],
    ]);
    told.push(bits(result.logits(0)), bits(result.logits(1)));
    result = await session.decode([result.next(0), null]);
    told.push(bits(result.logits(0)));
    const { sequence, result: added } = await session.add([8, 1]);
    told.push(sequence, bits(added.logits(sequence)));
    session.truncate(1, 2);
    result = await session.extend([[], [6, 6, 3]]);
    told.push(bits(result.logits(1)), session.lengths);
    // Two sessions at once take turns.
    using other = model.session();
    const both = await Promise.all([session.decode([1, null]), other.prefill([[5, 4]])]);
    told.push(bits(both[0].logits(0)), bits(both[1].logits(0)));
  }
  for (const draft of drawn)
    for await (const step of generate(model, [[3, 5, 7, 9]], { maxNew: 6, draft, temperature: 0.8, seed: 3 }))
      told.push(step.ids, step.drafted, step.accepted);
  return told;
}

/** Ids that lockstep chooses. */
let greedy: number[] = [];

test.each(["tp=2", "tp=4,ep=2"])("%s: processes have the bits of lockstep", async (mesh) => {
  const folder = path.join(out, mesh);
  writeArtifact(compile(fixture, { ...defaults, stored: await storedIn(fixture), mesh: parseMesh(mesh) }), folder);
  const steps: number[] = [];
  const [one, many] = await Promise.all(
    [false, true].map(async (processes) => {
      const model = await load(folder, { weights: fixture, threads: 1, processes });
      try {
        if (!processes) for await (const step of generate(model, [[3, 5, 7, 9]], { maxNew: 6 })) steps.push(...step.ids[0]);
        return await everything(model, mesh === "tp=2" ? [0, 2] : []);
      } finally {
        await model.close();
      }
    }),
  );
  expect(many).toEqual(one);
  greedy = steps;
});

/** The processes of ranks that this one has started. */
const ranksOf = (pid: number): number[] =>
  execFileSync("ps", ["-o", "pid=,args=", "--ppid", `${pid}`], { encoding: "utf8" })
    .split("\n")
    .flatMap((line) => (line.includes("rank 1 of 2") ? [Number.parseInt(line, 10)] : []));

test.skipIf(lacks("Linux"))("a rank that hangs ends the model, which says so, and no process is left", async () => {
  const before = process.env.DSC_SILENCE_SECONDS;
  process.env.DSC_SILENCE_SECONDS = "8";
  let told: (e: Error) => void = () => {};
  const lost = new Promise<Error>((resolve) => (told = resolve));
  const model = await load(path.join(out, "tp=2"), { weights: fixture, threads: 1, processes: true, lost: (e) => told(e) });
  const [rank] = ranksOf(process.pid);
  process.kill(rank, "SIGSTOP");
  await expect(model.session().prefill([[3, 5, 7]])).rejects.toThrow(/DSC5096.*rank 1 has said nothing/);
  await model.close();
  process.env.DSC_SILENCE_SECONDS = before;
  expect((await lost).message).toMatch(/DSC5096.*rank 1 has said nothing for 8.0 s/);
  expect(ranksOf(process.pid)).toEqual([]);
});

test("under a launcher dsc run is one of its ranks: rank 0 prints, the other follows", async () => {
  const words = ["run", path.join(out, "tp=2"), "--weights", fixture, "--ids", "3,5,7,9", "--max-new", "6", "--threads", "1"];
  const port = String(20_000 + (process.pid % 10_000));
  const env = { WORLD_SIZE: "2", LOCAL_WORLD_SIZE: "2", MASTER_ADDR: "127.0.0.1", MASTER_PORT: port, TORCHELASTIC_RUN_ID: out };
  const [first, second] = await Promise.all(
    ["0", "1"].map((rank) => dscIn({ env: { ...env, RANK: rank, LOCAL_RANK: rank } }, ...words)),
  );
  expect([first.code, second.code], first.stderr + second.stderr).toEqual([0, 0]);
  expect([first.stdout, second.stdout]).toEqual([`${greedy.join(",")}\n`, ""]);
  const alone = await dscIn({ env: { ...env, RANK: "1", LOCAL_RANK: "1", WORLD_SIZE: "4" } }, ...words);
  expect([alone.code, alone.stdout]).toEqual([1, ""]);
  expect(alone.stderr).toMatch(/DSC5092.*WORLD_SIZE=4, and the mesh tp=2 has 2 ranks/);
});

test("dsc run --processes answers, and refuses a model that is not divided", async () => {
  const folder = path.join(out, "tp=2");
  const { code, stdout, stderr } = await dsc(
    "run",
    folder,
    "--weights",
    fixture,
    "--ids",
    "3,5,7,9",
    "--max-new",
    "6",
    "--processes",
  );
  expect(code, stderr).toBe(0);
  expect(stdout).toBe(`${greedy.join(",")}\n`);
  expect(await refusal("run", tiny, "--ids", "1", "--max-new", "1", "--processes")).toContain(
    "--processes is for a model that is divided",
  );
});
