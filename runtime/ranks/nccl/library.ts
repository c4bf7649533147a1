// NCCL's C interface through koffi: only the calls used here, each checked. Every handle and device address is a plain number.
import koffi from "koffi";
import { ncclFailed, ncclOld, noNccl } from "../../diagnostics/nccl.ts";
import { candidates } from "./find.ts";

/** 2.18 is the first version whose ncclConfig_t is declared here; later ones take it as it is. */
const OLDEST = 2_18_00;
const CONFIG_VERSION = 2_18_00;
const CONFIG_BYTES = 48;
const CONFIG_MAGIC = 0xcafebeef;
/** What ncclConfig_t calls undefined. */
const UNSET = -(2 ** 31);

const ID_BYTES = 128;
export const SUCCESS = 0;
export const IN_PROGRESS = 7;
export const TYPES = { i32: 2, f32: 7, bf16: 9 } as const;
export const SUM = 0;

const Id = koffi.struct("ncclUniqueId", { internal: koffi.array("uint8_t", ID_BYTES) });

/** Argument letters: p buffer, h handle or address, q size, i int. */
const signatures = {
  ncclGetVersion: "p",
  ncclGetUniqueId: "p",
  ncclAllReduce: "hhqiihh",
  ncclAllGather: "hhqihh",
  ncclReduceScatter: "hhqiihh",
  ncclSend: "hqiihh",
  ncclRecv: "hqiihh",
  ncclGroupStart: "",
  ncclGroupEnd: "",
  ncclCommGetAsyncError: "hp",
  ncclCommFinalize: "h",
  ncclCommDestroy: "h",
  ncclCommAbort: "h",
} as const;
const types: Record<string, string> = { p: "void *", h: "uint64_t", q: "size_t", i: "int" };

type Name = keyof typeof signatures;
type Call = (...args: unknown[]) => number;

/** "2.28.3" of 22803; before 2.9 versions had a digit less. */
export const versionWords = (v: number): string =>
  v < 10_000
    ? [Math.floor(v / 1000), Math.floor(v / 100) % 10, v % 100].join(".")
    : [Math.floor(v / 10_000), Math.floor(v / 100) % 100, v % 100].join(".");

export class Nccl {
  /** What was opened. */
  readonly path: string;
  readonly version: string;
  readonly #calls: Record<Name, Call>;
  readonly #init: (comm: BigUint64Array, ranks: number, id: object, rank: number, config: Uint8Array) => number;
  readonly #errorOf: (code: number) => string;
  readonly #lastOf: (comm: number) => string;

  /** Opens the first of `names` that loads. Throws DSC5100 and DSC5101. */
  constructor(names: readonly string[] = candidates()) {
    const { library, path } = open(names);
    const bind = <F>(name: string, result: string, args: readonly unknown[]): F => {
      try {
        return library.func(name, result, args as string[]) as unknown as F;
      } catch (e) {
        throw noNccl({ tried: [`${path}: ${(e as Error).message.split("\n")[0]}`] });
      }
    };
    const named = (name: Name): Call =>
      bind(
        name,
        "int",
        [...signatures[name]].map((c) => types[c]),
      );
    this.path = path;
    // Of an old library this call is all that there need be.
    const version = new Int32Array(1);
    const asked = named("ncclGetVersion")(version);
    this.version = asked === SUCCESS ? versionWords(version[0]) : "of an unknown version";
    if (asked !== SUCCESS || version[0] < OLDEST) throw ncclOld({ path, have: this.version, need: versionWords(OLDEST) });
    this.#calls = Object.fromEntries((Object.keys(signatures) as Name[]).map((n) => [n, named(n)])) as Record<Name, Call>;
    this.#init = bind("ncclCommInitRankConfig", "int", ["void *", "int", Id, "int", "void *"]);
    this.#errorOf = bind("ncclGetErrorString", "str", ["int"]);
    this.#lastOf = bind("ncclGetLastError", "str", ["uint64_t"]);
  }

  /** The raw result code. */
  attempt(name: Name, ...args: unknown[]): number {
    return this.#calls[name](...args);
  }

  /** What is said of a code, with what NCCL noted last. */
  words(code: number, comm = 0): string {
    const last = this.#lastOf(comm)?.trim();
    return `${this.#errorOf(code)}${last ? `: ${last}` : ""}`;
  }

  /** The diagnostic of a call that has failed. */
  failure(call: string, code: number, comm: number, where: string): Error {
    return ncclFailed({ call, why: this.words(code, comm), where, version: this.version });
  }

  /** An id by which the ranks of one communicator find each other; made by one of them. */
  uniqueId(): Uint8Array {
    const id = new Uint8Array(ID_BYTES);
    const code = this.attempt("ncclGetUniqueId", id);
    if (code !== SUCCESS) throw this.failure("ncclGetUniqueId", code, 0, "");
    return id;
  }

  /** Begins to make a communicator, which does not block: it is there once its async error is no longer ncclInProgress. */
  begin(ranks: number, id: Uint8Array, rank: number): { comm: number; code: number } {
    const config = new DataView(new ArrayBuffer(CONFIG_BYTES));
    config.setBigUint64(0, BigInt(CONFIG_BYTES), true);
    config.setUint32(8, CONFIG_MAGIC, true);
    config.setUint32(12, CONFIG_VERSION, true);
    // blocking; then cgaClusterSize, minCTAs, maxCTAs, netName (null), splitShare.
    for (const [at, v] of [
      [16, 0],
      [20, UNSET],
      [24, UNSET],
      [28, UNSET],
      [40, UNSET],
    ] as const)
      config.setInt32(at, v, true);
    const comm = new BigUint64Array(1);
    const code = this.#init(comm, ranks, { internal: id }, rank, new Uint8Array(config.buffer));
    return { comm: Number(comm[0]), code };
  }
}

function open(names: readonly string[]): { library: ReturnType<typeof koffi.load>; path: string } {
  const tried: string[] = [];
  for (const path of names) {
    try {
      return { library: koffi.load(path), path };
    } catch (e) {
      tried.push(`${path}: ${(e as Error).message.split("\n")[0].slice(0, 160)}`);
    }
  }
  throw noNccl({ tried });
}
