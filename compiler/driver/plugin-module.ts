// Reading one plug-in file: its default export, or what went wrong in words with the file and line. A plug-in sees the running
// dsc by the names "dsc/ir", "dsc/passes" and "dsc/codegen", wherever it lies and whatever is installed beside it.
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { pluginNotLoaded } from "../../passes/plugin-diagnostics.ts";
import { timedOut, withinBudget } from "./plugin-gate.ts";
import { isPluginExit, rememberPlugin, thrownAt, withoutExit } from "./plugin-blame.ts";
import { notRegular } from "../../runtime/files.ts";

/** The default export of a plug-in; its other exports are its own. */
export async function exported(file: string, seconds: number): Promise<unknown> {
  const full = path.resolve(file);
  if (!existsSync(full)) throw new DiagnosticError(pluginNotLoaded({ file, problem: ["there is no such file"] }));
  const why = notRegular(statSync(full));
  if (why !== undefined) throw new DiagnosticError(pluginNotLoaded({ file, problem: [why] }));
  // Only who has a plug-in pays for what plug-ins may import. The plug-in's ops and passes are the objects of this process.
  const [{ createJiti }, ir, passes, codegen, plugin] = await Promise.all([
    import("jiti"),
    import("../../ir/index.ts"),
    import("../../passes/index.ts"),
    import("../../codegen/index.ts"),
    import("../plugin/index.ts"),
  ]);
  const virtualModules = {
    "dsc/ir": strict("dsc/ir", ir),
    "dsc/passes": strict("dsc/passes", passes),
    "dsc/codegen": strict("dsc/codegen", codegen),
    "dsc/plugin": strict("dsc/plugin", plugin),
  };
  // Nothing is cached: a file is loaded as it is now.
  const jiti = createJiti(import.meta.url, { fsCache: false, moduleCache: false, interopDefault: false, virtualModules });
  rememberPlugin(file);
  const rejections: unknown[] = [];
  const rejected = (e: unknown): void => void rejections.push(e);
  process.on("unhandledRejection", rejected);
  let given: unknown;
  try {
    given = withoutExit(() => withinBudget(() => (jiti(full) as { default?: unknown }).default, seconds));
    // A promise that the module left behind is found rejected once the queue has been through.
    await new Promise((resolve) => setImmediate(resolve));
  } catch (e) {
    if (timedOut(e)) throw new DiagnosticError(pluginNotLoaded({ file, problem: [`it did not end in ${seconds} s`] }));
    if (e instanceof DiagnosticError)
      throw new DiagnosticError([
        pluginNotLoaded(
          { file, problem: ["declaring its rules or passes failed", ...thrownAt(e, file).notes] },
          thrownAt(e, file).span,
        ),
        ...e.diagnostics,
      ]);
    throw new DiagnosticError(
      pluginNotLoaded(
        {
          file,
          problem: isPluginExit(e)
            ? ["it calls process.exit", ...thrownAt(e, file).notes]
            : [...reasonOf(e), ...thrownAt(e, file).notes],
        },
        thrownAt(e, file).span,
      ),
    );
  } finally {
    process.off("unhandledRejection", rejected);
  }
  if (rejections.length)
    throw new DiagnosticError(
      pluginNotLoaded(
        { file, problem: ["a promise of its own was rejected", ...reasonOf(rejections[0])] },
        thrownAt(rejections[0], file).span,
      ),
    );
  if (typeof (given as { then?: unknown } | null | undefined)?.then === "function")
    throw new DiagnosticError(pluginNotLoaded({ file, problem: ["its default export is a Promise: a pass is a value"] }));
  return given;
}

/** The first lines of what went wrong, without stack. */
export const reasonOf = (e: unknown): string[] =>
  (e instanceof Error ? e.message || e.name : String(e))
    .split("\n")
    .filter((l) => l.trim() !== "" && !/^\s+at /.test(l))
    .slice(0, 3);

/** A module that says which name it does not have, where a plug-in asks for one. */
function strict(module: string, exports: object): object {
  // What module loaders ask of any module.
  const asked = new Set([
    "default",
    "__esModule",
    "then",
    "toJSON",
    "module.exports",
    "constructor",
    "prototype",
    "inspect",
    "valueOf",
    "toString",
  ]);
  return new Proxy(Object.freeze({ ...exports, __esModule: true }), {
    get(target, name) {
      if (typeof name !== "string" || name in target || asked.has(name)) return Reflect.get(target, name) as unknown;
      const near = didYouMean(name, Object.keys(exports));
      throw new TypeError(`${module} has no export ${name}${near ? `; did you mean ${near}?` : ""}`);
    },
  });
}
