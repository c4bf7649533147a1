// The proof of a divided model by group: attention, dense layers, experts, router and head are divided alone, and the small model gives
// what it gives undivided. Negative controls: a collective that is dropped, comes after the next sum instead of before it, or is done
// twice, and a rank whose router differs, have to be found, or the proof would prove nothing.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { everyNode, make, type Func, type Module, type Value } from "../../ir/index.ts";
import type { Mesh } from "../../ir/mesh.ts";
import { meetingsOf } from "../../passes/shard/divide.ts";
import { localModule } from "../../passes/shard/local.ts";
import { remakeFunc } from "../../passes/shard/remake.ts";
import { shardModule } from "../../passes/shard/shard.ts";
import { choicesOf, type Group } from "../../passes/shard/table.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { EXACT, largest, step, weightsOf, type MadeWeights } from "./verify.ts";

/** What is done wrong on purpose. */
export type Fault = "dropped" | "elsewhere" | "twice" | "another router";

/** How a fault was found: the divided module does not type-check; what ranks run gives other logits, or (null) does not run. */
export interface Found {
  fault: Fault;
  types: boolean;
  difference: number | null;
}

/** Whether the proof of what ranks run sees it. */
export const seen = ({ difference }: Found): boolean => difference === null || difference >= EXACT;

export interface GroupProof {
  group: "attention" | "dense" | "experts" | "router" | "head";
  /** Weights that are divided, without their layers; none where the group stays whole, and why. */
  divided: string[];
  why?: string;
  /** Collectives that it needs, in all functions of the entry. */
  collectives: number;
  /** Largest difference of any logit of a prefill or an extension to the undivided model's. */
  difference: number;
  holds: boolean;
  faults: Found[];
}

const groupsOf: Readonly<Record<GroupProof["group"], readonly Group[]>> = {
  attention: ["heads"],
  dense: ["dense"],
  experts: ["experts", "shared"],
  router: [],
  head: ["vocabulary"],
};

/** Proves every group of a small model alone. */
export function proveGroups(spec: ModelSpec, mesh: Mesh): GroupProof[] {
  const plain = modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: false });
  const made: MadeWeights = new Map();
  const entries = ["prefill", "extend"] as const;
  const whole = entries.map((entry) => step(plain, spec, entry, made));
  const choices = choicesOf(plain, mesh);
  return Object.entries(groupsOf).flatMap(([group, only]): GroupProof[] => {
    const own = choices.filter((c) => only.includes(c.group));
    if (group === "router" ? !spec.layers.includes("moe") : own.length === 0) return [];
    const divided = own
      .filter((c) => c.why === undefined)
      .flatMap((c) => c.members.map((x) => x.decl.name.replace(/^\w+_layer\./, "")));
    const why = own.find((c) => c.why !== undefined)?.why;
    const m = shardModule(plain, mesh, undefined, only);
    const difference = Math.max(...entries.map((entry, i) => largest(step(m, spec, entry, made), whole[i])));
    return [
      {
        group: group as GroupProof["group"],
        divided: [...new Set(divided)],
        ...(divided.length === 0 && why !== undefined ? { why } : {}),
        collectives: below(m, "prefill").reduce((n, f) => n + meetingsOf(everyNode(f)).length, 0),
        difference,
        holds: difference < EXACT,
        faults:
          group === "router" ? [routerFault(m, spec, whole[0], made)] : divided.length ? faultsOf(m, spec, whole[0], made) : [],
      },
    ];
  });
}

/** Functions of an entry. */
const below = (m: Module, entry: "prefill"): Func[] => [...m.funcs.values()].filter((f) => f.name.startsWith(m.entries[entry]));

function faultsOf(m: Module, spec: ModelSpec, whole: Float64Array, made: MadeWeights): Found[] {
  const local = localModule(m);
  return (["dropped", "elsewhere", "twice"] as const).map((fault) => ({
    fault,
    types: tried(() => withFault(m, fault)) === null,
    // What ranks run has no marks: passes after the division see it.
    difference: tried(() => largest(step({ ...withFault(local, fault), mesh: m.mesh! }, spec, "prefill", made), whole)),
  }));
}

/** What it gives; null where types or shapes do not fit. */
function tried<T>(f: () => T): T | null {
  try {
    return f();
  } catch (e) {
    if (e instanceof DiagnosticError) return null;
    throw e;
  }
}

/** The module with the first collective of every function wrong. */
function withFault(m: Module, fault: "dropped" | "elsewhere" | "twice"): Module {
  const funcs = [...m.funcs].map(([name, f]) => [name, faulty(f, m, fault)] as const);
  return { ...m, funcs: new Map(funcs) };
}

function faulty(f: Func, m: Module, fault: "dropped" | "elsewhere" | "twice"): Func {
  let first = true;
  /** What was summed too late: the value that stands where the sum should, and how it is summed. */
  let late: { value: Value; again: (v: Value) => Value } | undefined;
  return remakeFunc(f, m.graph, {
    weight: (_, was) => was,
    param: (t) => t,
    given: (operands) => operands,
    result: (v) => v,
    make(op, operands, attrs, region) {
      const again = (v: Value): Value => make(op, [v], attrs, undefined, m.graph)[0];
      if (op.traits.meets === "exchange" && first) {
        first = false;
        if (fault === "twice") return [again(again(operands[0]))];
        if (fault === "elsewhere") late = { value: operands[0], again };
        return [operands[0]];
      }
      const results = make(op, operands, attrs, region, m.graph);
      if (!late || !operands.includes(late.value)) return results;
      const { again: sum } = late;
      late = undefined;
      return [sum(results[0]), ...results.slice(1)];
    },
  });
}

/** Rank 1 has another router: its choice differs, and so its logits. */
function routerFault(m: Module, spec: ModelSpec, whole: Float64Array, made: MadeWeights): Found {
  const difference = largest(
    step({ ...m }, spec, "prefill", made, (module, rank, kept) => {
      const own = weightsOf(module, rank, kept);
      return (name, layer) => {
        const w = own(name, layer);
        return rank === 1 && name.endsWith(".router") ? { ...w, data: w.data.map((v) => -v) } : w;
      };
    }),
    whole,
  );
  return { fault: "another router", types: false, difference };
}
