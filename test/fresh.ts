// Before each file of the tests that share a process (vitest.config.ts): its helpers are new, as are variables of the environment and the
// folder. What stays from file to file is dsc itself, whose modules take longer to load than most of these files to run.
import { beforeAll } from "vitest";

/** Of vitest's state of a worker, the modules that it has evaluated. */
interface Worker {
  evaluatedModules: {
    idToModuleMap: Map<string, { promise?: unknown; exports?: unknown; evaluated: boolean; importers: Set<string> }>;
  };
}
interface Kept {
  __vitest_worker__: Worker;
  dscStarted?: { env: NodeJS.ProcessEnv; folder: string };
}

const kept = globalThis as typeof globalThis & Kept;
const own = `${import.meta.dirname}/`;
for (const [id, module] of kept.__vitest_worker__.evaluatedModules.idToModuleMap)
  if (id.startsWith(own) && id !== import.meta.filename) {
    Object.assign(module, { promise: undefined, exports: undefined, evaluated: false });
    module.importers.clear();
  }

const started = (kept.dscStarted ??= { env: { ...process.env }, folder: process.cwd() });
beforeAll(() => {
  for (const name of Object.keys(process.env)) if (!(name in started.env)) delete process.env[name];
  Object.assign(process.env, started.env);
  process.exitCode = undefined;
  if (process.cwd() !== started.folder) process.chdir(started.folder);
});
