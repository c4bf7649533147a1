// --target native: machine code by what is here. C where there is a compiler, else TVM where it is found, else WebAssembly, with a note.
import { targets, type Target } from "../../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { notNative } from "../diagnostics.ts";
import { findCompiler } from "../export/c-compiler.ts";
import type { Brings } from "../plugin/brings.ts";
import { findLinker } from "../tvm/link.ts";
import { findTvmCompiler, PINNED } from "../tvm/version.ts";
import { thisProcessor } from "./processor.ts";

/** What --target takes: a target, or the best of those for this machine's processor. */
export const askedTargets = [...targets, "native"] as const;
/** A target, or "native". */
export type AskedTarget = (typeof askedTargets)[number];

/** The target that is meant, and what there is to say of it. */
export function targetMeant(
  asked: AskedTarget,
  { kernels }: Pick<Brings, "kernels">,
  mesh = false,
): { target: Target; said?: Diagnostic[] } {
  if (asked !== "native") return { target: asked };
  if (mesh) return webAssembly(["the ranks of a divided model run as WebAssembly"]);
  const functions = kernels.functions.filter((f) => f.on === "cpu").map((f) => f.name);
  if (functions.length) return webAssembly([`only WebAssembly calls functions of plug-ins: ${functions.join(", ")}`]);
  if (!thisProcessor()) return webAssembly([`machine code is made for x64 and arm64, and this is ${process.arch}`]);
  const c = whyNotC();
  if (c === undefined) return { target: "c" };
  const tvm = whyNotTvm();
  return tvm === undefined ? { target: "tvm" } : webAssembly([c, tvm]);
}

const webAssembly = (why: string[]): { target: Target; said: Diagnostic[] } => ({ target: "cpu", said: [notNative({ why })] });

function whyNotC(): string | undefined {
  try {
    findCompiler();
    return undefined;
  } catch (e) {
    if (e instanceof DiagnosticError) return "there is no C compiler: CC, cc, gcc or clang";
    throw e;
  }
}

function whyNotTvm(): string | undefined {
  const found = findTvmCompiler();
  if ("other" in found) return `TVM is ${found.other}, and ${PINNED} is known here`;
  if ("missing" in found) return `there is no TVM ${PINNED}: DSC_TVM or DSC_PYTHON names it`;
  return findLinker() === undefined ? "TVM is there, but no linker: LD, ld or ld.lld" : undefined;
}
