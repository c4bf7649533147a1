// One HTML file: the page's style and script as the build made them, and the report as compressed data. Nothing is fetched.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import type { Report } from "./schema.ts";

/** Beside the compiled modules, where the build put them; from the sources, which tests run, that is in dist. */
const assets = ["../page", "../../../dist/compiler/report/page"].map((f) => path.resolve(import.meta.dirname, f));

function asset(name: string): string {
  const file = assets.map((f) => path.join(f, name)).find((f) => existsSync(f) && f.includes(`${path.sep}dist${path.sep}`));
  return readFileSync(file ?? path.join(assets[0], name), "utf8");
}

/** By this an earlier report is known. */
export const REPORT_MARK = '<meta name="generator" content="dsc report">';

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** Nothing may leave the page, or come from elsewhere. */
const POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

export function reportFile(report: Report): string {
  const data = gzipSync(JSON.stringify(report), { level: 9 }).toString("base64");
  const title = escaped(`${report.model.architecture} for ${report.target} · dsc`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
${REPORT_MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>
${asset("page.css").replaceAll("</style", "<\\/style")}
</style>
</head>
<body>
<noscript>This report is drawn by a script inside this file; nothing is fetched from elsewhere.</noscript>
<div id="page"></div>
<script type="text/plain" id="report">${data}</script>
<script>
${asset("page.js").replaceAll("</script", "<\\/script")}
</script>
</body>
</html>
`;
}
