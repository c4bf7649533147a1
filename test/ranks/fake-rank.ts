// A rank without a model, as a process: it joins, comes to one meeting of each kind in each call, and ends. Its buffers stand for a
// device's memory; everything between the ranks is what a model uses. Told what to do by FAKE_RANK, a JSON of FakeRank; rank 0 prints
// its port, and each rank what it got.
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import type { CollectiveStep } from "../../ir/artifact.ts";
import type { Meeting } from "../../runtime/plan/walk.ts";
import { deadlines } from "../../runtime/ranks/deadlines.ts";
import type { Facts } from "../../runtime/ranks/frames.ts";
import type { Letter } from "../../runtime/ranks/letters.ts";
import { operandsOf, roomFor, viewsOf } from "../../runtime/ranks/operands.ts";
import { gather, join } from "../../runtime/ranks/rendezvous.ts";
import type { Transport } from "../../runtime/ranks/transport.ts";

/** The collectives of a call, in order. */
export const COLLECTIVES = ["all_reduce", "once", "all_gather", "own_experts", "reduce_scatter", "pick_max"] as const;

export interface FakeRank {
  rank: number;
  ranks: number;
  port: number;
  token: string;
  facts: Facts;
  /** Calls that rank 0 makes, and which collectives each rank comes to in each. */
  calls: number;
  collectives: CollectiveStep["op"][];
  /** Milliseconds between the last call and the end. */
  idle?: number;
  /** The call in which this rank fails by itself. */
  fails?: number;
}

/** What rank `rank` brings to meeting `place`: small whole numbers, so that sums are exact in any order. */
export function operandsFor(m: Meeting, rank: number, ranks: number, place: number): Uint8Array[] {
  const sizes = operandsOf(m.step, m.outer, m.inner, ranks);
  const views = viewsOf(sizes, false, roomFor(sizes, false));
  for (const [i, { dtype }] of sizes.filter((s) => !s.written).entries()) {
    const { buffer, byteOffset, length } = views[i];
    const values =
      dtype === "i32" ? new Int32Array(buffer, byteOffset, length / 4) : new Float32Array(buffer, byteOffset, length / 4);
    for (let e = 0; e < values.length; e++) values[e] = (e * 7 + rank * 13 + place * 5) % 11;
  }
  return views;
}

export const meetingOf = (op: CollectiveStep["op"], at: number): Meeting =>
  ({
    kind: "meeting",
    step: { op, dtype: "f32", site: `call/${op}`, experts: 3, width: 1 },
    pointers: [],
    outer: 2,
    inner: 4,
    function: "call",
    layer: at,
  }) as unknown as Meeting;

/** One call: every collective in turn. Gives the bytes of all results. */
async function call(task: FakeRank, transport: Transport, number: number): Promise<string> {
  const got: string[] = [];
  if (task.fails === number) throw new Error("out of luck");
  for (const [place, op] of task.collectives.entries()) {
    const m = meetingOf(op, number);
    const sizes = operandsOf(m.step, m.outer, m.inner, task.ranks);
    const results = viewsOf(sizes, true, roomFor(sizes, true));
    await transport.meet(m, place, operandsFor(m, task.rank, task.ranks, place), results);
    got.push(results.map((r) => Buffer.from(r).toString("hex")).join(" "));
  }
  return got.join("\n");
}

async function rankZero(task: FakeRank): Promise<void> {
  const { hub, port, all } = await gather({ ...task, deadlines: deadlines() }, "127.0.0.1", task.port);
  process.stdout.write(`port ${port}\n`);
  try {
    await all;
    void hub.shared(() => Uint8Array.of(1, 2, 3));
    await hub.loaded();
    for (let i = 0; i < task.calls; i++) {
      const letter: Letter = { session: 0, call: "draft", tokens: [[i]] };
      process.stdout.write(`${await hub.turn(letter, [], () => call(task, hub, i))}\n`);
    }
    await hub.outcome.wait<void>((resolve) => setTimeout(resolve, task.idle ?? 0));
    await hub.close();
    hub.outcome.check();
  } catch (e) {
    hub.fail(e);
    await hub.close();
    throw hub.outcome.error;
  }
}

async function otherRank(task: FakeRank): Promise<void> {
  const spoke = await join({ ...task, deadlines: deadlines() }, "127.0.0.1", task.port);
  try {
    if ((await spoke.shared()).join() !== "1,2,3") throw new Error("what was shared is not what came");
    await spoke.loaded();
    for (let i = 0; await spoke.letter(); i++) process.stdout.write(`${await call(task, spoke, i)}\n`);
  } catch (e) {
    spoke.fail(e);
    throw spoke.outcome.error;
  } finally {
    await spoke.close();
  }
}

if (process.env.FAKE_RANK !== undefined) {
  const task = JSON.parse(process.env.FAKE_RANK) as FakeRank;
  try {
    await (task.rank === 0 ? rankZero(task) : otherRank(task));
  } catch (e) {
    process.stderr.write(`${e instanceof DiagnosticError ? e.diagnostics.map(render).join("\n") : (e as Error).stack}\n`);
    process.exit(1);
  }
}
