// What trials of an artifact's kernels run on here: the target itself where it is, else what stands in for it.
import type { CpuFacts, Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Machine } from "./machine.ts";
import type { Opened } from "./sites.ts";

/** Why there is none, and what is needed. */
export interface NoMachine {
  why: string;
  needs: string;
}

export async function machineFor({ manifest: m, files }: Pick<Opened, "manifest" | "files">): Promise<Machine | NoMachine> {
  if (m.target === "cpu") return (await import("./on-cpu.ts")).onCpu;
  if (m.cpu) return libraryFor(m.cpu, files.get(m.cpu.library)!);
  const card = await cardFor(m);
  if (card) return card;
  if (m.target === "triton") return (await import("./on-interpreter.ts")).interpreterHere() ?? noTriton;
  const { gppHere, onHost } = await import("./on-host.ts");
  const version = gppHere();
  return version === undefined ? noHost : onHost(version);
}

async function libraryFor(cpu: CpuFacts, bytes: Uint8Array): Promise<Machine | NoMachine> {
  const { lacksFor, onLibrary } = await import("./on-library.ts");
  const lacks = lacksFor(cpu);
  if (!lacks.length) return onLibrary(cpu, bytes);
  const why = `its library is for ${cpu.processor}, and this machine has no ${lacks.join(", ")}`;
  return { why, needs: "test it on such a machine, or compile it for this one" };
}

const noTriton: NoMachine = {
  why: "there is no GPU of its architecture, and no Python with Triton, torch and numpy for its interpreter",
  needs: "DSC_PYTHON names a Python that has them",
};

const noHost: NoMachine = {
  why: "there is no GPU of its architecture, and no g++ of version 12 or newer on x86-64 to run its text on the host",
  needs: "install g++, or test it where the card is",
};

/** The card that is here, of the architecture that an artifact is for. */
async function cardFor(m: Manifest): Promise<Machine | undefined> {
  const { openCuda } = await import("../../runtime/devices/cuda/index.ts");
  try {
    const cuda = openCuda(m.gpu!.arch);
    const [{ onCard }, { cachedCompile }] = await Promise.all([
      import("./on-card.ts"),
      import("../../runtime/devices/cuda/cubins.ts"),
    ]);
    const compile = cachedCompile(m.gpu!.arch);
    return onCard(cuda, (p) => p.binary ?? compile(p.name, p.text));
  } catch (e) {
    if (e instanceof DiagnosticError) return undefined;
    throw e;
  }
}
