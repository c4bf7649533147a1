// The mailbox between two processes on this card, over CUDA IPC: they take turns by milliseconds there, so it is about what is right.
import { spawn } from "node:child_process";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import type { Trade } from "../../runtime/devices/cuda/peer-mailbox.ts";
import type { Row } from "./device.ts";
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
