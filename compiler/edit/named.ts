// The kernel that a person means: by its name, or by a place that it serves.
import { everyKernel } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { originsOf } from "../artifact/side-files.ts";
import { notFound, usage } from "../diagnostics.ts";
import { lies, sitesNamed } from "../report/why.ts";
import type { Opened } from "./sites.ts";

const MOST = 8;

export function kernelNamed({ manifest, files, folder }: Opened, name: string): string {
  if (Object.hasOwn(manifest.kernels, name)) return name;
  if (Object.hasOwn(everyKernel(manifest), name))
    throw new DiagnosticError(
      usage({
        problem: `kernel: ${name} is one that the runtime launches for itself`,
        help: "kernels of the model's steps can be edited",
        word: name,
      }),
    );
  const origins = originsOf(files);
  const places = sitesNamed(name, manifest, origins);
  const found = [...new Set(origins.launches.filter((l) => places.some((p) => lies(l.site, p))).map((l) => l.kernel))];
  if (found.length === 1) return found[0];
  if (!found.length)
    throw new DiagnosticError(
      notFound({ what: `kernel or place ${name}`, where: folder, word: name, known: Object.keys(manifest.kernels) }),
    );
  const more = found.length > MOST ? ` and ${found.length - MOST} more` : "";
  throw new DiagnosticError(
    usage({
      problem: `kernel: ${name} is served by ${found.length} kernels`,
      help: `name one of ${found.slice(0, MOST).join(", ")}${more}`,
      word: name,
    }),
  );
}
