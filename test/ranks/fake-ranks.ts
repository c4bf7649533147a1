// Starts fake ranks (fake-rank.ts) and puts a proxy between them and rank 0 that ends, or stops, one of them in the middle of a message.
import { spawn, type ChildProcess } from "node:child_process";
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import path from "node:path";
import { COLLECTIVES, type FakeRank } from "./fake-rank.ts";

const file = (program: string): string => path.resolve(import.meta.dirname, `../../dist/test/ranks/${program}.js`);

/** In the middle of message `kind` number `nth` that `from` sends, `victim` gets `signal`. */
export interface Fault {
  from: number;
  kind: string;
  nth?: number;
  victim: number;
  signal: NodeJS.Signals;
}

export interface Outcome {
  rank: number;
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Scenario {
  ranks: number;
  fault?: Fault;
  /** Of each rank, where it differs from the usual task. */
  task?: (rank: number) => Partial<FakeRank>;
  /** Ranks that are started, by number; all of them once when absent. */
  started?: number[];
  env?: Record<string, string>;
  /** What somebody else sends to rank 0's port before the ranks come. */
  visit?: string;
  /** What the processes run. */
  program?: "fake-rank" | "nccl-rank";
}

const usual: Omit<FakeRank, "rank" | "ranks" | "port"> = {
  token: "t",
  facts: { dsc: "1", artifact: "a", mesh: "m", weights: "w", transport: "t" },
  calls: 2,
  collectives: [...COLLECTIVES],
};

/** Runs a scenario to its end. No process outlives it. */
export async function run(s: Scenario): Promise<Outcome[]> {
  const children = new Map<number, ChildProcess>();
  const { program = "fake-rank" } = s;
  const begin = (rank: number, port: number): Promise<Outcome> => {
    const task: FakeRank = { ...usual, rank, ranks: s.ranks, port, ...s.task?.(rank) };
    const env = {
      ...process.env,
      DSC_SILENCE_SECONDS: "60",
      ...s.env,
      [program === "nccl-rank" ? "NCCL_RANK" : "FAKE_RANK"]: JSON.stringify(task),
    };
    const child = spawn(process.execPath, [file(program)], { env, stdio: ["ignore", "pipe", "pipe"] });
    if (!children.has(rank)) children.set(rank, child);
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) child[name]!.on("data", (d: Buffer) => (said[name] += d.toString()));
    return new Promise((resolve) => child.once("close", (code, signal) => resolve({ rank, code, signal, ...said })));
  };
  const first = begin(0, 0);
  const port = await portOf(children.get(0)!);
  if (s.visit !== undefined) await visit(port, s.visit);
  const proxy = await proxyTo(port, s.fault, (victim, signal) => children.get(victim)!.kill(signal));
  const others = (s.started ?? Array.from({ length: s.ranks - 1 }, (_, i) => i + 1)).map((rank) => begin(rank, proxy.port));
  const ends = [first, ...others];
  try {
    // A stopped process does not end: the others do, and then it is ended.
    const stopped = s.fault?.signal === "SIGSTOP" ? s.fault.victim : undefined;
    await Promise.all(ends.filter((_, i) => (i === 0 ? 0 : i) !== stopped));
    if (stopped !== undefined) children.get(stopped)!.kill("SIGKILL");
    return await Promise.all(ends);
  } finally {
    for (const child of children.values()) child.kill("SIGKILL");
    proxy.server.close();
  }
}

/** Says something at a port and waits until the other side hangs up. */
const visit = (port: number, words: string): Promise<void> =>
  new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port }, () => socket.write(words));
    socket.resume().on("close", () => resolve());
  });

const portOf = (child: ChildProcess): Promise<number> =>
  new Promise((resolve) => {
    child.stdout!.on("data", (d: Buffer) => {
      const m = /port (\d+)/.exec(d.toString());
      if (m) resolve(Number(m[1]));
    });
    child.once("close", () => resolve(0));
  });

async function proxyTo(
  port: number,
  fault: Fault | undefined,
  end: (rank: number, signal: NodeJS.Signals) => void,
): Promise<{ server: Server; port: number }> {
  const server = createServer((near) => {
    const far = createConnection({ host: "127.0.0.1", port });
    let rank = -1;
    const seen = new Map<string, number>();
    const through = (from: Socket, to: Socket, sender: () => number): void => {
      from.on("error", () => to.destroy()).on("close", () => to.destroy());
      const cut = frames((kind, whole, header) => {
        if (kind === "hello") rank = (JSON.parse(header) as { rank: number }).rank;
        const key = `${sender()} ${kind}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
        const due = fault && fault.from === sender() && fault.kind === kind && seen.get(key) === (fault.nth ?? 0) + 1;
        if (!due) return void to.write(whole);
        to.write(whole.subarray(0, whole.length >> 1));
        end(fault.victim, fault.signal);
      });
      from.on("data", cut);
    };
    // What rank 0 sends before the other says who it is goes to the only other there is, or nobody is at fault yet.
    through(near, far, () => rank);
    through(far, near, () => 0);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, port: (server.address() as AddressInfo).port };
}

/** Cuts a stream into frames. */
function frames(each: (kind: string, whole: Buffer, header: string) => void): (chunk: Buffer) => void {
  let have = Buffer.alloc(0);
  return (chunk) => {
    have = Buffer.concat([have, chunk]);
    while (have.length >= 10) {
      const header = have.readUInt32LE(0);
      const length = 10 + header + have.readUIntLE(4, 6);
      if (have.length < length) return;
      const text = have.subarray(10, 10 + header).toString();
      each((JSON.parse(text) as { kind: string }).kind, have.subarray(0, length), text);
      have = have.subarray(length);
    }
  };
}
