// npm run docs: writes the pages that are made from the code.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { pages, root } from "./pages.ts";

for (const [name, text] of pages) {
  writeFileSync(path.join(root, name), text());
  process.stdout.write(`${name}\n`);
}
