// What a compile can be asked for.
import type { Target } from "../../ir/artifact.ts";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import type { Mesh } from "../../ir/mesh.ts";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import type { Stored } from "../checkpoint-dtypes.ts";
import type { Brings } from "../plugin/brings.ts";

export interface CompileOptions {
  target: Target;
  /** "all", "none" or names with commas; -name leaves one out. */
  passes: string;
  activations: "f32" | "bf16";
  actQuant: "dynamic" | "none";
  attention: "auto" | "expanded" | "absorbed";
  taps: boolean;
  /** GPUs: the architecture kernels are for, as codegen/cuda/archs.ts names it. C: the processor (codegen/loops/processor.ts). */
  arch?: string;
  /** CUDA: "none" prints tile programs where a native kernel would serve. */
  natives?: string;
  /** CUDA: what `dsc tune` measured. */
  tuned?: readonly TunedRow[] | undefined;
  /** CUDA: a sequence's bits do not depend on its batch. */
  deterministic?: boolean;
  set: readonly string[];
  /** The ranks that the model is divided over; one unless said. */
  mesh?: Mesh;
  /** What the checkpoint stores, where there is one: the model is compiled as that. */
  stored?: Stored | undefined;
  /** Keep the first layers only. */
  layers?: number;
  /** Make every width small (compiler/analysis/shrink.ts). */
  shrink?: boolean;
  /** Options of passes, by "pass.key". */
  passOptions?: Readonly<Record<string, string>>;
  /** What plug-ins brought beside passes. */
  brings?: Brings;
  /** Which passes are proved on the model made small: those of plug-ins, unless all are asked for. */
  prove?: "plugins" | "all";
  /** What choosing among options had to say. */
  said?: readonly Diagnostic[];
  /** Told of every stage of a compile that has ended, with the milliseconds it took. */
  timed?: (stage: string, ms: number) => void;
  /** Where a text that reproduces a failing plug-in is written; the working directory unless said. */
  reproduceIn?: string;
}

export const defaults: CompileOptions = {
  target: "cpu",
  passes: "all",
  activations: "f32",
  actQuant: "dynamic",
  attention: "auto",
  taps: false,
  set: [],
};
