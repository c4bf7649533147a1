// Libraries whose functions plug-ins bind: found, known by their digests, and tried in a process of their own, which may end.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { FoundFunction, LibraryFunction } from "../../codegen/library-function.ts";
import { calledAt } from "../../codegen/library-function.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { LibraryCall } from "../../ir/library-call.ts";
import type { Chosen } from "../../ir/kernel/catalogue.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import type { Answer, Request } from "../../runtime/tvm/trial-process.ts";
import { libraryMissing } from "../../passes/plugin-diagnostics.ts";
import { thrownAt } from "../driver/plugin-blame.ts";
import { BLANK, GUARD, besides, buffersOf, sizeOf, unlike, type Bytes } from "./memory.ts";
import type { Trial } from "./trial.ts";

const nameOf = (f: LibraryFunction): string => `function ${f.name}`;

/** A function with its libraries where they are. Throws DSC3114, at the line that declares it. */
export function foundFunction(file: string, f: LibraryFunction): FoundFunction {
  const found = (library: string): string => {
    const at = path.resolve(path.dirname(file), library);
    if (!existsSync(at)) throw missing(file, f, library, `there is no file ${at}`);
    return at;
  };
  const library = found(f.library);
  try {
    return { ...f, library, ...(f.before ? { before: f.before.map(found) } : {}), sha256: sha256(readFileSync(library)) };
  } catch (e) {
    throw e instanceof DiagnosticError ? e : missing(file, f, f.library, (e as Error).message);
  }
}

const missing = (file: string, f: LibraryFunction, library: string, problem: string): DiagnosticError =>
  new DiagnosticError(libraryMissing({ file, what: nameOf(f), library, problem }, thrownAt(f.declared, file).span));

/** A launch of a trial, and where its buffers lie in one memory. */
interface Image {
  trial: Trial;
  launch: Chosen;
  all: Bytes[];
  places: Map<Bytes, number>;
  request: Request["trials"][number];
}

/** The launch of a function at a trial, its memory laid out; or why there is none. */
export function imageOf(f: FoundFunction, trial: Trial): Image | { refused: string } {
  const launch = calledAt(f, trial.site);
  if ("reason" in launch) return { refused: launch.reason };
  const buffers = buffersOf(trial, [launch]);
  if ("reason" in buffers) return { refused: buffers.reason };
  // No more aligned than it asks for, so that what it takes for granted shows.
  const align = f.align ?? 4;
  const places = new Map<Bytes, number>();
  let end = GUARD;
  for (const b of buffers.all) {
    const at = Math.ceil(end / 4096) * 4096 + align;
    places.set(b, at);
    end = at + b.data.length + GUARD;
  }
  const bytes = new Uint8Array(end).fill(BLANK);
  for (const [b, at] of places) bytes.set(b.data, at);
  return {
    trial,
    launch,
    all: buffers.all,
    places,
    request: requestOf(launch, bytes, buffers.bound[0], places),
  };
}

function requestOf(
  launch: Chosen,
  bytes: Uint8Array,
  bound: readonly Bytes[],
  places: ReadonlyMap<Bytes, number>,
): Image["request"] {
  return {
    call: launch.problem as LibraryCall,
    image: Buffer.from(bytes).toString("base64"),
    places: bound.map((b) => places.get(b)!),
    dims: launch.dims.map(sizeOf),
  };
}

/** What is wrong with a function at the first of its trials that it fails at, or null. Throws DSC3114 where it cannot be opened. */
export async function failsInLibrary(
  file: string,
  f: FoundFunction,
  images: readonly Image[],
  seconds: number,
): Promise<{ trial: Trial; problem: string } | null> {
  // Says at once where there is no libtvm_ffi, and spares the other process to look for it.
  const { about } = await import("../../runtime/tvm/index.ts");
  const [answers, end] = asked(images, about().path, seconds);
  for (const [i, { trial, all, places }] of images.entries()) {
    const answer = answers[i];
    if (!answer) return { trial, problem: end };
    if ("open" in answer) throw missing(file, f, f.library, answer.open);
    if ("raised" in answer) return { trial, problem: `it raised ${answer.raised}` };
    const after = new Uint8Array(Buffer.from(answer.image, "base64"));
    const problem =
      besides(after, [...places], 0) ??
      unlike(
        all.map((b) => ({ bytes: b, after: after.slice(places.get(b), places.get(b)! + b.data.length) })),
        trial,
      );
    if (problem !== null) return { trial, problem };
  }
  return null;
}

/** What a process of its own answers, a line a trial, and how it ended where it gave fewer. */
function asked(images: readonly Image[], ffi: string, seconds: number): [answers: Answer[], end: string] {
  const request: Request = { trials: images.map((i) => i.request) };
  const { output, signal, status, stderr, error } = spawnSync(process.execPath, [trialFile()], {
    input: JSON.stringify(request),
    env: { ...process.env, DSC_TVM: ffi },
    stdio: ["pipe", "ignore", "pipe", "pipe"],
    timeout: seconds * 1000 * Math.max(1, images.length),
    maxBuffer: 2 ** 30,
    encoding: "utf8",
  });
  const lines = (output?.[3] ?? "").split("\n").filter((l) => l !== "");
  const said = stderr.trim().split("\n").at(-1) ?? "";
  const how =
    (error as NodeJS.ErrnoException | undefined)?.code === "ETIMEDOUT"
      ? `it did not end in ${seconds} s`
      : signal === null
        ? `it ended the process with status ${status}${said === "" ? "" : `: ${said}`}`
        : `it ended the process by ${signal}`;
  return [lines.map((l) => JSON.parse(l) as Answer), how];
}

/** The process is JavaScript: when this file runs as TypeScript (under the tests), the built one in dist. */
function trialFile(): string {
  const here = import.meta.url;
  const name = "runtime/tvm/trial-process.js";
  return fileURLToPath(here.endsWith(".ts") ? new URL(`../../dist/${name}`, here) : new URL(`../../${name}`, here));
}
