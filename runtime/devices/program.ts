// Turns a function of the manifest into one flat list of words that every thread of the CPU executes alike: the launches of a walk
// (walk.ts) with all addresses and dims known. A loop over experts stays a loop, for its bounds are written by an earlier kernel; its
// body keeps dims as postfix code over m (rows), e (expert) and first (its first row).
//   launch   LAUNCH, kernel, site, layer, segment, cells, n, n values
//   experts  EXPERTS, segment, address of offsets, experts, words of the body, body: inner launches
//   copy     COPY, source segment, offset there, segment, offset there, bytes
//   inner    INNER, kernel, site, layer, n, then n + 1 items (cells first): word count and postfix code
import type { ArgPlan, FunctionPlan, Manifest } from "../../ir/artifact.ts";
import type { Size } from "../../ir/size.ts";
import type { Param } from "../../ir/kernel/catalogue.ts";
import type { WordList } from "./cpu-job.ts";
import { Router, type Use } from "./router.ts";
import type { Segments } from "./segments.ts";
import { brokenManifest } from "../diagnostics.ts";
import { TABLES, functionOf, sized, tableCount } from "../plan/dims.ts";
import type { Pointer } from "../plan/pointer.ts";
import { postfix, residual, substitute } from "../plan/postfix.ts";
import { argBytes, walkPlan, type Experts, type Launch, type Meeting, type Walked } from "../plan/walk.ts";

export const LAUNCH = 0;
export const EXPERTS = 1;
export const INNER = 2;
export const COPY = 3;

export interface Program {
  words: WordList;
  /** By the site word of a launch: where the compiler placed it. */
  sites: string[];
}

export interface Flattened extends Omit<Walked, "function"> {
  /** Index of each kernel, as programs name them. */
  kernels: ReadonlyMap<string, number>;
  /** Of a device with several: see router.ts. */
  segments?: Segments;
  /** Addresses are those of the process. */
  wide?: boolean;
}

/** A program of one rank: every launch up to where ranks meet, and on from there. */
export type Piece = { kind: "program"; program: Program } | Meeting;

/** Flattens a call of `name`. `args` are the addresses of its inputs and results, `arena` the address its slots start at. */
export function flatten(manifest: Manifest, name: string, at: Flattened): Program {
  const pieces = flattenPieces(manifest, name, at);
  const [only] = pieces;
  if (pieces.length !== 1 || only.kind !== "program")
    throw brokenManifest({ why: `${name} lets ranks meet, and this one runs alone` });
  return only.program;
}

/** The same for a rank of several: programs, and the meetings between them. */
export function flattenPieces(manifest: Manifest, name: string, at: Flattened): Piece[] {
  const pieces: Piece[] = [];
  const plan = functionOf(manifest, name);
  const writer = new Words(at);
  writer.given(plan);
  /** The loop over experts that is being read, and its launches so far. */
  let loop: { experts: Experts; body: Launch[] } | undefined;
  for (const item of walkPlan(manifest, { ...at, function: name })) {
    if (item.kind === "experts") loop = { experts: item, body: [] };
    else if (item.kind === "end") {
      writer.experts(loop!.experts, loop!.body);
      loop = undefined;
    } else if (item.kind === "meeting") {
      writer.before(item);
      pieces.push({ kind: "program", program: writer.take() }, item);
      writer.after(item);
    } else if (loop) loop.body.push(item);
    else writer.launch(item);
  }
  writer.home(plan);
  return [...pieces, { kind: "program", program: writer.take() }];
}

class Words {
  words: number[] = [];
  readonly sites: string[] = [];
  readonly #siteNumbers = new Map<string, number>();
  readonly #at: Flattened;
  readonly #router: Router | undefined;

  constructor(at: Flattened) {
    this.#at = at;
    this.#router = at.segments && new Router(at.segments, (copy) => this.words.push(COPY, ...copy));
  }

  /** What was written since it was last taken. */
  take(): Program {
    const words = this.#at.wide ? Float64Array.from(this.words) : Int32Array.from(this.words);
    this.words = [];
    return { words, sites: this.sites };
  }

  /** Ranks meet over values where their addresses say. */
  before({ pointers }: Meeting): void {
    if (this.#router) for (const p of pointers) if (p.kind === "value") this.#router.home(p.from, p.to);
  }

  after({ pointers }: Meeting): void {
    if (this.#router) for (const p of pointers) if (p.kind === "value") this.#router.given(p.from, p.to);
  }

  launch({ kernel, record, pointers, dims, at }: Launch): void {
    const index = this.#kernel(kernel, at.function);
    const site = this.#site(at.step.site);
    const own: Record<string, number> = {};
    for (const [i, d] of record.dims.entries()) own[d] = dims[i] as number;
    const cells = sized([record.cells ?? 1], own)[0];
    if (cells === 0) return;
    const segment = this.#router?.enter(usesOf({ record, pointers })) ?? 0;
    this.words.push(LAUNCH, index, site, at.layer ?? -1, segment, cells, pointers.length + dims.length);
    for (const p of pointers) this.words.push(this.#address(p));
    for (const d of dims) this.words.push(d as number);
  }

  /** The whole loop runs in one segment, so that nothing is copied inside it. */
  experts({ offsets, count }: Experts, body: readonly Launch[]): void {
    const { words } = this;
    const segment = this.#router?.enter([{ operand: offsets, written: false }, ...body.flatMap(usesOf)]) ?? 0;
    words.push(EXPERTS, segment, this.#address(offsets), count, 0);
    const from = words.length;
    for (const launch of body) this.#inner(launch);
    words[from - 1] = words.length - from;
  }

  #inner({ kernel, record, pointers, dims, at }: Launch): void {
    const { words } = this;
    const cells = substitute(record.cells ?? 1, Object.fromEntries(dims.map((d, i) => [record.dims[i], d])));
    words.push(INNER, this.#kernel(kernel, at.function), this.#site(at.step.site), at.layer ?? -1, pointers.length + dims.length);
    postfix(residual(cells, {}), words);
    for (const p of pointers) {
      const moved: Size[] = [this.#address(p)];
      if (p.row) moved.push({ op: "mul", of: [p.row, "first"] });
      if (p.expert) moved.push({ op: "mul", of: [p.expert, "e"] });
      postfix(moved.length === 1 ? moved[0] : { op: "add", of: moved }, words);
    }
    for (const d of dims) postfix(d, words);
  }

  /** What lies in place before the program runs. */
  given({ inputs }: FunctionPlan): void {
    const { places, batch } = this.#at;
    if (!this.#router) return;
    this.#named(inputs, (from, to) => this.#router!.given(from, to));
    if (batch) for (const t of TABLES) this.#router.given(places.batch(t), places.batch(t) + tableCount(t, batch) * 4);
  }

  /** Brings results to where the caller knows them. */
  home({ results }: FunctionPlan): void {
    if (this.#router) this.#named(results, (from, to) => this.#router!.home(from, to));
  }

  #named(list: readonly ArgPlan[], visit: (from: number, to: number) => void): void {
    for (const a of list) {
      const from = this.#at.args.get(a.name);
      if (from !== undefined) visit(from, from + argBytes(a, this.#at.batch));
    }
  }

  #kernel(name: string, from: string): number {
    const found = this.#at.kernels.get(name);
    if (found === undefined) throw brokenManifest({ why: `${from} launches ${name}, which is not one of its kernels` });
    return found;
  }

  #site(name: string): number {
    let site = this.#siteNumbers.get(name);
    if (site === undefined) {
      this.#siteNumbers.set(name, (site = this.sites.length));
      this.sites.push(name);
    }
    return site;
  }

  #address = (p: Pointer): number => (this.#router ? this.#router.address(p.at, p) : p.at);
}

/** What a launch reads and writes. */
const usesOf = ({ record, pointers }: Pick<Launch, "record" | "pointers">): Use[] =>
  pointers.map((p, i) => ({ operand: p, written: written(record.params[i]) }));

/** Whether a launch writes what it is given for a parameter. */
const written = (p: Param | undefined): boolean => p?.kind === "buffer" && p.access !== "in";
