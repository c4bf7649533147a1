// Ranks that are processes with a GPU each: which GPU a rank has, and what carries the operands of collectives between them. On one host
// GPUs store into each other's memory; between hosts, or where DSC_PEERS=nccl asks for it, NCCL does it.
import { badLaunch, fewGpus } from "../diagnostics/ranks.ts";
import { variable } from "../user-cache.ts";
import type { Place } from "./launchers.ts";

/** What carries operands between the ranks of a place: DSC_PEERS, else a mailbox within one host. Throws DSC5091. */
export function peersOf({ ranks, onHost }: Place): "mailbox" | "nccl" {
  const asked = variable("DSC_PEERS");
  const alone = onHost >= ranks;
  if (asked === undefined) return alone ? "mailbox" : "nccl";
  if (asked === "nccl" || (asked === "mailbox" && alone)) return asked;
  throw badLaunch({
    seen: `DSC_PEERS=${asked}`,
    why: asked === "mailbox" ? "the ranks are on several hosts, and mailboxes reach one" : "it is mailbox or nccl",
    help: "leave DSC_PEERS out, or give nccl",
  });
}

/** Whether ranks may share GPUs: for tests. */
export const mayShareGpus = (): boolean => variable("DSC_SHARE_GPU") === "1";

/**
 * The GPU of a rank, of `gpus` that it sees: the one of its number on its host, or the only one, which a launcher may show it.
 * Throws DSC5099.
 */
export function ordinalOf({ local, onHost, launcher }: Place, gpus: number): number {
  if (mayShareGpus()) return local % Math.max(1, gpus);
  // Where dsc starts the ranks all of them see the same.
  if (gpus >= onHost || (gpus === 1 && launcher !== "dsc")) return gpus === 1 ? 0 : local;
  throw fewGpus({ ranks: onHost, gpus });
}
