// A loaded kernel: its parameters laid out once in pinned memory and rewritten in place, its tensor maps encoded when an
// address or a size is new, its launch configuration with cluster and dependent-launch attributes.
import { evaluate, type Dims } from "../../../ir/size.ts";
import { boundBuffers, type KernelText, type Param } from "../../../ir/kernel/catalogue.ts";
import * as diagnostics from "./diagnostics.ts";
import { Pinned, type Driver } from "./driver.ts";

/** CUtensorMapDataType, CUlaunchAttributeID, CUfunction_attribute: the numbers of cuda.h. */
const mapTypes = { e4m3: 0, bf16: 9, f32: 7 } as const;
const swizzles = { 0: 0, 32: 1, 64: 2, 128: 3 } as const;
const ATTRIBUTE_CLUSTER = 4;
const ATTRIBUTE_DEPENDENT = 6;
const FUNCTION_SHARED = 8;
const FUNCTION_LARGE_CLUSTER = 14;
const MOST_SHARED_BY_DEFAULT = 48 * 1024;
/** Blocks of a cluster that every GPU runs; more must be asked for. */
const PORTABLE_CLUSTER = 8;

/** Tensor maps that a kernel keeps. */
const MOST_MAPS = 4096;

type TensorMap = Extract<Param, { kind: "tensormap" }>;

const sizeOfParam = (p: Param): number => (p.kind === "tensormap" ? 128 : 8);

/** What a launcher must know of a kernel. `entry` is its symbol where that is not its name. */
export type LaunchText = Omit<KernelText, "language" | "source"> & { entry?: string };

/** What a call enqueues: a kernel of dsc's, or a function of somebody's library. */
export interface Enqueued {
  readonly text: Pick<LaunchText, "params"> & { launch?: LaunchText["launch"] };
  readonly moves: number;
  enqueue(stream: number, addresses: readonly number[], dims: Dims, options?: { early?: boolean }): void;
}

export class CudaKernel implements Enqueued {
  readonly text: LaunchText;
  /** Buffers bound, in the order `enqueue` takes their addresses. */
  readonly buffers: readonly string[];
  /** Times the workspace moved: what holds its address, a graph, is stale after the next. */
  moves = 0;
  /** By parameter: which of `buffers` it is or lies over. */
  private readonly slots: readonly number[];
  /** Whether a parameter is a tensor map. */
  private readonly mapped: boolean;
  private readonly driver: Driver;
  private readonly module: number;
  private readonly func: number;
  private readonly values: Pinned;
  private readonly pointers: Pinned;
  private readonly config = new Pinned(64);
  private launchAttributes = 0;
  private readonly attributes = new Pinned(2 * 72);
  private readonly offsets: number[] = [];
  /** By the sizes of a launch: of each parameter the maps that were encoded, by address. */
  private readonly maps = new Map<string, readonly Map<number, Uint8Array>[]>();
  private encoded = 0;
  private workspace = { address: 0, bytes: 0 };

  constructor(driver: Driver, text: LaunchText, cubin: Uint8Array) {
    [this.driver, this.text, this.buffers] = [driver, text, boundBuffers(text.params)];
    this.slots = text.params.map((p) => (p.kind === "scalar" ? -1 : this.buffers.indexOf(p.kind === "buffer" ? p.name : p.of)));
    this.mapped = text.params.some((p) => p.kind === "tensormap");
    this.module = driver.get("cuModuleLoadData", cubin);
    this.func = driver.get("cuModuleGetFunction", this.module, text.entry ?? text.name);
    if (text.launch.sharedBytes > MOST_SHARED_BY_DEFAULT)
      driver.call("cuFuncSetAttribute", this.func, FUNCTION_SHARED, text.launch.sharedBytes);
    if ((text.launch.cluster ?? []).reduce((a, b) => a * b, 1) > PORTABLE_CLUSTER)
      driver.call("cuFuncSetAttribute", this.func, FUNCTION_LARGE_CLUSTER, 1);
    let at = 0;
    for (const size of [
      ...text.params.map(sizeOfParam),
      ...text.dims.map(() => 8),
      ...Array<number>(text.launch.nulls ?? 0).fill(8),
      8,
    ]) {
      at = Math.ceil(at / (size === 128 ? 64 : 8)) * (size === 128 ? 64 : 8);
      this.offsets.push(at);
      at += size;
    }
    this.values = new Pinned(at);
    this.pointers = new Pinned(8 * this.offsets.length);
    for (const [i, o] of this.offsets.entries()) this.pointers.view.setBigUint64(8 * i, BigInt(this.values.address + o), true);
    this.writeAttributes();
  }

  private writeAttributes(): void {
    const { cluster, pdl } = this.text.launch;
    const { view } = this.attributes;
    let count = 0;
    if (cluster) {
      view.setUint32(0, ATTRIBUTE_CLUSTER, true);
      for (const [i, n] of cluster.entries()) view.setUint32(8 + 4 * i, n, true);
      count++;
    }
    if (pdl) {
      view.setUint32(72 * count, ATTRIBUTE_DEPENDENT, true);
      view.setInt32(72 * count + 8, 1, true);
      count++;
    }
    this.config.view.setBigUint64(40, BigInt(this.attributes.address), true);
    this.launchAttributes = count;
  }

  /** Enqueues one launch on `stream`, all by name. `dims` must name every dim of the kernel and "SMs". */
  launch(
    stream: number,
    buffers: Readonly<Record<string, number>>,
    dims: Dims,
    scalars: Readonly<Record<string, number>> = {},
  ): void {
    const { text } = this;
    const given = (from: Readonly<Record<string, number>>, name: string): number => {
      if (from[name] === undefined) throw diagnostics.badBuffer({ kernel: text.name, name });
      return from[name];
    };
    for (const d of text.dims) given(dims, d);
    this.enqueue(
      stream,
      this.buffers.map((b) => given(buffers, b)),
      dims,
      { scalar: (name) => given(scalars, name) },
    );
  }

  /**
   * Enqueues one launch: addresses in the order of `buffers`, values of the kernel's dims and of "SMs" by name. `early`: it may begin
   * before the launch before it has ended, if the kernel can.
   */
  enqueue(
    stream: number,
    addresses: readonly number[],
    dims: Dims,
    { scalar, early = true }: { scalar?: (name: string) => number; early?: boolean } = {},
  ): void {
    const { text, values, config } = this;
    const maps = this.mapped ? this.mapsAt(dims) : [];
    for (const [i, p] of text.params.entries()) {
      const at = this.offsets[i];
      if (p.kind === "buffer") values.view.setBigUint64(at, BigInt(addresses[this.slots[i]]), true);
      else if (p.kind === "tensormap") values.bytes.set(this.tensorMap(p, maps[i], addresses[this.slots[i]], dims), at);
      else if (!scalar) throw diagnostics.badBuffer({ kernel: text.name, name: p.name });
      else if (p.dtype === "f32") values.view.setFloat32(at, scalar(p.name), true);
      else values.view.setInt32(at, scalar(p.name), true);
    }
    for (const [i, d] of text.dims.entries()) values.view.setInt32(this.offsets[text.params.length + i], dims[d], true);
    if (text.workspaceBytes !== undefined)
      values.view.setBigUint64(this.offsets.at(-1)!, BigInt(this.scratch(stream, evaluate(text.workspaceBytes, dims))), true);
    const { grid } = text.launch;
    for (let axis = 0; axis < 3; axis++) {
      const n = evaluate(grid[axis], dims);
      if (n === 0) return;
      config.view.setUint32(4 * axis, n, true);
    }
    for (const [i, n] of [text.launch.block, 1, 1, text.launch.sharedBytes].entries()) config.view.setUint32(12 + 4 * i, n, true);
    config.view.setBigUint64(32, BigInt(stream), true);
    // The last attribute is the one that lets it begin early.
    config.view.setUint32(48, this.launchAttributes - (text.launch.pdl && !early ? 1 : 0), true);
    this.driver.call("cuLaunchKernelEx", config.bytes, this.func, this.pointers.bytes, null);
  }

  /** Zeroed when it is made or grows; kernels leave it as they found it. */
  private scratch(stream: number, bytes: number): number {
    if (bytes > this.workspace.bytes) {
      this.driver.call("cuStreamSynchronize", stream);
      if (this.workspace.address) this.driver.call("cuMemFree_v2", this.workspace.address);
      this.moves++;
      this.workspace = { address: this.driver.get("cuMemAlloc_v2", bytes), bytes };
      this.driver.call("cuMemsetD8_v2", this.workspace.address, 0, bytes);
      this.driver.call("cuCtxSynchronize");
    }
    return this.workspace.address;
  }

  /** The maps of launches of these sizes, which strides and extents follow. */
  private mapsAt(dims: Dims): readonly Map<number, Uint8Array>[] {
    let sizes = "";
    for (const d of this.text.dims) sizes += `${dims[d]} `;
    let maps = this.maps.get(sizes);
    if (!maps) {
      // A prompt of another length is another map; encoding one takes a third of a microsecond, so forgetting them all is cheap.
      if (this.encoded >= MOST_MAPS) {
        this.maps.clear();
        this.encoded = 0;
      }
      this.maps.set(sizes, (maps = this.text.params.map(() => new Map())));
    }
    return maps;
  }

  private tensorMap(p: TensorMap, maps: Map<number, Uint8Array>, address: number, dims: Dims): Uint8Array {
    let map = maps.get(address);
    if (!map) {
      const extents = p.dims.map((s) => evaluate(s, dims));
      const strides = p.strides.map((s) => evaluate(s, dims));
      const room = new Pinned(128);
      const big = (list: readonly number[]): BigUint64Array => BigUint64Array.from(list, BigInt);
      // Interleave none, swizzle, L2 promotion of 256 bytes, zeros outside.
      this.driver.call(
        "cuTensorMapEncodeTiled",
        room.bytes,
        mapTypes[p.dtype],
        extents.length,
        address,
        big(extents),
        big([...strides, 0]),
        Uint32Array.from(p.box),
        new Uint32Array(extents.length).fill(1),
        0,
        swizzles[p.swizzle],
        3,
        0,
      );
      map = room.bytes;
      maps.set(address, map);
      this.encoded++;
    }
    return map;
  }

  /** Where a global variable of the kernel's text lies, and its bytes: for texts edited to keep something. */
  symbol(name: string): { at: number; bytes: number } {
    const bytes = new BigUint64Array(1);
    return { at: this.driver.get("cuModuleGetGlobal_v2", bytes, this.module, name), bytes: Number(bytes[0]) };
  }

  close(): void {
    if (this.workspace.address) this.driver.attempt("cuMemFree_v2", this.workspace.address);
    this.driver.attempt("cuModuleUnload", this.module);
  }
}
