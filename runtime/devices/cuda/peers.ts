// How the ranks of several processes, a GPU each, meet: on one host they store into each other's memory (peer-mailbox.ts), between hosts,
// or where it is asked for, NCCL carries what they have.
import { fewGpus } from "../../diagnostics/ranks.ts";
import { deadlines } from "../../ranks/deadlines.ts";
import type { Hub } from "../../ranks/hub.ts";
import { mayShareGpus } from "../../ranks/gpus.ts";
import type { Spoke } from "../../ranks/spoke.ts";
import type { StreamTransport } from "../../ranks/transport.ts";
import type { SystemKernel } from "../../../ir/system.ts";
import type { Cuda, CudaKernel } from "./index.ts";
import { CudaMailbox, tradeOver } from "./peer-mailbox.ts";

const UUID_BYTES = 16;

/** No two ranks have the same GPU. */
async function expectOwnGpus({ driver, device }: Cuda, group: Hub | Spoke): Promise<void> {
  const mine = new Uint8Array(UUID_BYTES);
  driver.call("cuDeviceGetUuid_v2", mine, device);
  const all = (await tradeOver(group, "GPUs")(mine)).map((bytes) => Buffer.from(bytes).toString("hex"));
  const twice = all.findIndex((uuid, r) => all.indexOf(uuid) !== r);
  if (twice >= 0 && !mayShareGpus()) throw fewGpus({ ranks: group.ranks, gpus: 1, same: [all.indexOf(all[twice]), twice] });
}

/** How the rank of this process meets the others. */
export async function openPeers(
  kind: "mailbox" | "nccl",
  group: Hub | Spoke,
  cuda: Cuda,
  system: (name: SystemKernel) => Promise<CudaKernel>,
): Promise<StreamTransport> {
  await expectOwnGpus(cuda, group);
  const { rank, ranks } = group;
  const others = (): Error | undefined => group.outcome.error;
  const { join, exchange } = deadlines();
  if (kind === "mailbox") {
    // A rank that ends by itself waits for nobody.
    const parting = async (): Promise<void> => {
      if (group.over) await tradeOver(group, "the end of mailboxes")(new Uint8Array(4));
    };
    return CudaMailbox.open(cuda, system, { rank, ranks, trade: tradeOver(group), others, limitMs: exchange, parting });
  }
  // Only here: most runs need no such library.
  const [{ Nccl }, { Communicator }] = await Promise.all([
    import("../../ranks/nccl/library.ts"),
    import("../../ranks/nccl/communicator.ts"),
  ]);
  const nccl = new Nccl();
  const id = await group.shared(() => nccl.uniqueId());
  return Communicator.open(nccl, { id, rank, ranks, others, together: () => group.over, patienceMs: join });
}
