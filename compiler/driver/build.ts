// Fourth verb of a compile: a kernel for every launch, named and built once, and memory shared within each function.
import type { Built, TargetBackend, Use } from "../../codegen/backend.ts";
import type { FunctionPlan, KernelRecord } from "../../ir/artifact.ts";
import { printOrigins, type Module } from "../../ir/index.ts";
import type { TirFunction } from "../../codegen/tir/ir.ts";
import type { Instead, KernelText, Problem } from "../../ir/kernel/catalogue.ts";
import { planMemory } from "../../passes/plan/memory.ts";
import type { Draft, DraftFunc } from "../../passes/plan/select.ts";
import { bufferViews, type Launched } from "../analysis/buffer-views.ts";
import { expertsOfRank, launchesOf, ownSizes, workOf, type Experts, type Launch } from "../analysis/launches.ts";
import { OriginLog, type Origins } from "../analysis/origins.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import type { TritonJob } from "../artifact/triton.ts";

export interface BuiltModel {
  kernels: Record<string, KernelRecord>;
  /** Those that the runtime launches for itself, on a GPU. */
  system?: Record<string, KernelRecord>;
  functions: Record<string, FunctionPlan>;
  /** What each kernel was made for: `dsc why OUT kernels` explains the choice by it. */
  problems: Record<string, Problem>;
  /** Why other hand-written kernels do not run at its first place. */
  instead: Record<string, readonly Instead[]>;
  /** Texts and binaries of the kernels, by path. */
  files: Map<string, string | Uint8Array>;
  origins: Origins;
  /** What is left to compile by Triton. */
  triton: TritonJob[];
  /** What TVM compiles, by the names of kernels. */
  tir: (readonly [kernel: string, f: TirFunction])[];
}

export function build(module: Module, drafts: readonly DraftFunc[], target: TargetBackend, spec: ModelSpec): BuiltModel {
  const experts = expertsOfRank(spec.moe ? { count: spec.moe.experts, perToken: spec.moe.topk } : null, module);
  const origins = new OriginLog(module, spec, target);
  const kernels = new KernelTable(target, (name, built) => origins.text(name, built.segments));
  const functions: Record<string, FunctionPlan> = {};
  for (const draft of drafts) {
    const func = module.funcs.get(draft.name)!;
    const launches = new Map(launchesOf(func, draft).map((l) => [l.draft, l]));
    const nameOf = (d: Draft & { kind: "kernel" }): string => {
      const name = kernels.nameOf(d, () => useOf(module, launches.get(d)!, experts));
      origins.add(name, func, d);
      return name;
    };
    functions[draft.name] = planMemory(draft, nameOf, (tenant) => origins.keep(func, tenant));
  }
  const { records, problems, instead, files, triton, tir } = kernels;
  const texts = target.system?.(spec.vocab, module.mesh !== undefined);
  if (texts) origins.system(texts, spec.vocab);
  const system = texts && systemOf(texts, files);
  return {
    kernels: records,
    ...(system ? { system } : {}),
    functions,
    problems,
    instead,
    files,
    origins: origins.origins,
    triton,
    tir,
  };
}

/** The kernels that the runtime launches for itself, their texts put into `files`. */
function systemOf(texts: readonly KernelText[], files: Map<string, string | Uint8Array>): Record<string, KernelRecord> {
  return Object.fromEntries(
    texts.map(({ name, source, params, dims, launch }) => {
      const text = `kernels/${name}.cu`;
      files.set(text, source);
      return [name, { text, entry: name, family: "system", params, dims, launch }];
    }),
  );
}

/** The kernels of a model. A family and a problem are one kernel, whatever launches it. */
class KernelTable {
  readonly records: Record<string, KernelRecord> = {};
  readonly problems: Record<string, Problem> = {};
  readonly instead: Record<string, readonly Instead[]> = {};
  readonly files = new Map<string, string | Uint8Array>();
  readonly triton: TritonJob[] = [];
  readonly tir: BuiltModel["tir"] = [];
  readonly #names = new Map<string, string>();
  readonly #target: TargetBackend;

  readonly #told: (name: string, built: Built) => void;

  constructor(target: TargetBackend, told: (name: string, built: Built) => void) {
    this.#told = told;
    this.#target = target;
  }

  /** The kernel of a problem, built where it is new; `use` says what it was first chosen for. */
  nameOf(launched: Launched, use: () => Use): string {
    const { family, problem, instead } = launched.chosen;
    const key = `${family} ${JSON.stringify(problem)}`;
    let name = this.#names.get(key);
    if (name === undefined) {
      const built = this.#target.build(family, problem, use());
      this.#names.set(key, (name = this.#free(built.name)));
      this.#keep(name, problem, built, launched);
      this.#told(name, built);
    }
    this.#say(name, instead ?? []);
    return name;
  }

  /** Why others do not run where a kernel does: of all its sites. */
  #say(name: string, reasons: readonly Instead[]): void {
    const known = this.instead[name] ?? [];
    const more = reasons.filter((r) => !known.some((k) => k.family === r.family && k.reason === r.reason));
    if (more.length) this.instead[name] = [...known, ...more];
  }

  /** A name that no kernel has yet. */
  #free(wanted: string): string {
    let name = wanted;
    for (let i = 2; this.records[name]; i++) name = `${wanted}_${i}`;
    return name;
  }

  #keep(name: string, problem: Problem, built: Built, launched: Launched): void {
    const text = `kernels/${name}.${built.textType}`;
    this.files.set(text, built.text);
    const binary = built.binary && `kernels/${name}.${built.binaryType}`;
    if (built.binary && binary) this.files.set(binary, built.binary);
    const views = bufferViews(launched, built.record.params, built.record.dims);
    this.records[name] = {
      text,
      ...(binary ? { binary } : {}),
      ...built.record,
      ...(Object.keys(views).length ? { views } : {}),
    };
    if (built.aot) this.triton.push({ name, entry: built.record.entry, text: built.text, aot: built.aot });
    if (built.tir) this.tir.push([name, built.tir]);
    this.problems[name] = problem;
  }
}

/** What the header of a kernel says of the launch it was first chosen for: its own work, at sizes that it is for. */
function useOf(m: Module, launch: Launch, experts: Experts): Use {
  const { node, site, chosen } = launch.draft;
  const sizes = ownSizes(launch, experts);
  // Headers of texts count every pair of causal attention, which is twice what its mask leaves of a prompt: the floor that they give is
  // of a kernel that does not skip any.
  const { bytes, flops } = sizes ? workOf(m, launch, { ...sizes, everyPair: 1 }) : { bytes: 0, flops: 0 };
  const at =
    sizes &&
    ["T", "B", ...(launch.func.assume.t === launch.func.assume.s ? [] : ["s"])].map((k) => `${k} = ${sizes[k]}`).join(", ");
  return {
    op: chosen.part?.op ?? node?.op.name ?? "copy",
    site,
    origin: node ? printOrigins(node.graph.originsOf(node)) : "",
    ...(at ? { cost: { bytes, flops, at } } : {}),
  };
}
