// Holds what a plug-in brings to what it says of itself, before anything uses it: ops to their signatures, activations to
// themselves, kernels to their ops' references, on the CPU always and on a card where there is one.
import { archWith, isFor, type GivenSchedule } from "../../codegen/brought.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import { cudaText } from "../../codegen/cuda/target.ts";
import type { Arch, Native } from "../../codegen/cuda/native.ts";
import type { Case, Family } from "../../codegen/family.ts";
import type { FoundFunction } from "../../codegen/library-function.ts";
import type { Activation } from "../../ir/activation.ts";
import type { Target } from "../../ir/artifact.ts";
import type { Chosen } from "../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Op } from "../../ir/op.ts";
import { opNamed, gated } from "../../ir/ops/index.ts";
import { gatedFamily } from "../../codegen/kernels/elementwise.ts";
import { knowing } from "../../ir/vocabulary.ts";
import { timedOut, withinBudget } from "../driver/plugin-gate.ts";
import { thrownAt, withoutExit } from "../driver/plugin-blame.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import type { Brings, HeldTo } from "./brings.ts";
import { notHeld } from "../../passes/plugin-diagnostics.ts";
import { callFailsOnGpu, cardFor, failsOnGpu, nativeLaunches, printedLaunches } from "./on-gpu.ts";
import { failsInLibrary, imageOf } from "./library.ts";
import { failsOnCpu } from "./on-cpu.ts";
import { opFails } from "./op-laws.ts";
import type { Plugin } from "./plugin.ts";
import { trialOf, variations, type Trial } from "./trial.ts";

/** Tries all that one plug-in brings; throws DSC3111 for what fails. `cards`: whether a card may be used. */
export async function hold(file: string, p: Plugin, brings: Brings, cards: boolean, seconds: number): Promise<HeldTo[]> {
  const bench = new Bench(file, brings, cards, seconds);
  try {
    for (const { op } of p.ops ?? []) bench.op(op);
    for (const a of p.activations ?? []) bench.activation(a);
    for (const f of p.kernels ?? []) await bench.family(f);
    for (const [name, list] of Object.entries(p.natives ?? {}))
      for (const n of list) await bench.native(n, archOf(name, brings.kernels.archs));
    for (const f of p.functions ?? []) await bench.called(brings.kernels.functions.find((x) => x.name === f.name)!);
    for (const s of p.schedules ?? []) bench.schedule(s);
    return bench.held;
  } finally {
    bench.close();
  }
}

const countOf = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

class Bench {
  readonly held: HeldTo[] = [];
  readonly #cards = new Map<string, Cuda | string>();
  readonly #file: string;
  readonly #brings: Brings;
  readonly #useCards: boolean;
  readonly #seconds: number;

  constructor(file: string, brings: Brings, useCards: boolean, seconds: number) {
    this.#seconds = seconds;
    this.#file = file;
    this.#brings = brings;
    this.#useCards = useCards;
  }

  #say(what: string, says: string, proved = true, only?: Target): void {
    this.held.push({ file: this.#file, what, says, proved, ...(only === undefined ? {} : { only }) });
  }

  /** Code of the plug-in at work: within the budget, and what it throws is its own. What is ended by force runs no `finally`. */
  #run<T>(what: string, trial: string, work: () => T): T {
    try {
      return knowing(this.#brings.words, () => withoutExit(() => withinBudget(work, this.#seconds)));
    } catch (e) {
      const { notes, span } = thrownAt(e, this.#file);
      if (timedOut(e))
        throw new DiagnosticError(
          notHeld({ file: this.#file, what, trial, problem: `it did not end in ${this.#seconds} s`, notes }),
        );
      if (e instanceof DiagnosticError)
        throw new DiagnosticError([
          notHeld({ file: this.#file, what, trial, problem: "it threw", notes }, span),
          ...e.diagnostics,
        ]);
      throw new DiagnosticError(
        notHeld(
          { file: this.#file, what, trial, problem: `it threw ${e instanceof Error ? e.message : String(e)}`, notes },
          span,
        ),
      );
    }
  }

  #fail(what: string, trial: string, problem: string): never {
    throw new DiagnosticError(notHeld({ file: this.#file, what, trial, problem, notes: [] }));
  }

  op(op: Op): void {
    const what = `op ${op.name}`;
    if (!op.reference)
      return this.#say(what, "not tried, because it has no reference: nothing that it is used in can be proved", false);
    const out = this.#run(what, "odd sizes, one and none", () => opFails(op));
    if ("problem" in out) this.#fail(what, out.trial, out.problem);
    this.#say(
      what,
      out.trials ? `held to its signature at ${countOf(out.trials, "size")}` : "not tried, because its operands are of a step",
      out.trials > 0,
    );
  }

  /** Both of its meanings side by side, over the numbers that gates take, in the kernel of gated layers. */
  activation(a: Activation): void {
    const what = `activation ${a.name}`;
    const c: Case = { sizes: {}, rest: [37], attrs: { act: a.name }, within: 1e-5 };
    for (const v of variations) {
      const found = this.#run(what, a.name, () => {
        const trial = trialOf(gated.op, c, v);
        return "reason" in trial
          ? { trial: a.name, out: { problem: trial.reason } }
          : { trial: trial.what, out: failsOnCpu(gatedFamily as never, trial) };
      });
      if (found.out && "problem" in found.out)
        this.#fail(what, found.trial, `its value and its tile program differ: ${found.out.problem}`);
    }
    this.#say(what, "its value and its tile program agree");
  }

  async family(f: Family): Promise<void> {
    const what = `kernel ${f.name}`;
    if (!f.cases?.length)
      this.#fail(what, "nothing", `it has no cases: say at which sizes it is tried, cases: [{ sizes: { ... } }]`);
    let [onCpu, onGpu] = [0, 0];
    const refusals: string[] = [];
    const arch = archOf(undefined, this.#brings.kernels.archs);
    for (const c of f.cases!)
      for (const v of variations) {
        const trial = this.#trial(what, f.serves, c, v);
        if (typeof trial === "string") {
          refusals.push(trial);
          continue;
        }
        const out = this.#run(what, trial.what, () => failsOnCpu(f, trial));
        if (out && "problem" in out) this.#fail(what, trial.what, out.problem);
        if (out && "refused" in out) {
          // Rows apart are a variation of ours, which a family need not take; its own case it must.
          if (v.gap === 0) this.#fail(what, trial.what, `it does not take its own case: ${out.refused}`);
          continue;
        }
        onCpu++;
        const card = await this.#card(arch);
        if (typeof card === "string") continue;
        const launches = printedLaunches(f, trial);
        if ("refused" in launches) continue;
        const problem = await failsOnGpu(card, arch, this.#brings.kernels, trial, launches);
        if (problem !== null) this.#fail(`${what}, printed as CUDA`, trial.what, problem);
        onGpu++;
      }
    if (onCpu === 0) return this.#say(what, `not tried, because ${refusals[0]}`, false);
    const card = await this.#card(arch);
    const there = onGpu && typeof card !== "string" ? ` and ${onGpu} on ${card.name}` : "";
    this.#say(what, `held to its op at ${countOf(onCpu, "trial")} on the CPU${there}`);
  }

  async native(n: Native, arch: Arch): Promise<void> {
    const what = `native ${n.family} of ${arch.name}`;
    if (!n.cases?.length)
      this.#fail(what, "nothing", "it has no cases: say at which sizes it is tried, cases: [{ sizes: { ... } }]");
    const extended = archWith(arch, this.#brings.kernels);
    const card = await this.#card(arch);
    let [tried, printed] = [0, 0];
    for (const c of n.cases!)
      for (const v of variations) {
        const trial = this.#trial(what, n.serves, c, v);
        if (typeof trial === "string") continue;
        const found = this.#run(what, trial.what, () => {
          const launches = nativeLaunches(n, trial, arch);
          if (!("refused" in launches))
            for (const l of launches)
              cudaText(l.launches[0].family, l.launches[0].problem, { ...extended, natives: [n, ...extended.natives] });
          return launches;
        });
        if ("refused" in found) {
          if (v.gap === 0) this.#fail(what, trial.what, `it does not take its own case: ${found.refused}`);
          continue;
        }
        for (const { schedule, launches } of found) {
          printed++;
          if (typeof card === "string") continue;
          const problem = await failsOnGpu(
            card,
            { ...extended, natives: [n, ...extended.natives] },
            this.#brings.kernels,
            trial,
            launches,
          );
          if (problem !== null) this.#fail(`${what}, schedule ${schedule}`, trial.what, problem);
          tried++;
        }
      }
    if (typeof card === "string")
      this.#say(what, `not tried, because there is ${card}: ${countOf(printed, "text")} printed`, false, "cuda");
    else this.#say(what, `held to its op at ${countOf(tried, "trial")} on ${card.name}`);
  }

  /** A function of a library: on the CPU in a process of its own, which may end; for CUDA on the card that is here. */
  async called(f: FoundFunction): Promise<void> {
    const what = `function ${f.name}`;
    if (!f.cases?.length)
      this.#fail(what, "nothing", "it has no cases: say at which sizes it is tried, cases: [{ sizes: { ... } }]");
    const images: Exclude<ReturnType<typeof imageOf>, { refused: string }>[] = [];
    const refusals: string[] = [];
    for (const c of f.cases)
      for (const v of variations) {
        const trial = this.#trial(what, f.serves, c, v);
        if (typeof trial === "string") {
          refusals.push(trial);
          continue;
        }
        const image = this.#run(what, trial.what, () => imageOf(f, trial));
        if (!("refused" in image)) images.push(image);
        // Rows apart are a variation of ours, which a function need not take; its own case it must.
        else if (v.gap === 0) this.#fail(what, trial.what, `it does not take its own case: ${image.refused}`);
      }
    const only = f.on === "cuda" ? "cuda" : "cpu";
    if (!images.length) return this.#say(what, `not tried, because ${refusals[0]}`, false, only);
    if (f.on === "cuda") return this.#calledOnCard(f, what, images);
    const failed = await failsInLibrary(this.#file, f, images, this.#seconds);
    if (failed) this.#failAt(f, what, failed.trial.what, failed.problem);
    this.#say(what, `held to its op at ${countOf(images.length, "trial")} on the CPU`, true, only);
  }

  async #calledOnCard(f: FoundFunction, what: string, images: readonly { trial: Trial; launch: Chosen }[]): Promise<void> {
    const card = await this.#card(archOf(undefined, this.#brings.kernels.archs));
    if (typeof card === "string") return this.#say(what, `not tried, because there is ${card}`, false, "cuda");
    for (const { trial, launch } of images) {
      const problem = await callFailsOnGpu(card, trial, launch);
      if (problem !== null) this.#failAt(f, what, trial.what, problem);
    }
    this.#say(what, `held to its op at ${countOf(images.length, "trial")} on ${card.name}`, true, "cuda");
  }

  /** The line is that which declares the function. */
  #failAt(f: FoundFunction, what: string, trial: string, problem: string): never {
    const { span } = thrownAt(f.declared, this.#file);
    throw new DiagnosticError(notHeld({ file: this.#file, what, trial, problem, notes: [] }, span));
  }

  /** A schedule that its native could not run, or of a native that is not there, is refused. */
  schedule(s: GivenSchedule): void {
    const what = `schedule of ${s.native}`;
    const arch = archWith(archOf(undefined, this.#brings.kernels.archs), this.#brings.kernels);
    const n = arch.natives.find((x) => x.family === s.native);
    if (!n)
      return this.#fail(
        what,
        JSON.stringify(s.schedule),
        `there is no native ${s.native}: ${arch.natives.map((x) => x.family).join(", ")}`,
      );
    const [from, to] = s.rows;
    if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 1 && to >= from && s.us > 0))
      this.#fail(what, JSON.stringify(s), "rows are [from, to] of at least 1, and us the microseconds of a launch");
    const why = this.#run(what, JSON.stringify(s.schedule), () =>
      isFor(s, s.problem) ? n.schedules.illegal(s.problem, s.schedule, arch.machine) : null,
    );
    if (why !== null) this.#fail(what, JSON.stringify(s.schedule), `it cannot run ${JSON.stringify(s.problem)}: ${why}`);
    this.#say(what, `legal for ${JSON.stringify(s.problem)}; its time of ${s.us} us is its author's: dsc tune measures it here`);
  }

  /** The trial of a case, or why it is none. */
  #trial(what: string, serves: readonly string[], c: Case, v: (typeof variations)[number]): Trial | string {
    const name = c.op ?? serves[0];
    const op = knowing(this.#brings.words, () => opNamed(name));
    if (!op) return this.#fail(what, name, `it serves ${name}, and there is no op of that name`);
    if (!op.reference) return `${name} has no reference`;
    const trial = this.#run(what, `${name} at ${JSON.stringify(c.sizes)}`, () => trialOf(op, c, v));
    if (!("reason" in trial)) return trial;
    // What no case can have is said; a case that lacks a size of the op is its author's mistake.
    return trial.reason.startsWith("sizes has no ")
      ? this.#fail(what, `${name} at ${JSON.stringify(c.sizes)}`, trial.reason)
      : trial.reason;
  }

  async #card(arch: Arch): Promise<Cuda | string> {
    if (!this.#useCards) return "no card asked for";
    if (!this.#cards.has(arch.name)) this.#cards.set(arch.name, await cardFor(arch));
    return this.#cards.get(arch.name)!;
  }

  close(): void {
    for (const c of this.#cards.values()) if (typeof c !== "string") c.close();
  }
}
