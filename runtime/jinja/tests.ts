// The tests of Jinja: `x is name`.
import { isIterable } from "./attributes.ts";
import { failure } from "./errors.ts";
import { binary, contains } from "./operators.ts";
import { isLower, isUpper } from "./string-methods.ts";
import { str } from "./text.ts";
import { Callable, Range, Thing, Tuple, Undefined, View, compare, equal, isNumber, type Value } from "./values.ts";

type Test = (v: Value, ...args: Value[]) => boolean;

const remainder = (v: Value, by: Value): bigint | number => {
  // Of a text, Python's % formats.
  if (typeof v === "string") throw failure("not all arguments converted during string formatting");
  return binary("%", v, by) as bigint | number;
};
const eq: Test = (a, b) => equal(a, b);
const ne: Test = (a, b) => !equal(a, b);
const lt: Test = (a, b) => compare(a, b, "<") < 0;
const le: Test = (a, b) => compare(a, b, "<=") <= 0;
const gt: Test = (a, b) => compare(a, b, ">") > 0;
const ge: Test = (a, b) => compare(a, b, ">=") >= 0;

/** Whether two values are one in Python: of texts and numbers, whether they are of one type and equal. */
const same: Test = (a, b) => (typeof a === "object" || typeof b === "object" ? a === b : typeof a === typeof b && a === b);

/** Tests by name; the number is how many arguments they need. */
const table: Readonly<Record<string, [needs: number, test: Test]>> = {
  boolean: [0, (v) => typeof v === "boolean"],
  callable: [0, (v) => v instanceof Callable || (v instanceof Thing && v.call !== undefined)],
  defined: [0, (v) => !(v instanceof Undefined)],
  undefined: [0, (v) => v instanceof Undefined],
  divisibleby: [1, (v, n) => equal(remainder(v, n), 0n)],
  // oxlint-disable-next-line eqeqeq
  even: [0, (v) => remainder(v, 2n) == 0],
  // oxlint-disable-next-line eqeqeq
  odd: [0, (v) => remainder(v, 2n) == 1],
  escaped: [0, () => false],
  false: [0, (v) => v === false],
  true: [0, (v) => v === true],
  none: [0, (v) => v === null],
  integer: [0, (v) => typeof v === "bigint"],
  float: [0, (v) => typeof v === "number"],
  number: [0, (v) => isNumber(v)],
  string: [0, (v) => typeof v === "string"],
  mapping: [0, (v) => v instanceof Map],
  sequence: [
    0,
    (v) =>
      typeof v === "string" ||
      Array.isArray(v) ||
      v instanceof Tuple ||
      v instanceof Map ||
      v instanceof Range ||
      v instanceof Undefined,
  ],
  iterable: [0, (v) => isIterable(v) || v instanceof View],
  lower: [0, (v) => isLower(str(v))],
  upper: [0, (v) => isUpper(str(v))],
  sameas: [1, same],
  in: [1, (v, of) => contains(of, v)],
  ...Object.fromEntries(["==", "eq", "equalto"].map((n) => [n, [1, eq]])),
  ...Object.fromEntries(["!=", "ne"].map((n) => [n, [1, ne]])),
  ...Object.fromEntries(["<", "lt", "lessthan"].map((n) => [n, [1, lt]])),
  ...Object.fromEntries(["<=", "le"].map((n) => [n, [1, le]])),
  ...Object.fromEntries([">", "gt", "greaterthan"].map((n) => [n, [1, gt]])),
  ...Object.fromEntries([">=", "ge"].map((n) => [n, [1, ge]])),
};

const isTest = (name: string): boolean => Object.hasOwn(table, name) || name === "filter" || name === "test";

export function test(name: string, v: Value, args: readonly Value[], isFilter: (name: string) => boolean): boolean {
  if (name === "filter") return isFilter(str(v));
  if (name === "test") return isTest(str(v));
  if (!Object.hasOwn(table, name)) throw failure(`No test named '${name}'.`);
  const [needs, run] = table[name];
  if (args.length !== needs)
    throw failure(
      `test_${name}() takes ${needs + 1} positional argument${needs ? "s" : ""} but ${args.length + 1} ` +
        `${args.length ? "were" : "was"} given`,
    );
  return run(v, ...args);
}
