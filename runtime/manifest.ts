// manifest.json, from text to a record that the runtime can follow without looking again: it is JSON, of this format, as dsc wrote
// it (its digest), of the form of ir/artifact.ts, and what it refers to is there. What is not ends in DSC5001 to DSC5005.
import { inLibrary, onCpu, targets, type KernelRecord, type Manifest } from "../ir/artifact.ts";
import type { LibraryCall } from "../ir/library-call.ts";
import type { Size } from "../ir/size.ts";
import * as diagnostics from "./diagnostics.ts";
import { checkProgram } from "./manifest-program.ts";
import { checkShape } from "./manifest-shape.ts";
import { misfit, rankKernels, systemKernels, systemLaunches, type SystemKernel } from "../ir/system.ts";
import { FORMAT, MANIFEST, editedManifest, isOwnPath } from "./manifest-text.ts";
import { checkWeights } from "./manifest-weights.ts";
import { shownJson } from "./shown.ts";

/** The manifest of an artifact folder, from the text of its manifest.json. */
export function parseManifest(folder: string, text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    throw diagnostics.notAnArtifact({ folder, why: `manifest.json is not JSON: ${(e as Error).message}` });
  }
  const { format, target } = (typeof value === "object" && value !== null ? value : {}) as { format?: unknown; target?: unknown };
  if (format !== FORMAT) throw diagnostics.foreignFormat({ folder, seen: format, wanted: FORMAT });
  const edited = editedManifest(text);
  if (edited !== undefined) throw diagnostics.brokenFile({ path: MANIFEST, why: edited });
  if (typeof target === "string" && !(targets as readonly string[]).includes(target))
    throw diagnostics.wrongTarget({ target: target.slice(0, 40), device: "cpu" });
  const { digest: _, ...manifest } = value as { digest: string };
  checkManifest(manifest);
  return manifest;
}

/** Throws DSC5005, with the path of what is wrong, unless a value is a manifest that holds together. */
export function checkManifest(value: unknown): asserts value is Manifest {
  checkShape(value);
  for (const path of Object.keys(value.files))
    if (!isOwnPath(path))
      throw diagnostics.brokenFile({
        path,
        why:
          path.includes("..") || path.startsWith("/")
            ? "its path leads out of the artifact"
            : "no file of an artifact has that path",
      });
  if ((value.gpu === undefined) !== onCpu(value.target))
    throw diagnostics.brokenManifest({
      why: value.gpu ? "kernels for the CPU are of no GPU" : `kernels for ${value.target} say which GPU they are for`,
      at: "gpu",
    });
  checkLibrary(value);
  checkModel(value);
  for (const [name, k] of Object.entries(value.kernels)) checkKernel(value, name, k);
  checkEdits(value);
  checkSystem(value);
  checkWeights(value);
  checkProgram(value);
}

/** Kernels in one library say what processor it is for; others do not. */
function checkLibrary({ target, cpu, files }: Manifest): void {
  if ((cpu !== undefined) !== inLibrary(target))
    throw diagnostics.brokenManifest({
      why: cpu ? `kernels for ${target} are in no library` : `kernels for ${target} say which processor they are for`,
      at: "cpu",
    });
  if (cpu && !Object.hasOwn(files, cpu.library))
    throw diagnostics.brokenManifest({ why: `${cpu.library} is not among the files`, at: "cpu.library" });
}

/** Facts of the model against what entries give. */
function checkModel({ model, entries, functions }: Manifest): void {
  const fail = (why: string, at: string): never => {
    throw diagnostics.brokenManifest({ why, at });
  };
  if (model.cachedLayers < model.layers)
    fail(`${model.layers} layers, of which ${model.cachedLayers} have caches`, "model.cachedLayers");
  if (model.experts && model.experts.perToken > model.experts.count)
    fail(`a token goes to ${model.experts.perToken} of ${model.experts.count} experts`, "model.experts");
  for (const [kind, name] of Object.entries(entries)) {
    if (!Object.hasOwn(functions, name)) fail(`it calls ${name}, which is not one of its functions`, `entries.${kind}`);
    const { inputs, results } = functions[name];
    const wide = (what: string, width: number): void => {
      const found = results.find((r) => r.name === what);
      if (found && (found.shape.length !== 2 || found.shape[1] !== width))
        fail(`${what} of ${name} is not rows of ${width}`, `functions.${name}.results`);
    };
    if (!results.some((r) => r.name === "logits")) fail(`${name} gives no logits`, `entries.${kind}`);
    wide("logits", model.vocab);
    wide("final", model.hidden);
    const wanted = kind === "draft" ? ["hidden"] : [];
    if (inputs.map((i) => i.name).join() !== wanted.join())
      fail(
        `${name} takes ${inputs.map((i) => i.name).join(", ") || "nothing"}; the entry takes ${wanted.join() || "nothing"}`,
        `entries.${kind}`,
      );
    if (kind === "draft" && inputs[0].shape[1] !== model.hidden)
      fail(`hidden of ${name} is not rows of ${model.hidden}`, `functions.${name}.inputs`);
  }
}

/** A function of somebody's library: as many tensors as it has buffers, of their dtypes, and sizes that it is given. */
function checkCall(k: KernelRecord, call: LibraryCall, at: string): void {
  const tensors = call.args.flatMap((a) => (a.kind === "tensor" ? [a.dtype] : []));
  const buffers = k.params.map((p) => (p.kind === "buffer" ? p.dtype : p.kind));
  if (tensors.join() !== buffers.join())
    throw diagnostics.brokenManifest({
      why: `it has the buffers ${buffers.join(", ")}, and calls with ${tensors.join(", ")}`,
      at,
    });
  if (k.binary !== undefined || k.cells !== 1)
    throw diagnostics.brokenManifest({ why: "what calls a function of a library has no binary, and one cell", at });
  for (const [i, a] of call.args.entries())
    for (const s of a.kind === "tensor" ? [...a.shape, ...a.strides] : a.kind === "int" ? [a.value] : [])
      expectSymbols(s, k.dims, `${at}.call.args[${i}]`);
}

function checkKernel(m: Manifest, name: string, k: KernelRecord): void {
  const at = `kernels.${name}`;
  const folder = m.edits && Object.hasOwn(m.edits, name) ? "edits" : "kernels";
  expectFiles(m, k, `${folder}/${name}`, at);
  if (new Set(k.dims).size < k.dims.length) throw diagnostics.brokenManifest({ why: "two dims have one name", at: `${at}.dims` });
  const params = k.params.map((p) => p.name);
  if (new Set(params).size < params.length)
    throw diagnostics.brokenManifest({ why: "two parameters have one name", at: `${at}.params` });
  if (k.call) return checkCall(k, k.call, at);
  const needs = !onCpu(m.target)
    ? (["launch"] as const)
    : m.cpu
      ? (["cells", "scratchBytes"] as const)
      : (["binary", "cells", "scratchBytes"] as const);
  for (const member of needs)
    if (k[member] === undefined) throw diagnostics.brokenManifest({ why: `a kernel for ${m.target} has ${member}`, at });
  checkShared(m, k, at);
  const known = onCpu(m.target) ? k.dims : [...k.dims, "SMs"];
  expectSymbols(k.cells ?? 1, known, `${at}.cells`);
  expectSymbols(k.workspaceBytes ?? 1, known, `${at}.workspaceBytes`);
  for (const s of k.launch?.grid ?? []) expectSymbols(s, known, `${at}.launch.grid`);
  for (const [i, p] of k.params.entries()) {
    if (p.kind === "scalar" || (p.kind === "tensormap" && onCpu(m.target)))
      throw diagnostics.brokenManifest({ why: `a launch of the plan gives no ${p.kind}`, at: `${at}.params[${i}]` });
    if (p.kind !== "tensormap") continue;
    for (const s of [...p.dims, ...p.strides]) expectSymbols(s, k.dims, `${at}.params[${i}]`);
    if (p.box.length !== p.dims.length || p.strides.length !== p.dims.length - 1)
      throw diagnostics.brokenManifest({
        why: `a descriptor of ${p.dims.length} dims has ${p.strides.length} strides and a box of ${p.box.length}`,
        at: `${at}.params[${i}]`,
      });
  }
}

/** What the runtime launches for itself on a GPU: all it may need, each as its launches have it. */
function checkSystem(m: Manifest): void {
  const { system = {}, target } = m;
  const fail = (why: string, at: string): never => {
    throw diagnostics.brokenManifest({ why, at });
  };
  const launched = onCpu(target) ? {} : { ...systemKernels, ...(m.mesh ? rankKernels : {}) };
  for (const name of Object.keys(launched) as SystemKernel[])
    if (name !== "dsc_sample" && !Object.hasOwn(system, name)) fail(`an artifact for ${target} has ${name}`, "system");
  for (const [name, k] of Object.entries(system)) {
    const at = `system.${name}`;
    if (!Object.hasOwn(launched, name)) fail(`the runtime launches no ${name} on ${target}`, at);
    const why = misfit(name as SystemKernel, k);
    if (why !== null) fail(why, at);
    if (k.params.some((p) => p.kind === "tensormap")) fail("a launch of the runtime gives no tensormap", `${at}.params`);
    expectFile(m, k.text, `kernels/${name}.cu`, `${at}.text`);
    if (k.binary !== undefined) expectFile(m, k.binary, `kernels/${name}.cubin`, `${at}.binary`);
    if (!k.launch) fail("a system kernel has launch", at);
    checkShared(m, k, at);
    const { numbers } = systemLaunches[name as SystemKernel];
    for (const s of k.launch!.grid) expectSymbols(s, ["SMs", ...numbers], `${at}.launch.grid`);
  }
}

function checkShared({ gpu }: Manifest, { launch }: KernelRecord, at: string): void {
  if (gpu && launch && launch.sharedBytes > gpu.sharedPerBlock)
    throw diagnostics.brokenManifest({
      why: `a block of ${gpu.arch} may have ${gpu.sharedPerBlock} bytes`,
      at: `${at}.launch.sharedBytes`,
    });
}

/** Edits are of kernels that there are, take what those take, and keep the files of what they were made from. */
function checkEdits(m: Manifest): void {
  for (const [name, { original, held, forced }] of Object.entries(m.edits ?? {})) {
    const at = `edits.${name}`;
    const fail = (why: string): never => {
      throw diagnostics.brokenManifest({ why, at });
    };
    if (!Object.hasOwn(m.kernels, name)) fail("there is no kernel of that name");
    if (!held && forced === undefined) fail("an edit is proved or forced, and this one is neither");
    const k = m.kernels[name];
    const same = (["family", "params", "dims", "entry"] as const).every(
      (f) => JSON.stringify(k[f]) === JSON.stringify(original[f]),
    );
    if (!same) fail("the kernel takes something else than the one it was made from");
    expectFiles(m, original, `kernels/${name}`, `${at}.original`);
  }
}

/** The text of a kernel, and its binary where it has one, by their names. */
function expectFiles(m: Manifest, { text, binary }: KernelRecord, base: string, at: string): void {
  expectFile(m, text, `${base}${text.slice(text.lastIndexOf("."))}`, `${at}.text`);
  if (binary !== undefined) expectFile(m, binary, `${base}.${m.target === "cpu" ? "wasm" : "cubin"}`, `${at}.binary`);
}

/** A kernel's files go by its name. */
function expectFile(m: Manifest, path: string, wanted: string, at: string): void {
  if (path !== wanted)
    throw diagnostics.brokenManifest({ why: `the file is ${shownJson(path)}; of that kernel it is ${wanted}`, at });
  if (!Object.hasOwn(m.files, path)) throw diagnostics.brokenManifest({ why: `${path} is not among the files`, at });
}

function expectSymbols(s: Size, known: readonly string[], at: string): void {
  if (typeof s === "string" && !known.includes(s))
    throw diagnostics.brokenManifest({ why: `size symbol ${s} has no value there; known: ${known.join(", ")}`, at });
  if (typeof s === "object") for (const one of s.of) expectSymbols(one, known, at);
}
