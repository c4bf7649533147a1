// A model divided over ranks on this card: in lockstep beside one rank, and the mailbox with ranks as streams of one process and as two
// processes. What takes two cards is not here.
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import type { Row } from "./device.ts";
import { lockstepRows, lockstepTimes } from "./ranks-lockstep.ts";
import { exchangeRows, exchangeTimes, fusedRows } from "./ranks-mailbox.ts";
import { modelRows, peerProcess, processRows } from "./ranks-processes.ts";

/** DSC_RANKS picks some of these words. */
const asked = (process.env.DSC_RANKS ?? "exchange,fused,processes,lockstep,models,times").split(",");

export async function check(cuda: Cuda): Promise<Row[]> {
  if (process.env.DSC_RANKS_PEER) return peerProcess(cuda);
  const rows: Row[] = [];
  const part = async (name: string, run: () => Promise<Row[]>): Promise<void> => {
    if (asked.includes(name))
      rows.push(...(await run().catch((e: Error): Row[] => [{ part: name, ok: false, error: e.message }])));
  };
  for (const ranks of [2, 4, 8])
    await part("exchange", () => exchangeRows(cuda, { ranks, exchanges: Number(process.env.DSC_EXCHANGES ?? 1e6) }));
  for (const ranks of [2, 8])
    for (const dtype of ["f32", "bf16"] as const) await part("fused", () => fusedRows(cuda, dtype, ranks));
  await part("processes", () => processRows(cuda, 500));
  // Last: what a kernel ends with a fault takes the context with it.
  await part("lockstep", () => lockstepRows());
  await part("models", () => modelRows());
  return rows;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  if (!asked.includes("times")) return [];
  const rows: Row[] = [];
  for (const ranks of [2, 4, 8]) rows.push(...(await exchangeTimes(cuda, ranks)));
  rows.push(...(await lockstepTimes()));
  return rows;
}
