// Whether a mesh can divide a model at all, asked before any pass: of a mesh that divides nothing, or whose groups cannot have whole
// experts of their own, the keys of the config that do not divide are told, and the numbers that would. Ranks then all compute the same.
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { meshWords, type Mesh } from "../../ir/mesh.ts";
import type { Module } from "../../ir/index.ts";
import { choicesOf, type Choice, type Group } from "../../passes/shard/table.ts";
import { meshDividesNothing } from "../diagnostics/model.ts";

/** Keys of a config that say how wide what a group divides is. */
const keys: Readonly<Record<Group, string>> = {
  heads: "num_attention_heads",
  dense: "intermediate_size",
  shared: "moe_intermediate_size and n_shared_experts",
  experts: "n_routed_experts and moe_intermediate_size",
  vocabulary: "vocab_size",
};

/** Ranks that are looked at for what would divide. */
const MOST_LOOKED_AT = 64;

/** The warning DSC6046 where `mesh` divides nothing of the model, or not the experts that its groups are for. */
export function undivided(m: Module, mesh: Mesh): Diagnostic[] {
  if (mesh.tp === 1) return [];
  const choices = choicesOf(m, mesh);
  const experts = choices.filter((c) => c.group === "experts");
  const ofGroups = mesh.ep > 1 && experts.every((c) => c.why !== undefined);
  if (!ofGroups && choices.some((c) => c.why === undefined)) return [];
  const which = ofGroups ? experts : choices;
  return [
    meshDividesNothing({
      mesh: meshWords(mesh),
      groups: ofGroups,
      whys: [...new Map(which.map((c) => [c.group, c])).values()].map((c) => `${keys[c.group]}: ${c.why}`),
      would:
        ofGroups && experts.length === 0
          ? []
          : meshesThat(m, (c) => !ofGroups || c.group === "experts", ofGroups ? mesh : undefined),
    }),
  ];
}

/** Meshes that divide one of these groups: of the same ranks where they are given, else of other numbers of ranks. */
function meshesThat(m: Module, of: (c: Choice) => boolean, same: Mesh | undefined): string[] {
  const divides = (mesh: Mesh): boolean => choicesOf(m, mesh).some((c) => of(c) && c.why === undefined);
  const numbers = Array.from({ length: same ? same.tp : MOST_LOOKED_AT }, (_, i) => i + 1);
  const meshes = numbers.flatMap((n): Mesh[] =>
    same ? (same.tp % n === 0 && n > 1 ? [{ tp: same.tp, ep: n }] : []) : n > 1 ? [{ tp: n, ep: 1 }] : [],
  );
  return meshes.filter(divides).map(meshWords);
}
