// A loaded model: the manifest, the device, and its weights in place. Opens sessions; close() gives everything back.
// Loading refuses before it starts: memory first, then every tensor, then bytes move.
import type { Manifest, WeightPlan } from "../ir/artifact.ts";
import type { Device, StoredPart } from "./device.ts";
import { arenaBytes, functionOf } from "./plan/dims.ts";
import { align } from "./plan/align.ts";
import * as diagnostics from "./diagnostics.ts";
import { firstBad } from "./finite.ts";
import type { Mail } from "./ranks/letters.ts";
import type { WeightSource } from "./place.ts";
import { openWeights } from "./place.ts";
import { bytesIn } from "./values.ts";
import type { SessionOptions } from "./session.ts";
import { Session } from "./session.ts";
import type { Placement, Reader } from "./weights.ts";
import {
  WeightStore,
  elementBytes,
  hasGaps,
  instanceBytes,
  layersOf,
  layersThatFit,
  partBytes,
  placements,
  residentBytes,
  weightsUsed,
} from "./weights.ts";

/** Options of `load`: where weights come from and what runs them. */
export interface LoadOptions {
  /** A folder or file with a checkpoint, or "synthetic:SEED". */
  weights: string;
  /** CPU: worker threads; the cores this process may use when absent. */
  threads?: number;
  /** CUDA: compile kernels by nvcc, not by NVRTC in this process. */
  nvcc?: boolean;
  /** CPU: bytes of weights in one WebAssembly memory, for tests; see CpuOptions. */
  segmentBytes?: number;
  /** Adds up time by kernel; see `model.device.timings()`. */
  profile?: boolean;
  /** Of an artifact with a mesh: a process for each rank. This one is rank 0, and starts the others unless a launcher did. */
  processes?: boolean;
  /** With `processes`: called with what ends the ranks, such as one that is gone, whenever that is; calls reject with it too. */
  lost?: (error: Error) => void;
}

/** The ranks that a model is divided over, where each is a process of its own. */
export interface Group {
  mail: Mail;
  /** Ends all of them with an error. */
  fail(error: unknown): void;
  /** Tells them that no call follows, where all is well. */
  end(): void;
  close(): Promise<void>;
}

/** A loaded model: its manifest, its device, its weights in place. Opens sessions; `close()` gives everything back. */
export class Model<D extends Device = Device> {
  readonly manifest: Manifest;
  readonly device: D;
  readonly weights: WeightStore;
  private ropePositions = 0;

  /** Which rank of several this process is, where each has one of its own. */
  readonly rank: number;
  /** Sessions opened so far. */
  sessions = 0;
  readonly #group: Group | undefined;

  private constructor(manifest: Manifest, device: D, rank: number, group?: Group) {
    this.manifest = manifest;
    this.device = device;
    this.rank = rank;
    this.#group = group;
    this.weights = new WeightStore(manifest.weights);
  }

  /**
   * Places a manifest's weights on a device opened for it; the device is closed with the model, or when this fails. `load`
   * (load.ts) does this from an artifact folder.
   */
  static async open<D extends Device>(
    manifest: Manifest,
    device: D,
    options: { weights: string; rank?: number; group?: Group },
  ): Promise<Model<D>> {
    const model = new Model(manifest, device, options.rank ?? 0, options.group);
    try {
      checkMemory(manifest, device);
      const source = await openWeights(options.weights, manifest.options.scale_fmt === "ue8m0");
      try {
        source.check(model.readers().flatMap((reader) => allPlacements(manifest, reader)));
        await model.placeWeights(source);
        await model.expectNumbers(source, model.parts());
        device.seal();
      } finally {
        await source.close();
      }
    } catch (e) {
      options.group?.fail(e);
      await model.close();
      throw e;
    }
    return model;
  }

  /** What tells the other ranks of each call, where this process is rank 0 of several. */
  get mail(): Mail | undefined {
    return this.#group?.mail;
  }

  /** Opens a session: its own cache, its own arena. Sessions of one model take turns on the threads. */
  session(options: SessionOptions = {}): Session {
    return new Session(this, options);
  }

  async close(): Promise<void> {
    const group = this.#group;
    try {
      // The others are told first: what devices of several ranks reach of each other they give back together.
      group?.end();
    } finally {
      try {
        await this.device.close();
      } finally {
        await group?.close();
      }
    }
  }

  /** `await using model = await load(...)` closes it at the end of its block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What console.log shows. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { architecture, layers, hidden, vocab, maxPositions } = this.manifest.model;
    return (
      `Model { ${architecture} for ${this.manifest.target}: ${layers} layers, ${hidden} wide, ${vocab} ids, ` +
      `${maxPositions} positions, ${diagnostics.bytes(residentBytes(this.manifest))} of weights }`
    );
  }

  /** Makes the rope tables reach `positions` rows. Outgrown ones stay until the device closes: a run of another session may read them. */
  ensureRope(positions: number): void {
    const rows = Math.min(positions, this.manifest.model.maxPositions);
    if (rows <= this.ropePositions) return;
    for (const [symbol, plan] of Object.entries(this.manifest.weights)) {
      if (plan.source.kind !== "rope") continue;
      const { invFreq, factor } = plan.source;
      const width = 2 * invFreq.length;
      const table = new Float32Array(rows * width);
      fillRope(table, invFreq, factor);
      for (const layer of layersOf(plan)) {
        const at = this.device.allocate(rows * width * 4, "the rope table");
        this.device.write(at, bytesIn(table));
        this.weights.put(symbol, layer, at);
      }
    }
    this.ropePositions = rows;
    this.device.moved();
  }

  /** Every part of a weight that stays, where it lies. */
  private parts(): ResidentPart[] {
    return Object.entries(this.manifest.weights).flatMap(([symbol, plan]) =>
      plan.staging || plan.source.kind === "rope" ? [] : layersOf(plan).flatMap((layer) => this.partsOf(symbol, layer)),
    );
  }

  private partsOf(symbol: string, layer: number | undefined): ResidentPart[] {
    const plan = this.manifest.weights[symbol];
    const sizes = partBytes(plan);
    return (["data", "scales"] as const).flatMap((part) =>
      sizes[part]
        ? [
            {
              symbol,
              plan,
              layer,
              part,
              at: this.weights.address(symbol, part, layer),
              bytes: sizes[part],
              dtype: part === "scales" ? "F32" : DTYPES[plan.dtype],
            },
          ]
        : [],
    );
  }

  /** Refuses weights that hold NaN or infinity, on a device that did not look while it read them: it looks where they lie. */
  private async expectNumbers(source: WeightSource, parts: readonly ResidentPart[]): Promise<void> {
    if (!source.stored || !this.device.notFinite) return;
    const [bad] = await this.device.notFinite(parts);
    if (bad !== undefined) throw diagnostics.notFinite({ tensor: tensorOf(this.device, parts[bad]), found: inWords(parts[bad]) });
  }

  /** The first weight that holds a value that is no number, in words, once a step has met one: memory can have changed since loading. */
  notFinite(): string | undefined {
    for (const part of this.parts()) if (firstIn(this.device, part) !== undefined) return inWords(part);
    return undefined;
  }

  private async placeWeights(source: WeightSource): Promise<void> {
    const { manifest, device, weights } = this;
    const resident: Block[] = [];
    for (const group of groupsOf(manifest)) {
      device.together?.(group.reduce((n, [symbol]) => n + instanceBytes(manifest.weights[symbol]), 0));
      for (const [symbol, layer] of group) {
        const plan = manifest.weights[symbol];
        const at = device.allocate(instanceBytes(plan), `weight ${symbol}`);
        if (hasGaps(plan)) device.clear(at, instanceBytes(plan));
        resident.push({ symbol, layer, at: weights.put(symbol, layer, at) });
      }
    }
    await this.placeBlocks(source, resident);
    for (const { function: name, layers } of manifest.load) for (const layer of layers) await this.runLoad(source, name, layer);
  }

  /** Every rank of this process reads its share. */
  private async placeBlocks(source: WeightSource, blocks: readonly Block[]): Promise<void> {
    const { manifest, device } = this;
    for (const [i, reader] of this.readers().entries())
      await source.place(
        device.ranks?.[i] ?? device,
        blocks.flatMap(({ symbol, layer, at }) => placements(symbol, manifest.weights[symbol], layer, at, reader)),
      );
  }

  /** The ranks of this process, as they read weights. */
  private readers(): Reader[] {
    const { mesh } = this.manifest;
    if (!mesh) return [{ mesh: { tp: 1, ep: 1 }, rank: 0 }];
    const ranks = this.device.ranks ? this.device.ranks.map((_, rank) => rank) : [this.rank];
    return ranks.map((rank) => ({ mesh, rank }));
  }

  /** Runs a load function for one layer, its staged weights in memory only meanwhile. */
  private async runLoad(source: WeightSource, name: string, layer: number): Promise<void> {
    const { manifest, device, weights } = this;
    const staged = stagedFor(manifest, name, layer);
    const near = weights.near(layer);
    const blocks = staged.map(({ symbol, layer }) => ({
      symbol,
      layer,
      at: device.allocate(instanceBytes(manifest.weights[symbol]), `weight ${symbol}`, near),
    }));
    const arena = device.allocate(arenaBytes(manifest, name, {}), `load function ${name}`, near);
    await this.placeBlocks(
      source,
      blocks.map(({ symbol, layer, at }) => {
        if (hasGaps(manifest.weights[symbol])) device.clear(at, instanceBytes(manifest.weights[symbol]));
        return { symbol, layer, at: weights.put(symbol, layer, at) };
      }),
    );
    await this.expectNumbers(
      source,
      blocks.flatMap((b) => this.partsOf(b.symbol, b.layer)),
    );
    const args = new Map<string, number>();
    for (const [symbol, { source }] of Object.entries(manifest.weights))
      if (source.kind === "computed" && source.by === name) args.set(source.result, weights.address(symbol, "data", layer));
    const places = {
      weight: (symbol: string, part: "data" | "scales", layer: number | undefined): number =>
        weights.address(symbol, part, layer),
      cache: (): number => {
        throw diagnostics.brokenManifest({ why: `load function ${name} uses a cache` });
      },
      batch: (): number => {
        throw diagnostics.brokenManifest({ why: `load function ${name} uses batch tables` });
      },
    };
    await device.run({ function: name, layer, args, arena, places });
    device.release(arena);
    for (const b of blocks) {
      weights.drop(b.symbol, b.layer);
      device.release(b.at);
    }
  }
}

/** Where a weight of one layer lies. */
interface Block {
  symbol: string;
  layer: number | undefined;
  at: { data: number; scales: number };
}

/** Values or scales of a weight of one layer, where they lie. */
interface ResidentPart extends StoredPart {
  symbol: string;
  plan: WeightPlan;
  layer: number | undefined;
  part: "data" | "scales";
}

const DTYPES = { f32: "F32", bf16: "BF16", "e4m3/128x128": "F8_E4M3" } as const;

/** Bytes of weights looked at together. */
const LOOK_BYTES = 16 << 20;

/** The first element of a part that is no number: read back, piece by piece. */
function firstIn(device: Device, { at, bytes, dtype, plan, part }: ResidentPart): number | undefined {
  const width = part === "scales" ? 4 : elementBytes[plan.dtype];
  for (let from = 0; from < bytes; from += LOOK_BYTES) {
    const found = firstBad(device.read(at + from, Math.min(LOOK_BYTES, bytes - from)), dtype);
    if (found !== undefined) return from / width + found;
  }
  return undefined;
}

const inWords = ({ symbol, plan, layer, part }: ResidentPart): string =>
  `${part === "scales" ? "a scale" : "a value"} of weight ${symbol}${layer === undefined ? "" : ` of layer ${layer}`} ` +
  `is NaN or infinite${namesOf(plan, layer)}`;

/** The tensor of the checkpoint that gave a part its first bad value; undefined where none of them did, as of computed weights. */
function tensorOf(device: Device, whole: ResidentPart): string | undefined {
  const { symbol, plan, layer, part, at } = whole;
  const first = firstIn(device, whole);
  if (first === undefined) return undefined;
  const byte = at + first * (part === "scales" ? 4 : elementBytes[plan.dtype]);
  const from = part === "scales" ? { data: 0, scales: at } : { data: at, scales: 0 };
  let best: { name: string; begins: number } | undefined;
  for (const p of placements(symbol, plan, layer, from)) {
    const [name, begins] = part === "scales" ? [p.scales!.tensor, p.scales!.at] : [p.tensor, p.data];
    if (begins <= byte && (!best || begins > best.begins)) best = { name, begins };
  }
  return best?.name;
}

/** The tensors of a weight, for a message. */
function namesOf(plan: WeightPlan, layer: number | undefined): string {
  if (plan.source.kind !== "checkpoint") return "";
  return `: ${plan.source.pieces.map((p) => p.tensor.replace("{layer}", String(layer)).replace("{0}", "*")).join(", ")}`;
}

/** Weights that stay, in groups that are used together: every shared weight for itself, then layer by layer. */
function groupsOf({ weights }: Manifest): [symbol: string, layer: number | undefined][][] {
  const shared: [string, undefined][][] = [];
  const layers = new Map<number, [string, number][]>();
  for (const [symbol, plan] of Object.entries(weights)) {
    if (plan.staging || plan.source.kind === "rope") continue;
    for (const layer of layersOf(plan)) {
      if (layer === undefined) shared.push([[symbol, undefined]]);
      else if (layers.has(layer)) layers.get(layer)!.push([symbol, layer]);
      else layers.set(layer, [[symbol, layer]]);
    }
  }
  return [...shared, ...[...layers].toSorted(([a], [b]) => a - b).map(([, group]) => group)];
}

/** Row p: cos(p * f) for every frequency, then sin, each times `factor`; the angle is rounded to f32 first. */
function fillRope(out: Float32Array, invFreq: readonly number[], factor: number): void {
  const half = invFreq.length;
  const f = Float32Array.from(invFreq);
  for (let p = 0; p * 2 * half < out.length; p++)
    for (let j = 0; j < half; j++) {
      const angle = Math.fround(p * f[j]);
      out[p * 2 * half + j] = Math.cos(angle) * factor;
      out[p * 2 * half + half + j] = Math.sin(angle) * factor;
    }
}

/** Bytes a load takes: weights that stay, and the largest passing need of a load function. */
export function memoryNeed(manifest: Manifest): { resident: number; passing: number } {
  const resident = residentBytes(manifest);
  let passing = 0;
  for (const { function: name, layers } of manifest.load) {
    const arena = align(arenaBytes(manifest, name, {}));
    for (const layer of layers)
      passing = Math.max(
        passing,
        arena + stagedFor(manifest, name, layer).reduce((a, s) => a + instanceBytes(manifest.weights[s.symbol]), 0),
      );
  }
  return { resident, passing };
}

function checkMemory(manifest: Manifest, device: Device): void {
  functionOf(manifest, manifest.entries.prefill);
  const { resident, passing } = memoryNeed(manifest);
  if (resident + passing > device.available())
    throw device.shortOf(
      "the model",
      resident + passing,
      [
        `weights ${diagnostics.bytes(resident)}, work while loading ${diagnostics.bytes(passing)}`,
        "a model lies in one process or on one GPU; a mesh divides it over ranks, which on the CPU can be on several hosts",
      ],
      diagnostics.fewerLayers(layersThatFit(manifest, device.available() - passing, device.largest), manifest.model.layers),
    );
}

function stagedFor(manifest: Manifest, name: string, layer: number): { symbol: string; layer: number | undefined }[] {
  return [...weightsUsed(manifest, name)].toSorted().flatMap((symbol) => {
    const plan = manifest.weights[symbol];
    if (!plan) throw diagnostics.brokenManifest({ why: `load function ${name} uses ${symbol}, which is not one of its weights` });
    return plan.staging
      ? [{ symbol, layer: plan.layers?.includes(layer) ? layer : plan.layers?.length === 1 ? plan.layers[0] : undefined }]
      : [];
  });
}

function allPlacements(manifest: Manifest, reader: Reader): Placement[] {
  return Object.entries(manifest.weights).flatMap(([symbol, plan]) =>
    layersOf(plan).flatMap((layer) => placements(symbol, plan, layer, { data: 0, scales: 0 }, reader)),
  );
}
