// The mailbox between two processes on this card, over CUDA IPC: they take turns by milliseconds there, so it is about what is right.
// Exchanges by themselves, then a model as `dsc run --processes` has it, and what is said where one of its ranks is killed.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { parseMesh } from "../../ir/mesh.ts";
import { load } from "../../runtime/load.ts";
import type { Model } from "../../runtime/model.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import type { Trade } from "../../runtime/devices/cuda/peer-mailbox.ts";
import type { Row } from "./device.ts";
import { fixtures } from "../interpreted.ts";
import { Rank } from "./ranks-mailbox.ts";

const WORDS = 7168;

interface Message {
  mailbox?: string;
  wrong?: number;
  rounds?: number;
}

interface Peer {
  say(m: Message): void;
  hear(f: (m: Message) => void): void;
}

/** Trades by the channel of a child and its parent. */
const tradeWith =
  (peer: Peer, rank: number): Trade =>
  (mine) =>
    new Promise((resolve) => {
      peer.hear((m) => {
        if (m.mailbox === undefined) return;
        const theirs = Buffer.from(m.mailbox, "hex");
        resolve(rank === 0 ? [mine, theirs] : [theirs, mine]);
      });
      peer.say({ mailbox: Buffer.from(mine).toString("hex") });
    });

async function run(cuda: Cuda, peer: Peer, rank: number, replays: number): Promise<{ rounds: number; wrong: number }> {
  const mine = await Rank.open(cuda, (text) => cuda.compile(text), rank, 2, tradeWith(peer, rank), WORDS);
  mine.exchange(WORDS, 2000);
  mine.synchronize();
  const graph = mine.capture(1, () => mine.exchange(WORDS, 2000));
  for (let i = 0; i < replays; i++) mine.launch(graph);
  mine.synchronize();
  return mine.seen();
}

export async function processRows(cuda: Cuda, replays: number): Promise<Row[]> {
  const words = [process.argv[1], "--alone", "ranks", "--step", "check", "--rows", "/dev/null"];
  const child = spawn(process.execPath, words, {
    env: { ...process.env, DSC_RANKS_PEER: String(replays) },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const from = performance.now();
  const theirs = new Promise<Message>((resolve, reject) => {
    child.on("message", (m: Message) => m.wrong !== undefined && resolve(m));
    child.on("exit", (code) => reject(new Error(`the other process ended with ${code}`)));
  });
  // It may end before anybody looks.
  theirs.catch(() => {});
  const mine = await run(cuda, { say: (m) => child.send(m), hear: (f) => child.on("message", f) }, 0, replays);
  const other = await theirs;
  return [
    {
      part: "processes",
      replays,
      seconds: (performance.now() - from) / 1000,
      wrong: mine.wrong + other.wrong!,
      ok: mine.wrong === 0 && other.wrong === 0 && mine.rounds === replays + 1 && other.rounds === replays + 1,
    },
  ];
}

/** The other process. */
export async function peerProcess(cuda: Cuda): Promise<Row[]> {
  const parent: Peer = { say: (m) => process.send!(m), hear: (f) => process.on("message", f) };
  const seen = await run(cuda, parent, 1, Number(process.env.DSC_RANKS_PEER));
  await new Promise<void>((resolve) => process.send!(seen, undefined, undefined, () => resolve()));
  process.disconnect();
  return [];
}

/** Of a step of the fixture: two sums a layer, one of the embedding, one exchange of the largest logits. */
const STEPS = 60;

/** Bits of the logits after a prompt and after each step, and milliseconds a step. */
async function answer(model: Model): Promise<{ bits: Buffer[]; ms: number }> {
  using session = model.session();
  let result = await session.prefill([[3, 5, 7, 9, 11, 2]]);
  const bits: Buffer[] = [];
  const from = performance.now();
  for (let i = 0; i < STEPS; i++) {
    bits.push(Buffer.from(result.logits(0).slice().buffer));
    result = await session.decode([result.next(0)]);
  }
  return { bits, ms: (performance.now() - from) / STEPS };
}

/** A fixture over two ranks that are processes and share this card, beside both in one process: the same bits, and a death is told. */
export async function modelRows(): Promise<Row[]> {
  const weights = fixtures.find((f) => f.includes("a01"))!;
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-ranks-"));
  const before = process.env.DSC_SHARE_GPU;
  process.env.DSC_SHARE_GPU = "1";
  try {
    const options = { ...defaults, target: "cuda", activations: "f32", mesh: parseMesh("tp=2") } as const;
    writeArtifact(compile(weights, { ...options, stored: await storedIn(weights) }), folder);
    const one = await load(folder, { weights });
    const wanted = await answer(one).finally(() => one.close());
    const many = await load(folder, { weights, processes: true });
    const got = await answer(many).finally(() => many.close());
    const wrong = got.bits.filter((b, i) => !b.equals(wanted.bits[i])).length;
    return [
      { part: "processes", model: path.basename(weights), steps: STEPS, wrong, ms: got.ms, ok: wrong === 0 },
      await deathRow(folder, weights),
    ];
  } finally {
    rmSync(folder, { recursive: true });
    if (before === undefined) delete process.env.DSC_SHARE_GPU;
    else process.env.DSC_SHARE_GPU = before;
  }
}

/** Rank 1 is killed in the middle of steps: milliseconds until rank 0 says so. */
async function deathRow(folder: string, weights: string): Promise<Row> {
  let told: (e: Error) => void = () => {};
  const lost = new Promise<Error>((resolve) => (told = resolve));
  const model = await load(folder, { weights, processes: true, lost: (e) => told(e) });
  const list = execFileSync("ps", ["-o", "pid=,args=", "--ppid", String(process.pid)], { encoding: "utf8" });
  const [rank] = list.split("\n").flatMap((line) => (line.includes("rank 1 of 2") ? [Number.parseInt(line, 10)] : []));
  const steps = answer(model).catch((e: Error) => e);
  setTimeout(() => process.kill(rank, "SIGKILL"), 300);
  const from = performance.now();
  const [error, ended] = await Promise.all([lost, steps]);
  const ms = performance.now() - from - 300;
  await model.close().catch(() => {});
  const ok = /DSC5096/.test(error.message) && ended instanceof Error && ms < 5000;
  return { part: "processes", killed: "rank 1", ms, said: error.message.split("\n")[0], ok };
}
