// dsc why OUT [PASS] [SITE]: what every rule did at every place it was tried, and which kernel serves a place.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Entry } from "../../passes/index.ts";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { sizesOf, type Sizes } from "../analysis/launches.ts";
import { checkWhole } from "./options.ts";
import { readTuning } from "../tuning/store.ts";
import { readArtifact } from "../../runtime/index.ts";
import { notFound, shellWord, usage } from "../diagnostics.ts";
import { insteadOf, ledgerOf, originsOf, printing, problemsOf } from "../artifact/side-files.ts";
import { printServed, servedBy, type Served } from "../report/served.ts";
import { inOrder, lies, placeOf, printEntry, printOverview, printPass, sitesNamed } from "../report/why.ts";

interface Options {
  out: string;
  pass?: string;
  site?: string;
  fired: boolean;
  batch?: number;
  context?: number;
  all: boolean;
  json: boolean;
}

/** The word for kernel selection, beside the names of passes. */
const KERNELS = "kernels";

export const why = {
  command: "why <out> [pass] [site]",
  describe: "why a rule fired or did not, at every place it was tried; kernels: which kernel serves a place",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
      .positional("pass", { type: "string", describe: "a pass, or kernels" })
      .positional("site", {
        type: "string",
        describe:
          "a function (decode/moe_layer), a layer (layer3), a value of it (decode/moe_layer/z), a tensor or its module (q_b_proj)",
      })
      .option("fired", { type: "boolean", default: false, describe: "only what fired" })
      .option("batch", {
        type: "number",
        describe: "of kernels: those of a decode step of so many sequences, the chosen schedule beside its runners-up",
      })
      .option("context", {
        type: "number",
        describe: "with --batch: cached rows of each sequence (default: 1024, or as many as the model has)",
      })
      .option("all", { type: "boolean", default: false, describe: "with --batch: every schedule that was tried" })
      .option("json", { type: "boolean", default: false, describe: "one JSON array on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const { manifest, files } = await readArtifact(a.out, (name) => name.endsWith(".json"));
    const entries = ledgerOf(files);
    const passes = [...new Set(entries.map((e) => e.pass)), KERNELS];
    if (a.pass !== undefined && !passes.includes(a.pass))
      throw new DiagnosticError(notFound({ what: `pass ${a.pass}`, where: a.out, word: a.pass, known: passes }));
    if (a.fired && a.pass === KERNELS)
      throw new DiagnosticError(
        usage({
          problem: "--fired is of passes: kernels are chosen, not fired",
          help: `dsc why ${shellWord(a.out)} kernels${a.site === undefined ? "" : ` ${shellWord(a.site)}`}`,
          word: "--fired",
        }),
      );
    checkBatch(a);
    const sites = a.site === undefined ? undefined : sitesNamed(a.site, manifest, originsOf(files));
    if (a.pass === KERNELS) {
      const z = a.batch === undefined ? undefined : stepAt(a as { batch: number; context?: number }, manifest);
      const served = printing("problems.json", () =>
        servedBy(manifest, problemsOf(files), insteadOf(files), tunedFor(manifest), z),
      );
      // A batch is of a decode step; a place that says another entry is of that one.
      const here = chosen(served, sites, a);
      const step = here.filter((s) => s.site.startsWith("decode"));
      return tell(a.json, z && step.length ? step : here, (s) =>
        s.map((x) => printServed(x, z !== undefined && !a.all)).join("\n"),
      );
    }
    const of = entries.filter((e) => (a.pass === undefined || e.pass === a.pass) && (!a.fired || e.outcome === "fired"));
    if (sites === undefined)
      return tell(a.json, of, a.pass === undefined ? printOverview : (e) => printPass(a.pass!, inOrder(e)));
    const here = of.filter((e) => sites.some((s) => lies(placeOf(e), s)));
    // Above a value, its function says what its passes looked for.
    const around = here.length ? here : of.filter((e) => e.outcome === "none" && sites.some((s) => s.startsWith(`${e.site}/`)));
    if (!entries.some((e) => sites.some((s) => lies(placeOf(e), s))))
      throw new DiagnosticError(notFound({ what: `place ${a.site}`, where: a.out, word: a.site!, known: placesOf(entries) }));
    return tell(a.json, around, (e) =>
      e.length
        ? inOrder(e).map(printEntry).join("\n")
        : a.fired
          ? `${a.pass}: nothing fired at ${a.site}`
          : `${a.pass}: none of its rules begins at ${a.site}`,
    );
  },
};

/** Refuses a batch where it has no meaning. */
function checkBatch(a: Options): void {
  const of = (word: string, problem: string): DiagnosticError =>
    new DiagnosticError(usage({ problem, help: `dsc why ${shellWord(a.out)} kernels q_b_proj --batch 1`, word }));
  if (a.batch !== undefined && a.pass !== KERNELS)
    throw of("--batch", "--batch is of kernels: what passes do does not depend on it");
  if (a.context !== undefined && a.batch === undefined) throw of("--context", "--context is of --batch");
  if (a.all && a.batch === undefined) throw of("--all", "--all is of --batch: without a batch all are listed");
  if (a.batch !== undefined) checkWhole("--batch", a.batch, 1, 65536);
  if (a.context !== undefined) checkWhole("--context", a.context, 1);
}

/** The sizes of a decode step. */
const stepAt = ({ batch, context }: { batch: number; context?: number }, { model }: Manifest): Sizes =>
  sizesOf({ rows: batch, sequences: batch, cached: context ?? Math.min(1024, model.maxPositions) }, model.experts);

/** What was measured on this machine for the architecture of an artifact. */
const tunedFor = ({ gpu }: Manifest): readonly TunedRow[] | undefined => gpu && readTuning(archOf(gpu.arch).name)?.rows;

function chosen(all: readonly Served[], sites: readonly string[] | undefined, a: Options): Served[] {
  if (sites === undefined) return [...all];
  const here = all.filter((s) => sites.some((site) => lies(s.site, site)));
  if (!here.length)
    throw new DiagnosticError(
      notFound({
        what: `place ${a.site}`,
        where: a.out,
        word: a.site!,
        known: [...new Set(all.flatMap((s) => [s.site, s.site.slice(0, s.site.lastIndexOf("/"))]))],
      }),
    );
  return here;
}

const placesOf = (entries: readonly Entry[]): string[] => [...new Set(entries.flatMap((e) => [e.site, placeOf(e)]))];

const tell = <T>(json: boolean, found: readonly T[], print: (found: readonly T[]) => string): void =>
  void process.stdout.write(json ? `${JSON.stringify(found)}\n` : `${print(found)}\n`);
