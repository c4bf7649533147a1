// Source text as lines with colours: CUDA, Python, and our own texts of graphs and tile programs.
import hljs from "highlight.js/lib/core";
import cpp from "highlight.js/lib/languages/cpp";
import python from "highlight.js/lib/languages/python";
import type { HLJSApi, Language } from "highlight.js";
import { h } from "./dom.ts";

/** Texts of graphs (`%q = linear %x, @w {..} : [T, 64] bf16`) and of tile programs (`v[1, 128] = load x[i, p : 128]`). */
const dsc = (hl: HLJSApi): Language => ({
  name: "dsc",
  keywords: {
    keyword:
      "func module return yield assume layers from scaled computed call kernel grid for when load store fill reduce dot scan " +
      "iota exclusive along by cols rows in out",
    type: "f32 bf16 i32 e4m3 batch cache",
  },
  contains: [
    hl.COMMENT("//", "$"),
    hl.COMMENT("^\\s*#|;;", "$"),
    hl.QUOTE_STRING_MODE,
    { className: "variable", begin: /%[\w.]+/ },
    { className: "symbol", begin: /@[\w./]+/ },
    { className: "number", begin: /\b\d[\d.]*(e[+-]?\d+)?\b/ },
  ],
});

hljs.registerLanguage("cuda", cpp);
hljs.registerLanguage("python", python);
hljs.registerLanguage("dsc", dsc);

export type LanguageName = "cuda" | "python" | "tile" | "dsc";

/** HTML of every line; a span that goes over a line's end is closed and opened again. */
export function highlighted(text: string, language: LanguageName): string[] {
  const html = hljs.highlight(text, { language: language === "tile" ? "dsc" : language, ignoreIllegals: true }).value;
  const open: string[] = [];
  return html.split("\n").map((line) => {
    const before = open.join("");
    for (const [tag] of line.matchAll(/<span[^>]*>|<\/span>/g)) {
      if (tag === "</span>") open.pop();
      else open.push(tag);
    }
    return before + line + "</span>".repeat(open.length);
  });
}

/** Lines of a graph without the columns that align their types. */
export const tight = (text: string): string => text.replace(/(\S) {2,}/g, "$1 ");

/** A text as a list of numbered lines. `attrs` gives what a line carries. */
export function codeView(
  text: string,
  language: LanguageName,
  label: string,
  attrs: (index: number) => Record<string, string | number | undefined> = () => ({}),
): { element: HTMLElement; lines: HTMLElement[] } {
  const lines = highlighted(text.replace(/\n$/, ""), language).map((html, i) => {
    const code = h("code", {});
    code.innerHTML = html || " ";
    return h("div", { class: "line", ...attrs(i) }, h("span", { class: "at", "aria-hidden": "true" }, i + 1), code);
  });
  return { element: h("div", { class: "code", tabindex: 0, role: "region", "aria-label": label }, lines), lines };
}
