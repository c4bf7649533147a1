// Every kind of damaged input there is. A new one is a file of its own that exports a Kind, or what `prepared` makes one of, and a
// line here.
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { ApiCalls, showCall } from "./api-calls.ts";
import { artifacts } from "./artifacts.ts";
import { Checkpoints } from "./checkpoints.ts";
import { compileCase, configOf } from "./configs.ts";
import { compileFamily, showFamily } from "./family.ts";
import { GenerationOptions, showOptions } from "./generation-options.ts";
import type { Kind } from "./kind.ts";
import { manifests } from "./manifests.ts";
import { SideFiles } from "./side-files.ts";
import { templateCase, templateOf } from "./templates.ts";
import { textCase, textOf } from "./texts.ts";

/** What is made once, and given back when all cases are through. */
interface Made {
  run(seed: number): unknown;
  show?(seed: number): string;
  close?(): unknown;
  remove?(): unknown;
}

/** A kind from something that is made first; `run` may give warnings. */
function prepared(
  of: Pick<Kind, "name" | "cases" | "least" | "blameless">,
  make: () => Promise<Made> | Made,
  show?: (seed: number) => string,
): Kind {
  let made: Made | undefined;
  return {
    ...of,
    open: async () => void (made = await make()),
    run: async (seed) => ({ warnings: ((await made!.run(seed)) as Diagnostic[] | undefined) ?? [] }),
    show: (seed) => (show ?? ((s: number) => made!.show!(s)))(seed),
    close: async () => void (await (made!.close?.() ?? made!.remove?.())),
  };
}

/** Triton's texts are printed, and not compiled: no Python is looked for. */
function withoutPython(): Made {
  const before = process.env.DSC_PYTHON;
  process.env.DSC_PYTHON = "/nonexistent";
  return {
    run: (seed) => void compileFamily(seed),
    close() {
      if (before === undefined) delete process.env.DSC_PYTHON;
      else process.env.DSC_PYTHON = before;
    },
  };
}

export const kinds: readonly Kind[] = [
  prepared(
    { name: "configs", cases: { few: 250, many: 8000 }, least: { accepted: 0.05, codes: 9 } },
    () => ({ run: compileCase }),
    (seed) => JSON.stringify(configOf(seed)).slice(0, 3000),
  ),
  prepared(
    { name: "members of the family", cases: { few: 25, many: 2000 }, least: { accepted: 1, codes: 0 } },
    withoutPython,
    showFamily,
  ),
  prepared(
    { name: "module texts", cases: { few: 60, many: 5000 }, least: { accepted: 0.01, codes: 4 }, blameless: ["DSC3003"] },
    () => ({ run: textCase }),
    (seed) => textOf(seed).slice(0, 3000),
  ),
  prepared({ name: "checkpoints", cases: { few: 50, many: 2000 }, least: { accepted: 0.01, codes: 3 } }, () =>
    Checkpoints.make(),
  ),
  prepared({ name: "side files", cases: { few: 100, many: 10_000 }, least: { accepted: 0.05, codes: 5 } }, () => new SideFiles()),
  prepared(
    { name: "calls of the Node API", cases: { few: 250, many: 25_000 }, least: { accepted: 0.05, codes: 4 } },
    () => ApiCalls.make(),
    showCall,
  ),
  prepared(
    { name: "generation options", cases: { few: 250, many: 20_000 }, least: { accepted: 0.05, codes: 4 } },
    () => GenerationOptions.make(),
    showOptions,
  ),
  prepared(
    { name: "chat templates", cases: { few: 500, many: 20_000 }, least: { accepted: 0.1, codes: 4 } },
    () => ({ run: templateCase }),
    templateOf,
  ),
  manifests,
  artifacts,
];
