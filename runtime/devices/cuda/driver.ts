// The CUDA driver API through koffi: only the calls used here, each checked. Handles and device addresses are plain numbers,
// which koffi passes fastest as uint64; all are below 2^53.
import koffi from "koffi";
import * as diagnostics from "./diagnostics.ts";

type Library = ReturnType<typeof koffi.load>;

/** Argument letters: p buffer or null, h handle or address, u uint32, i int32, q size, s C string, m CUipcMemHandle by value. */
const signatures = {
  cuInit: "u",
  cuDriverGetVersion: "p",
  cuDeviceGet: "pi",
  cuDeviceGetCount: "p",
  cuDeviceGetUuid_v2: "pi",
  cuDeviceGetName: "pii",
  cuDeviceGetAttribute: "pii",
  cuDevicePrimaryCtxRetain: "pi",
  cuDevicePrimaryCtxRelease_v2: "i",
  cuCtxSetCurrent: "h",
  cuCtxSynchronize: "",
  cuGetErrorName: "ip",
  cuMemGetInfo_v2: "pp",
  cuMemAlloc_v2: "pq",
  cuMemFree_v2: "h",
  cuMemcpyHtoD_v2: "hpq",
  cuMemcpyDtoH_v2: "phq",
  cuMemHostAlloc: "pqu",
  cuMemFreeHost: "h",
  cuMemcpyHtoDAsync_v2: "hhqh",
  cuMemcpyDtoHAsync_v2: "hhqh",
  cuMemcpyDtoDAsync_v2: "hhqh",
  cuMemsetD8_v2: "huq",
  cuMemsetD8Async: "huqh",
  cuModuleLoadData: "pp",
  cuModuleUnload: "h",
  cuModuleGetFunction: "phs",
  cuModuleGetGlobal_v2: "pphs",
  cuFuncSetAttribute: "hii",
  cuFuncGetAttribute: "pih",
  cuStreamCreate: "pu",
  cuStreamSynchronize: "h",
  cuStreamQuery: "h",
  cuStreamWaitEvent: "hhu",
  cuStreamBeginCapture_v2: "hi",
  cuStreamEndCapture: "hp",
  cuEventCreate: "pu",
  cuEventRecord: "hh",
  cuEventSynchronize: "h",
  cuEventQuery: "h",
  cuEventElapsedTime: "phh",
  cuEventDestroy_v2: "h",
  cuGraphInstantiateWithFlags: "phq",
  cuGraphLaunch: "hh",
  cuGraphExecDestroy: "h",
  cuGraphDestroy: "h",
  cuLaunchKernelEx: "phpp",
  cuIpcGetMemHandle: "ph",
  cuIpcOpenMemHandle_v2: "pmu",
  cuIpcCloseMemHandle: "h",
  cuTensorMapEncodeTiled: "piuhpppp" + "iiii",
} as const;

const types: Record<string, string | ReturnType<typeof koffi.struct>> = {
  p: "void *",
  h: "uint64_t",
  u: "uint32_t",
  i: "int32_t",
  q: "uint64_t",
  s: "str",
  m: koffi.struct({ words: koffi.array("uint64_t", 8) }),
};

export type Call = keyof typeof signatures;
/** Lays a library's function behind letters; all return int. */
export const bind = (library: Library, name: string, letters: string): ((...args: unknown[]) => number) =>
  library.func(
    name,
    "int32_t",
    [...letters].map((c) => types[c]),
  ) as (...args: unknown[]) => number;

/** Opens the first library that loads; throws what `refuse` makes of the reasons. */
export function open(names: readonly string[], refuse: (tried: string[]) => Error): Library {
  const tried: string[] = [];
  for (const name of names) {
    try {
      return koffi.load(name);
    } catch (e) {
      tried.push(`${name}: ${(e as Error).message.split("\n")[0].slice(0, 160)}`);
    }
  }
  throw refuse(tried);
}

const LIBRARIES = [
  "libcuda.so.1",
  "/usr/local/nvidia/lib64/libcuda.so.1",
  "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
  "/usr/lib64/libcuda.so.1",
];

/** CUDA 12.3 is the first driver whose tensor maps and launch attributes are all used here. */
const OLDEST = 12030;

export class Driver {
  private readonly calls: Record<Call, (...args: unknown[]) => number>;
  private readonly out = new BigUint64Array(2);
  /** The CUDA it speaks, "12.8". */
  readonly version: string;

  /** `libraries` are tried in order; the system's names when absent. */
  constructor(libraries: readonly string[] = LIBRARIES) {
    const library = open(libraries, (tried) => diagnostics.noDriver({ tried }));
    this.calls = Object.fromEntries(
      Object.entries(signatures).map(([name, letters]) => [name, bind(library, name, letters)]),
    ) as Driver["calls"];
    const version = new Int32Array(1);
    const known = this.calls.cuDriverGetVersion(version) === 0;
    this.version = known ? diagnostics.version(version[0]) : "an unknown version";
    if (known && version[0] < OLDEST) throw diagnostics.oldDriver({ have: version[0], need: OLDEST });
    const r = this.calls.cuInit(0);
    if (r !== 0) throw diagnostics.noDevice({ why: this.nameOf(r) });
  }

  /** Calls and throws DSC5609 unless it succeeds. */
  call(name: Call, ...args: unknown[]): void {
    const r = this.calls[name](...args);
    if (r !== 0) throw diagnostics.driverFailed({ call: name, name: this.nameOf(r), where: "" });
  }

  /** The raw result code. */
  attempt(name: Call, ...args: unknown[]): number {
    return this.calls[name](...args);
  }

  /** A call whose first argument receives a handle or address. */
  get(name: Call, ...args: unknown[]): number {
    this.out[0] = 0n;
    this.call(name, this.out, ...args);
    return Number(this.out[0]);
  }

  /** A call whose last argument receives a handle. */
  getLast(name: Call, ...args: unknown[]): number {
    this.out[0] = 0n;
    this.call(name, ...args, this.out);
    return Number(this.out[0]);
  }

  /** How many devices it shows: those of CUDA_VISIBLE_DEVICES, where that is set. */
  devices(): number {
    const count = new Int32Array(1);
    this.call("cuDeviceGetCount", count);
    return count[0];
  }

  attribute(id: number, device: number): number {
    const v = new Int32Array(1);
    this.call("cuDeviceGetAttribute", v, id, device);
    return v[0];
  }

  nameOf(code: number): string {
    const at = new BigUint64Array(1);
    if (this.calls.cuGetErrorName(code, at) !== 0 || at[0] === 0n) return `error ${code}`;
    const bytes = new Uint8Array(koffi.view(at[0], 64));
    return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
  }
}

/** Memory that stays where it is, aligned, with its address. */
export class Pinned {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: number;

  constructor(size: number, alignment = 64) {
    const room = new Uint8Array(new ArrayBuffer(size + alignment));
    const start = Number(koffi.address(room));
    const shift = (alignment - (start % alignment)) % alignment;
    this.bytes = room.subarray(shift, shift + size);
    this.view = new DataView(room.buffer, shift, size);
    this.address = start + shift;
  }
}

/** Page-locked memory of the driver. */
export class PinnedBlock {
  readonly address: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  private readonly driver: Driver;

  constructor(driver: Driver, size: number) {
    this.driver = driver;
    this.address = driver.get("cuMemHostAlloc", size, 0);
    this.bytes = new Uint8Array(koffi.view(BigInt(this.address), size));
  }

  free(): void {
    this.driver.attempt("cuMemFreeHost", this.address);
  }
}
