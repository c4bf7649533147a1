// dsc why OUT [PASS] [SITE]: what every rule did at every place it was tried, and which kernel serves a place.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Entry } from "../../passes/index.ts";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { readTuning } from "../tuning/store.ts";
import { readArtifact } from "../../runtime/index.ts";
import { notFound, shellWord, usage } from "../diagnostics.ts";
import { insteadOf, ledgerOf, printing, problemsOf } from "../artifact/side-files.ts";
import { printServed, servedBy, type Served } from "../report/served.ts";
import { inOrder, lies, placeOf, printEntry, printOverview, printPass, withoutAlias } from "../report/why.ts";

interface Options {
  out: string;
  pass?: string;
  site?: string;
  fired: boolean;
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
        describe: "a function (decode/moe_layer), a layer (layer3), a value of it (decode/moe_layer/z)",
      })
      .option("fired", { type: "boolean", default: false, describe: "only what fired" })
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
    const sites = a.site === undefined ? undefined : withoutAlias(a.site, manifest);
    if (a.pass === KERNELS)
      return tell(
        a.json,
        chosen(
          printing("problems.json", () => servedBy(manifest, problemsOf(files), insteadOf(files), tunedFor(manifest))),
          sites,
          a,
        ),
        (s) => s.map(printServed).join("\n"),
      );
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
