// What the page of `dsc report` is given: one JSON value inside the file. Texts of graphs are as in the artifact's graph folder; numbers
// are bytes, operations and microseconds unless their names say otherwise.
import type { ModelFacts } from "../../../ir/artifact.ts";
import type { Entry } from "../../../passes/ledger.ts";
import type { Fit } from "../../analysis/fit.ts";

export interface Report {
  format: "dsc-report/1";
  compiler: string;
  target: string;
  arch?: string;
  options: Record<string, string | boolean>;
  model: ModelFacts;
  /** What floors are for. */
  device: Device;
  /** The function of every entry: prefill, extend, decode, draft. */
  entries: Record<string, string>;
  /** Texts that passes and functions point to, each once. */
  texts: string[];
  /** Ops that only look at memory in another way. */
  views: string[];
  /** In order; the first is the graph before any pass. */
  passes: PassData[];
  ledger: Entry[];
  kernels: Record<string, KernelData>;
  /** Steps whose launches are counted and weighed. */
  steps: StepData[];
  /** Keys of config.json that launches come from. */
  config: ConfigKey[];
  /** At the first decode step and the longest context asked for. */
  memory: Fit;
  /** What was measured, in the order it was given. */
  runs: RunData[];
}

export interface Device {
  name: string;
  source: string;
  /** Bytes a second. */
  bandwidth: number;
  /** Operations a second. */
  peaks: Record<"fp8" | "bf16" | "f32", number>;
  /** Bytes. */
  memory: number;
}

export interface PassData {
  name: string;
  summary: string;
  /** Indices of texts: every function after the pass, and the weights. */
  functions: Record<string, number>;
  weights: number;
  /** Functions that are not as they were before it. */
  changed: string[];
}

export interface KernelData {
  family: string;
  /** A tile program that every target can run, or a kernel written for this one. */
  form: "tile program" | "native";
  language: "cuda" | "python" | "tile";
  source: string;
  /** What its lines are: runs that begin at a line, from 0, with kind, name, and the ops of a fused op's graph that they compute. */
  lines: [line: number, kind: string, name: string | null, ops?: readonly string[]][];
  /** Where the launches of it are: sites. */
  sites: string[];
  problem?: object;
  /** Facts of a launch, in words. */
  launch: string[];
  /** At a place: which schedules there were, and what each would take. */
  choices: Choice[];
}

export interface Choice {
  site: string;
  /** "T up to 16". */
  when?: string;
  candidates: { name: string; chosen: boolean; time: string }[];
  /** Kernels of other families, and why they do not run. */
  instead: { family: string; reason: string }[];
}

export interface StepData {
  entry: string;
  rows: number;
  sequences: number;
  cached: number;
  launches: number;
  bytes: number;
  flops: number;
  floor: number;
  /** What the chosen kernels are expected to take; those without a time count as their floors. Where times of the GPU are known. */
  expected?: number;
  functions: FunctionData[];
}

export interface FunctionData {
  name: string;
  /** How often the step calls it. */
  calls: number;
  /** In the order they happen. */
  launches: (LaunchData | CallData)[];
  buffers: BufferData[];
  /** Bytes of the slots that buffers share. */
  arena: number;
}

export interface LaunchData {
  kernel: string;
  site: string;
  op: string;
  /** Of one call of the function: slices of a region. */
  times: number;
  /** Of one launch. */
  bytes: number;
  flops: number;
  floor: number;
  format: "fp8" | "bf16" | "f32";
  bound: "bytes" | "FLOPs";
  /** What it is expected to take, and how that is known. */
  expected?: { us: number; source: string };
  /** Of the step's floor, all launches of it in the step; 0 to 1. */
  share: number;
  /** Sizes of the step for which this kernel is chosen. */
  when?: string;
  /** The line of the function's text after the last pass, from 0; absent for copies. */
  line?: number;
  /** Of a fused op: the ops of the graph that it stands for, and of the graphs of those, each with its depth. */
  parts?: [op: string, depth: number][];
  tensors: string[];
  keys: string[];
  rules: string[];
  /** The buffers it is passed, in the kernel's order. */
  args: ArgData[];
}

/** Calls in a row of one function, for these layers. */
export interface CallData {
  call: string;
  layers: number[];
}

export interface ArgData {
  /** As the kernel calls it. */
  param: string;
  access: "in" | "out" | "inout";
  /** What lies there: "%qa_a", "@moe_layer.wq_b, scales", "cache latent". */
  of: string;
}

/** A buffer that lives between launches of one call. */
export interface BufferData {
  name: string;
  shape: string;
  bytes: number;
  /** The launches that first and last touch it, by their index. */
  from: number;
  to: number;
}

export interface ConfigKey {
  key: string;
  /** As config.json has it, where the artifact keeps it. */
  value?: string;
}

/** A run on some machine: of `dsc profile` by kernel, of `dsc bench` by prompt and step. */
export interface RunData {
  /** The file, without folder and ending. */
  name: string;
  device: string;
  /** Sequences, and rows of a prompt, where the run says so. */
  batch?: number;
  prompt?: number;
  /** Milliseconds of a prompt and of a step; of a bench what its rows are called. */
  steps: { test: string; ms: number; floor_ms: number | null; tokens_per_s?: number }[];
  /** In one prompt, and in one decode step. */
  kernels?: Record<"prefill" | "decode", Record<string, MeasuredKernel>>;
}

/** Launches of a kernel in one step, microseconds of all of them together, and the floor under those on the machine of the run. */
export interface MeasuredKernel {
  launches: number;
  us: number;
  floor: number | null;
}
