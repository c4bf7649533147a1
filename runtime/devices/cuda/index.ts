// One GPU: memory, kernels, a stream, graphs of launches and their times. Everything is enqueued on one stream; copies are
// synchronous and ordered with it. Refuses with DSC56xx what the machine lacks.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { capabilityOf } from "./capability.ts";
import { compileCuda } from "./compiler.ts";
import * as diagnostics from "./diagnostics.ts";
import { Driver } from "./driver.ts";
import { CudaKernel, type LaunchText } from "./kernel.ts";

export { CudaKernel } from "./kernel.ts";
export { hasNvrtc } from "./compiler.ts";

const ATTRIBUTE = { multiprocessors: 16, major: 75, minor: 76 } as const;
const OUT_OF_MEMORY = 2;
const STREAM_NON_BLOCKING = 1;
const CAPTURE_RELAXED = 2;

export interface CudaOptions {
  /** What kernels were compiled for, or are to be: a card of another architecture is refused. */
  arch?: string;
  libraries?: readonly string[] | undefined;
}

/** Opens a device by its ordinal; without an architecture any is taken, and nothing can be compiled for it. */
export const openCuda = (arch?: string, ordinal = 0): Cuda => new Cuda(ordinal, arch === undefined ? {} : { arch });

export class Cuda {
  readonly name: string;
  readonly capability: readonly [major: number, minor: number];
  readonly multiprocessors: number;
  readonly memoryBytes: number;
  readonly driver: Driver;
  readonly stream: number;
  readonly device: number;
  private readonly arch: string | undefined;
  private readonly kernels: CudaKernel[] = [];

  constructor(ordinal: number, { arch, libraries }: CudaOptions = {}) {
    this.arch = arch;
    const driver = (this.driver = new Driver(libraries));
    const handle = new Int32Array(2);
    const r = driver.attempt("cuDeviceGet", handle, ordinal);
    if (r !== 0) throw diagnostics.noDevice({ why: driver.nameOf(r) });
    this.device = handle[0];
    const name = Buffer.alloc(128);
    driver.call("cuDeviceGetName", name, 128, this.device);
    this.name = name.toString("utf8", 0, name.indexOf(0));
    this.capability = [driver.attribute(ATTRIBUTE.major, this.device), driver.attribute(ATTRIBUTE.minor, this.device)];
    if (arch !== undefined && capabilityOf(arch).join() !== this.capability.join())
      throw diagnostics.wrongArchitecture({ name: this.name, capability: this.capability, arch });
    this.multiprocessors = driver.attribute(ATTRIBUTE.multiprocessors, this.device);
    driver.call("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", this.device));
    this.memoryBytes = this.memory().total;
    this.stream = driver.get("cuStreamCreate", STREAM_NON_BLOCKING);
  }

  /** Bytes free and in all. */
  memory(): { free: number; total: number } {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.driver.call("cuMemGetInfo_v2", free, total);
    return { free: Number(free[0]), total: Number(total[0]) };
  }

  /** Compiles and loads a kernel's text for the architecture it was opened with. */
  compile(text: KernelText, options: { with?: "nvrtc" | "nvcc" } = {}): CudaKernel {
    return this.loadCubin(compileCuda(text.name, text.source, this.arch!, options.with), text);
  }

  loadCubin(cubin: Uint8Array, text: LaunchText): CudaKernel {
    const kernel = new CudaKernel(this.driver, text, cubin);
    this.kernels.push(kernel);
    return kernel;
  }

  /** Device memory; its address. Throws DSC5605. */
  alloc(bytes: number): number {
    const out = new BigUint64Array(1);
    const r = this.driver.attempt("cuMemAlloc_v2", out, bytes);
    if (r === OUT_OF_MEMORY) throw diagnostics.outOfMemory({ what: "a buffer", needed: bytes, available: this.memory().free });
    if (r !== 0) throw diagnostics.driverFailed({ call: "cuMemAlloc", name: this.driver.nameOf(r), where: `${bytes} bytes` });
    return Number(out[0]);
  }

  free(address: number): void {
    this.synchronize();
    this.driver.call("cuMemFree_v2", address);
  }

  fill(address: number, byte: number, bytes: number): void {
    this.driver.call("cuMemsetD8Async", address, byte, bytes, this.stream);
  }

  upload(address: number, data: Uint8Array): void {
    this.synchronize();
    this.driver.call("cuMemcpyHtoD_v2", address, data, data.byteLength);
    // Only ordered with the legacy stream, and ours is none.
    this.driver.call("cuCtxSynchronize");
  }

  download(address: number, bytes: number): Uint8Array<ArrayBuffer> {
    this.synchronize();
    const out = new Uint8Array(bytes);
    this.driver.call("cuMemcpyDtoH_v2", out, address, bytes);
    return out;
  }

  /** Enqueues a launch; buffers, dims and scalars by name. */
  launch(
    kernel: CudaKernel,
    buffers: Readonly<Record<string, number>>,
    dims: Readonly<Record<string, number>>,
    scalars: Readonly<Record<string, number>> = {},
  ): void {
    kernel.launch(this.stream, buffers, { ...dims, SMs: this.multiprocessors }, scalars);
  }

  /** Records launches into a graph. Workspaces must have grown before: launch once outside. */
  capture(record: () => void): CudaGraph {
    this.driver.call("cuStreamBeginCapture_v2", this.stream, CAPTURE_RELAXED);
    try {
      record();
    } catch (e) {
      this.driver.attempt("cuStreamEndCapture", this.stream, new BigUint64Array(1));
      throw e;
    }
    const graph = this.driver.getLast("cuStreamEndCapture", this.stream);
    const exec = this.driver.get("cuGraphInstantiateWithFlags", graph, 0);
    this.driver.call("cuGraphDestroy", graph);
    return new CudaGraph(this.driver, exec, this.stream);
  }

  synchronize(): void {
    this.driver.call("cuStreamSynchronize", this.stream);
  }

  close(): void {
    for (const k of this.kernels) k.close();
    this.driver.attempt("cuDevicePrimaryCtxRelease_v2", this.device);
  }
}

/** An instantiated graph. */
export class CudaGraph {
  private readonly driver: Driver;
  private readonly exec: number;
  private readonly stream: number;
  private readonly events: [number, number];

  constructor(driver: Driver, exec: number, stream: number) {
    [this.driver, this.exec, this.stream] = [driver, exec, stream];
    this.events = [driver.get("cuEventCreate", 0), driver.get("cuEventCreate", 0)];
  }

  launch(): void {
    this.driver.call("cuGraphLaunch", this.exec, this.stream);
  }

  /** Microseconds of each of n replays, by events; `before` enqueues what goes before each and does not count. */
  time(n: number, before: () => void = () => {}): number[] {
    const ms = new Float32Array(1);
    return Array.from({ length: n }, () => {
      before();
      this.driver.call("cuEventRecord", this.events[0], this.stream);
      this.launch();
      this.driver.call("cuEventRecord", this.events[1], this.stream);
      this.driver.call("cuEventSynchronize", this.events[1]);
      this.driver.call("cuEventElapsedTime", ms, this.events[0], this.events[1]);
      return ms[0] * 1000;
    });
  }

  destroy(): void {
    this.driver.call("cuGraphExecDestroy", this.exec);
    for (const e of this.events) this.driver.call("cuEventDestroy_v2", e);
  }
}
