// After tsc: the script and style of the page of `dsc report`, each as one file without imports, beside the compiled modules.
import { build } from "esbuild";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../../..");

await build({
  absWorkingDir: root,
  entryPoints: ["compiler/report/page/page.ts", "compiler/report/page/page.css"],
  outdir: "dist/compiler/report/page",
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome111", "firefox115", "safari16.4"],
  legalComments: "eof",
  logLevel: "warning",
});
