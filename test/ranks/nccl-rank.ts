// A rank that meets another by NCCL, as a process: the id comes over the rendezvous, every collective is made once, and what it got is
// printed. Told what to do by NCCL_RANK, a JSON of FakeRank; device memory is memory of the host, as the stand-in has it.
import koffi from "koffi";
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { combine } from "../../runtime/ranks/combine.ts";
import { deadlines } from "../../runtime/ranks/deadlines.ts";
import { Communicator } from "../../runtime/ranks/nccl/communicator.ts";
import { Nccl } from "../../runtime/ranks/nccl/library.ts";
import { operandsOf, roomFor, viewsOf } from "../../runtime/ranks/operands.ts";
import { gather, join } from "../../runtime/ranks/rendezvous.ts";
import { meetingOf, operandsFor, type FakeRank } from "./fake-rank.ts";

const at = (b: Uint8Array): number => Number(koffi.address(b));

/** Each collective beside what `combine` makes of the same operands. */
function compare(c: Communicator, rank: number, ranks: number): string[] {
  return (["all_reduce", "all_gather", "reduce_scatter"] as const).flatMap((op) =>
    (["f32", "bf16"] as const).map((dtype) => {
      const whole = meetingOf(op, 0);
      const m = { ...whole, step: { ...whole.step, dtype } };
      const sizes = operandsOf(m.step, m.outer, m.inner, ranks);
      const all = Array.from({ length: ranks }, (_, r) => operandsFor(m, r, ranks, 3));
      const want = viewsOf(sizes, true, roomFor(sizes, true));
      combine(m, rank, all, want);
      const got = roomFor(sizes, true);
      c.enqueue({ op, dtype, outer: m.outer, inner: m.inner, words: op }, [{ from: at(all[rank][0]), to: at(got) }], 0);
      return `${op} ${dtype} ${Buffer.compare(got, want[0]) === 0 ? "as combine" : `${got.join()} and not ${want[0].join()}`}`;
    }),
  );
}

function exchange(c: Communicator, rank: number, ranks: number): string {
  const from = Float32Array.from({ length: 2 * ranks }, (_, i) => 100 * rank + i);
  const to = new Float32Array(2 * ranks);
  c.allToAll("f32", { from: at(new Uint8Array(from.buffer)), to: at(new Uint8Array(to.buffer)) }, 2, 0);
  return `all_to_all ${to.join()}`;
}

if (process.env.NCCL_RANK !== undefined) {
  const task = JSON.parse(process.env.NCCL_RANK) as FakeRank;
  const { rank, ranks, port } = task;
  let c: Communicator | undefined;
  try {
    const nccl = new Nccl();
    const gathering = rank === 0 ? await gather({ ...task, deadlines: deadlines() }, "127.0.0.1", port) : undefined;
    if (gathering) process.stdout.write(`port ${gathering.port}\n`);
    await gathering?.all;
    const spoke = gathering ? undefined : await join({ ...task, deadlines: deadlines() }, "127.0.0.1", port);
    const id = await (gathering ? gathering.hub.shared(() => nccl.uniqueId()) : spoke!.shared());
    const others = (): Error | undefined => (gathering?.hub ?? spoke)!.outcome.error;
    c = await Communicator.open(nccl, { id, rank, ranks, others, patienceMs: 20_000 });
    process.stdout.write(`${[...compare(c, rank, ranks), exchange(c, rank, ranks)].join("\n")}\n`);
    for (const until = Date.now() + 500; process.env.STANDIN_ASYNC && Date.now() < until;) {
      const fault = c.fault();
      if (fault) throw fault;
    }
    await c.close();
    await spoke?.close();
    process.exit(0);
  } catch (e) {
    process.stderr.write(`${e instanceof DiagnosticError ? e.diagnostics.map(render).join("\n") : (e as Error).stack}\n`);
    await c?.close();
    process.exit(1);
  }
}
