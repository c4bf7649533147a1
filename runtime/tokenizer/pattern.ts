// Patterns of tokenizer files, which are Oniguruma's, as JavaScript's. The tokenizers package translates classes, escapes and
// anchors; what it takes for something else is written differently here first: possessive repeats and atomic groups, which it
// makes greedy, and letters without case, of which it knows the ASCII ones only.
import type { Part } from "../side-file.ts";

/** What the package's pattern compiler does; passed in, because the package is loaded when first used. */
export type CompilePattern = (source: string) => RegExp;

/** A pattern of the form {"Regex": ...} or {"String": ...}. */
export function patternOf(part: Part, compile: CompilePattern): RegExp {
  part.object();
  const string = part.get("String");
  if (string.given) return new RegExp(escapeRegex(string.text()), "gu");
  const regex = part.get("Regex");
  if (!regex.given) part.fail('needs "Regex" or "String"');
  try {
    return compile(rewritePattern(regex.text()));
  } catch (e) {
    if (!(e instanceof SyntaxError)) throw e;
    return regex.fail(`is a pattern that JavaScript cannot run: ${e.message}`);
  }
}

export const escapeRegex = (text: string): string =>
  text.replace(/[\\^$.*+?()[\]{}|/-]/g, (c) => (c === "-" ? "\\x2d" : `\\${c}`));

/** Letters that are an ASCII letter in another case and not ASCII: the long s and the Kelvin sign. */
const OTHER_CASE = new Map([
  ["s", "[sS\\u017F]"],
  ["k", "[kK\\u212A]"],
]);

interface Group {
  at: number;
  atomic: boolean;
  anyCase: boolean;
}

/** The pattern with possessive and atomic parts as lookaheads matched again, which JavaScript does not give back. */
export function rewritePattern(given: string): string {
  const source = given.startsWith("(?i)") ? `(?i:${given.slice(4)})` : given;
  const groups: Group[] = [];
  let out = "";
  let atom = -1;
  let anyCase = false;
  let names = 0;
  const keep = (text: string): string => {
    const name = `keep${names++}`;
    return `(?:(?=(?<${name}>${text}))\\k<${name}>)`;
  };
  const emit = (text: string): void => {
    atom = out.length;
    out += text;
  };
  for (let i = 0; i < source.length;) {
    const c = source[i];
    if (c === "\\") {
      const escape = /^\\(?:[pPx]\{[^}]*\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[\s\S])/u.exec(source.slice(i, i + 100))?.[0] ?? c;
      emit(escape);
      i += escape.length;
    } else if (c === "[") {
      const end = endOfClass(source, i);
      emit(anyCase ? inAnyCase(source.slice(i, end)) : source.slice(i, end));
      i = end;
    } else if (c === "(") {
      const prefix = /^\((?:\?(?:<[=!]|<\w+>|i:|[:=!>]))?/.exec(source.slice(i, i + 60))![0];
      groups.push({ at: out.length, atomic: prefix === "(?>", anyCase });
      if (prefix === "(?i:") anyCase = true;
      out += prefix === "(?>" ? "(?:" : prefix;
      atom = -1;
      i += prefix.length;
    } else if (c === ")") {
      const group = groups.pop();
      out += c;
      i++;
      if (group?.atomic) out = out.slice(0, group.at) + keep(out.slice(group.at));
      anyCase = group?.anyCase ?? anyCase;
      atom = group?.at ?? -1;
    } else if ("*+?".includes(c) && atom >= 0) {
      out += c;
      i++;
      if (source[i] === "+") {
        out = out.slice(0, atom) + keep(out.slice(atom));
        i++;
      } else if (source[i] === "?") {
        out += "?";
        i++;
      }
    } else {
      const text = String.fromCodePoint(source.codePointAt(i)!);
      const other = anyCase ? OTHER_CASE.get(text.toLowerCase()) : undefined;
      // A brace repeats what is before it; anything else is an atom of its own.
      const repeat = /^\{\d*,?\d*\}/.exec(source.slice(i, i + 30))?.[0];
      if (c === "{" && repeat !== undefined) out += repeat;
      else if (c === "|") {
        out += c;
        atom = -1;
      } else emit(other ?? text);
      i += c === "{" && repeat !== undefined ? repeat.length : text.length;
    }
  }
  return out;
}

/** A class with the other cases of the letters in it; one that JavaScript cannot read stays as it is. */
function inAnyCase(text: string): string {
  const members = text.startsWith("[^") ? `[${text.slice(2)}` : text;
  let pattern: RegExp;
  try {
    pattern = new RegExp(members, "iu");
  } catch {
    return text;
  }
  return `${text.slice(0, -1)}${pattern.test("s") ? "\\u017F" : ""}${pattern.test("k") ? "\\u212A" : ""}]`;
}

/** The end of a character class, in which others may be nested. */
function endOfClass(source: string, from: number): number {
  let depth = 0;
  for (let i = from; i < source.length; i++) {
    if (source[i] === "\\") i++;
    else if (source[i] === "[") {
      depth++;
      if (source[i + 1] === "^") i++;
      // A bracket that is the first of its class stands for itself.
      if (source[i + 1] === "]") i++;
    } else if (source[i] === "]" && --depth === 0) return i + 1;
  }
  return source.length;
}
