// Weights that stay where they are: an ONNX file names files of its own folder, or of folders below it, by offset and length. Runtimes
// refuse any other place, and links that lead there. A checkpoint elsewhere on the same disk gets a second name (a hard link) beside
// the .onnx; nothing is copied.
import { linkSync, lstatSync, realpathSync } from "node:fs";
import path from "node:path";
import type { Stored } from "../../codegen/onnx/weights.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Checkpoint } from "../../runtime/index.ts";
import { missingTensors } from "../../runtime/diagnostics.ts";
import { weightsElsewhere } from "../diagnostics.ts";
import { kindAt } from "../artifact/ours.ts";

export interface External {
  /** A tensor of the checkpoint, as the .onnx names it. */
  find(tensor: string): Stored;
  /** Files that were used, by the name that the .onnx has for them. */
  readonly used: ReadonlySet<string>;
  /** Gives files of other folders their second name; the names given. */
  link(): string[];
}

/** The tensors of a checkpoint as an .onnx at `out` names them. */
export function externalTo(checkpoint: Checkpoint, out: string): External {
  const folder = realpathSync(path.dirname(path.resolve(out)));
  const names = new Map<string, string>();
  const links = new Map<string, string>();
  const used = new Set<string>();
  const nameOf = (file: string): string => {
    const known = names.get(file);
    if (known !== undefined) return known;
    const real = realpathSync(file);
    const relative = path.relative(folder, real);
    const inside = relative !== "" && !relative.startsWith("..") && !path.isAbsolute(relative);
    const name = inside
      ? relative.split(path.sep).join("/")
      : freeName(folder, real, path.basename(file), path.basename(out, ".onnx"));
    if (!inside) links.set(path.join(folder, name), real);
    names.set(file, name);
    used.add(name);
    return name;
  };
  return {
    used,
    find(tensor) {
      const t = checkpoint.tensors.get(tensor);
      if (!t) throw missingTensors(checkpoint, [tensor]);
      const location = nameOf(checkpoint.path(t));
      return { dtype: t.dtype, shape: t.shape, location, offset: t.begin, length: t.end - t.begin };
    },
    link: () => [...links].map(([at, real]) => linked(at, real)),
  };
}

/** A name in a folder that nothing else has: the file's own, or with the .onnx's before it. */
function freeName(folder: string, real: string, own: string, model: string): string {
  const candidates = [own, `${model}.${own}`];
  const free = candidates.find((name) => kindAt(path.join(folder, name)) === undefined || isSame(path.join(folder, name), real));
  if (free === undefined)
    throw new DiagnosticError(weightsElsewhere({ file: real, why: `${candidates.join(" and ")} are other files in ${folder}` }));
  return free;
}

const isSame = (at: string, real: string): boolean => {
  const [a, b] = [lstatSync(at, { bigint: true }), lstatSync(real, { bigint: true })];
  return a.ino === b.ino && a.dev === b.dev;
};

function linked(at: string, real: string): string {
  if (kindAt(at) === undefined)
    try {
      linkSync(real, at);
    } catch (e) {
      throw new DiagnosticError(
        weightsElsewhere({ file: real, why: `it cannot get a second name there: ${(e as Error).message}` }),
      );
    }
  return at;
}
