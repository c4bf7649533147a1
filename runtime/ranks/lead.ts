// Ranks as processes: how rank 0 opens a model that all of them hold together, and how each other one takes part. Both open a device of
// their own, join, read their share of the weights, and go on when all have.
import { createHash, randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Manifest } from "../../ir/artifact.ts";
import { meshWords } from "../../ir/mesh.ts";
import type { Device } from "../device.ts";
import * as diagnostics from "../diagnostics.ts";
import { Model, type Group } from "../model.ts";
import { shardsOf } from "../shards.ts";
import { version } from "../version.ts";
import { deadlines } from "./deadlines.ts";
import { follow } from "./follow.ts";
import type { Facts } from "./frames.ts";
import type { Place } from "./launchers.ts";
import type { Hub } from "./hub.ts";
import { gather, join } from "./rendezvous.ts";
import type { Spoke } from "./spoke.ts";
import { start, type Started } from "./start.ts";

/** A model that ranks hold together, before it is open. */
export interface Divided {
  folder: string;
  manifest: Manifest;
  /** sha256 of the manifest. */
  digest: string;
  weights: string;
  threads: number | undefined;
  /** What carries the operands of collectives. Throws DSC5091, DSC5099. */
  transport(place: Place): string;
  /**
   * Opens what keeps this process from answering for seconds, as a GPU's context does, before there is a peer that would take it for
   * gone; gives what opens the device of a rank that meets the others by a group. Cores and memory are divided by the ranks of its host.
   */
  prepare(place: Place): Promise<(group: Hub | Spoke) => Promise<Device>>;
}

/** What ranks compare before they begin. */
async function factsOf({ manifest, digest, weights, transport }: Divided, place: Place): Promise<Facts> {
  const mesh = meshWords(manifest.mesh!);
  return { dsc: version, artifact: digest, mesh, weights: await identity(weights), transport: transport(place) };
}

/** Files with the same names and sizes are taken for the same: the ranks of other hosts have copies. */
async function identity(weights: string): Promise<string> {
  if (weights.startsWith("synthetic:")) return weights;
  const { files } = await shardsOf(weights);
  const sizes = await Promise.all(files.map(async (f) => `${basename(f)} ${(await stat(f)).size}`));
  return `${files.length} files, sha256 of their names and sizes ${createHash("sha256").update(sizes.join("\n")).digest("hex")}`;
}

/** All ranks on this host, the others started by this process. */
const ownPlace = (ranks: number): Place => ({
  launcher: "dsc",
  rank: 0,
  ranks,
  onHost: ranks,
  local: 0,
  starts: Array.from({ length: ranks - 1 }, (_, i) => i + 1),
  host: "127.0.0.1",
  port: 0,
  token: randomBytes(32).toString("hex"),
});

/** Starts the ranks that this process starts on its host. */
function startOthers({ folder, weights, threads }: Divided, place: Place, port: number, fail: (e: Error) => void): Started {
  return start(
    place.starts.map((rank, i) => ({ folder, weights, threads, place: { ...place, rank, local: i + 1, starts: [], port } })),
    (rank, how) => fail(diagnostics.rankLost({ rank, how, during: "the others needed it" })),
  );
}

/**
 * Rank 0: waits for the others, which `place` says a launcher starts, or which it starts itself. `lost` is called with what ends the
 * ranks, whenever that is.
 */
export async function lead(
  divided: Divided,
  place: Place = ownPlace(divided.manifest.mesh!.tp),
  lost: (e: Error) => void = () => {},
): Promise<Model> {
  const { ranks, token } = place;
  const meet = { rank: 0, ranks, token, facts: await factsOf(divided, place), deadlines: deadlines() };
  const open = await divided.prepare(place);
  const { hub, port, all } = await gather(meet, isLoopback(place.host) ? place.host : "0.0.0.0", place.port);
  const started = startOthers(divided, place, port, (e) => hub.fail(e));
  const group: Group = {
    mail: hub,
    fail: (e) => hub.fail(e),
    end: () => hub.end(),
    close: () => hub.close().finally(() => started.end()),
  };
  // After the others have been told, so that each says why it ends.
  hub.outcome.onFail((e) => {
    const then = (): void => lost(e);
    void group.close().then(then, then);
  });
  try {
    await all;
    const model = await Model.open(divided.manifest, await open(hub), { weights: divided.weights, group });
    await hub.loaded();
    return model;
  } catch (e) {
    hub.fail(e);
    await group.close();
    throw hub.outcome.error;
  }
}

const isLoopback = (host: string): boolean => host === "127.0.0.1" || host === "localhost" || host === "::1";

/** Another rank: settles when rank 0 is done, rejects with what ended the ranks. */
export async function takePart(divided: Divided, place: Place): Promise<void> {
  const { rank, ranks, token } = place;
  let early: Error | undefined;
  let fail = (e: Error): void => void (early ??= e);
  const started = startOthers(divided, place, place.port, (e) => fail(e));
  try {
    const facts = await factsOf(divided, place);
    const open = await divided.prepare(place);
    const spoke = await join({ rank, ranks, token, facts, deadlines: deadlines() }, place.host, place.port);
    fail = (e) => spoke.fail(e);
    if (early) fail(early);
    let model: Model | undefined;
    try {
      const device = await open(spoke);
      model = await Model.open(divided.manifest, device, { weights: divided.weights, rank });
      await spoke.loaded();
      await follow(model, spoke);
      await model.close();
    } catch (e) {
      spoke.fail(e);
      // A thread that hangs does not keep this rank from saying why it ends.
      void model?.close().catch(() => {});
      throw spoke.outcome.error;
    } finally {
      await spoke.close();
    }
  } finally {
    await started.end();
  }
}
