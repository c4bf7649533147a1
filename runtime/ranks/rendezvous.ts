// How ranks that are processes come together: rank 0 listens, the others connect, and each side proves to the other that it knows the
// token without sending it. What a rank says of artifact, version, mesh and weights has to be what rank 0 has.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { hostname } from "node:os";
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import * as diagnostics from "../diagnostics.ts";
import { Connection } from "./connection.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Facts, Message } from "./frames.ts";
import { Hub } from "./hub.ts";
import { Outcome } from "./outcome.ts";
import { Spoke } from "./spoke.ts";

export interface Meet {
  rank: number;
  ranks: number;
  token: string;
  facts: Facts;
  deadlines: Deadlines;
}

type Hello = Extract<Message, { kind: "hello" }>;

/** Knowing the token is being able to say this of the other's nonce; `as` keeps one side's word from being the other's. */
const proofOf = (token: string, as: string, nonce: string, of: object): string =>
  createHmac("sha256", token)
    .update(JSON.stringify([as, nonce, of]))
    .digest("hex");

const same = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

const nonce = (): string => randomBytes(16).toString("hex");

/** Rank 0 of a group that comes together. */
export interface Gathering {
  hub: Hub;
  port: number;
  /** Settles when all have come; rejects with what ends the group. */
  all: Promise<void>;
}

/** Listens for the other ranks. Throws DSC5098. */
export async function gather(o: Meet, host: string, port: number): Promise<Gathering> {
  const hub = new Hub(o.ranks, o.deadlines);
  const proofs = new Map<number, string>();
  let arrived: () => void = () => {};
  const welcome = (hello: Hello, connection: Connection): void => {
    const error = misfit(o, hello, hub);
    if (error) {
      connection.trust();
      refuse(hub, connection, error);
      return;
    }
    connection.trust();
    connection.hear(hub.add(hello.rank, connection));
    proofs.set(hello.rank, proofOf(o.token, "hub", hello.nonce, {}));
    if (hub.missing.length === 0) arrived();
  };
  const server = createServer((socket) => greet(socket, o, hub, welcome));
  const address = await listening(server, host, port);
  // Who comes late is told so for as long as the group lives.
  server.unref();
  hub.outcome.onFail(() => server.close());
  const all = hub.outcome
    .wait<void>(
      (resolve) => {
        arrived = resolve;
        if (o.ranks === 1) resolve();
      },
      o.deadlines.join,
      () =>
        hub.fail(
          diagnostics.rankMissing({
            ranks: hub.missing,
            of: o.ranks,
            seconds: o.deadlines.join / 1000,
            where: `${host}:${address.port}`,
          }),
        ),
    )
    .then(() => hub.welcome(proofs));
  all.catch(() => {});
  return { hub, port: address.port, all };
}

function listening(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (e) => reject(diagnostics.noRendezvous({ where: `${host}:${port}`, why: e.message })));
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}

/** Who connects is asked who it is. A stranger that does not speak as ranks do is dropped without a word. */
function greet(socket: Socket, o: Meet, hub: Hub, welcome: (hello: Hello, connection: Connection) => void): void {
  const given = nonce();
  const connection = new Connection(socket, o.deadlines.silence, {
    message: (m) => {
      if (m.kind !== "hello") return void connection.end();
      const { proof, ...said } = m;
      if (!same(String(proof), proofOf(o.token, "spoke", given, said)))
        return refuse(
          hub,
          connection,
          diagnostics.rankRefused({ rank: rankOf(m), what: "token", theirs: `from ${m.host}`, ours: "rank 0's" }),
        );
      welcome(m, connection);
    },
    lost: () => {},
  });
  connection.send({ kind: "challenge", nonce: given });
}

const rankOf = ({ rank }: Hello): number => (Number.isSafeInteger(rank) ? rank : -1);

/** A rank that does not fit ends the group while it comes together, and only itself afterwards. */
function refuse(hub: Hub, connection: Connection, error: ReturnType<typeof diagnostics.rankRefused>): void {
  connection.send({ kind: "end", diagnostics: error.diagnostics });
  void connection.end();
  if (hub.missing.length > 0) hub.fail(error);
}

function misfit(o: Meet, hello: Hello, hub: Hub): ReturnType<typeof diagnostics.rankRefused> | undefined {
  const rank = rankOf(hello);
  for (const what of ["dsc", "artifact", "mesh", "weights", "transport"] as const)
    if (hello.facts[what] !== o.facts[what])
      return diagnostics.rankRefused({ rank, what, theirs: `${hello.facts[what]}, on ${hello.host}`, ours: o.facts[what] });
  const problem =
    hello.ranks !== o.ranks
      ? `it is one of ${hello.ranks}`
      : !(rank >= 1 && rank < o.ranks)
        ? `ranks are 0 to ${o.ranks - 1}`
        : hub.has(rank)
          ? "another process is that rank already"
          : undefined;
  return problem === undefined
    ? undefined
    : diagnostics.rankTwice({ rank, of: o.ranks, why: `${problem} (it runs on ${hello.host})` });
}

/** Milliseconds between tries to connect to a rank 0 that does not listen yet. */
const TRY_MS = 100;

/** Connects to rank 0 and waits there for the others. */
export async function join(o: Meet, host: string, port: number): Promise<Spoke> {
  const until = Date.now() + o.deadlines.join;
  for (;;) {
    const socket = await connected(host, port, until);
    if (socket) return introduced(socket, o);
    if (Date.now() > until)
      throw diagnostics.rankMissing({ ranks: [0], of: o.ranks, seconds: o.deadlines.join / 1000, where: `${host}:${port}` });
    await new Promise((resolve) => setTimeout(resolve, TRY_MS));
  }
}

function connected(host: string, port: number, until: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port, noDelay: true });
    const drop = setTimeout(() => socket.destroy(), Math.max(TRY_MS, until - Date.now()));
    const give = (s: Socket | undefined) => (): void => {
      clearTimeout(drop);
      resolve(s);
    };
    socket.once("connect", give(socket)).once("error", give(undefined)).once("close", give(undefined));
  });
}

/** Answers rank 0's question, and waits with it for the others. */
async function introduced(socket: Socket, o: Meet): Promise<Spoke> {
  const own = nonce();
  const outcome = new Outcome();
  const lost = (how: string): void =>
    void outcome.fail(diagnostics.rankLost({ rank: 0, how, during: `rank ${o.rank} introduced itself` }));
  let asked: (given: string) => void = () => {};
  const connection = new Connection(socket, o.deadlines.silence, {
    message: (m) =>
      m.kind === "challenge" ? asked(m.nonce) : lost("does not speak as rank 0 does: another program listens there"),
    lost,
  });
  const given = await outcome
    .wait<string>((resolve) => (asked = resolve))
    .catch(async (e: unknown) => {
      await connection.end();
      throw e;
    });
  const { rank, ranks, facts } = o;
  const said: Omit<Hello, "proof"> = { kind: "hello", rank, ranks, facts, host: hostname(), nonce: own };
  connection.trust();
  const spoke = new Spoke(rank, ranks, connection, o.deadlines);
  connection.send({ ...said, proof: proofOf(o.token, "spoke", given, said) });
  try {
    await spoke.welcomed((proof) => same(proof, proofOf(o.token, "hub", own, {})));
  } catch (e) {
    await spoke.close();
    throw e;
  }
  return spoke;
}
