// Tiles and places in the text of a tile program: which buffer, where in it, and along which axes the tile lies.
import { DiagnosticError, didYouMean } from "../diagnostic.ts";
import { brokenKernel, noSuchBuffer, unwritten } from "./diagnostics.ts";
import { parseIndex, type Scope } from "./parse-expression.ts";
import type { Reader } from "./reader.ts";
import type { BufferParam, Index, Place, Tile } from "./stmt.ts";
import type { Token } from "./tokens.ts";

/** What is known where a statement stands; statements add to it. */
export interface Block extends Scope {
  params: readonly BufferParam[];
  integers: Set<string>;
  tiles: Map<string, Tile>;
}

export function tile(r: Reader, s: Block): Tile {
  const word = r.name("a tile");
  const found = s.tiles.get(word.text);
  if (!found) throw unwritten({ kernel: s.kernel, tile: word.text, near: nearest(word, s) }, r.span(word));
  return found;
}

const nearest = (word: Token, s: Block): string | undefined => didYouMean(word.text, s.tiles.keys());

/** One axis of a place: where it begins, how far the tile reaches along it, its bound, and the tile of row numbers. */
interface Axis {
  at: Index;
  extent: number;
  limit?: Index;
  rowIndex?: Tile;
}

export function place(r: Reader, s: Block): { to: BufferParam; extents: Axis[] } {
  const word = r.name("a buffer");
  const to = s.params.find((p) => p.name === word.text);
  if (!to)
    throw new DiagnosticError(
      noSuchBuffer({ kernel: s.kernel, name: word.text, known: s.params.map((p) => p.name) }, r.span(word)),
    );
  r.expect("[", `after ${word.text}`);
  const extents: Axis[] = [];
  if (!r.is("]"))
    do extents.push(axis(r, s));
    while (r.skip(","));
  r.expect("]", "after the last axis");
  return { to, extents };
}

function axis(r: Reader, s: Block): Axis {
  const gather = r.peek().kind === "name" && !s.integers.has(r.peek().text) ? s.tiles.get(r.peek().text) : undefined;
  if (gather) r.take();
  const at = gather ? 0 : parseIndex(r, s);
  const extent = !gather && r.skip(":") ? r.count("the extent of a slice") : 1;
  return { at, extent, ...(r.skip("|") ? { limit: parseIndex(r, s) } : {}), ...(gather ? { rowIndex: gather } : {}) };
}

/** Which axes the rows and columns of a tile run along, from extents and bounds. */
export function lying(
  r: Reader,
  s: Block,
  axes: readonly Axis[],
  t: { rows: number; cols: number },
  word: Token,
): Omit<Place, "buffer"> {
  const wide = axes.flatMap((a, i) => (a.extent > 1 ? [i] : []));
  const gathered = axes.findIndex((a) => a.rowIndex);
  const turned = r.skip("^") && r.expect("T", "after ^") !== undefined;
  let rows = gathered < 0 ? undefined : gathered;
  let cols: number | undefined;
  for (const i of turned ? wide.toReversed() : wide) {
    const { extent } = axes[i];
    if (rows === undefined && extent === t.rows && (t.cols === 1 || extent !== t.cols || wide.length > 1)) rows = i;
    else if (cols === undefined && extent === t.cols) cols = i;
    else
      throw new DiagnosticError(
        brokenKernel(
          {
            kernel: s.kernel,
            problem: `a slice of ${extent} does not fit a tile of [${t.rows}, ${t.cols}]`,
            help: "slices are the tile's rows and its columns",
          },
          r.span(word),
        ),
      );
  }
  for (const [n, axis, what] of [
    [t.rows, rows, "rows"],
    [t.cols, cols, "columns"],
  ] as const)
    if (n > 1 && axis === undefined)
      throw new DiagnosticError(
        brokenKernel(
          {
            kernel: s.kernel,
            problem: `no slice holds the ${n} ${what} of a tile of [${t.rows}, ${t.cols}]`,
            help: `a slice of ${n} is written i : ${n}`,
          },
          r.span(word),
        ),
      );
  // A bound along an axis of one: the rows' where rows have none yet, and stand before the columns.
  for (const [i, a] of axes.entries()) {
    if (a.limit === undefined || i === rows || i === cols) continue;
    if (
      rows === undefined &&
      t.rows === 1 &&
      (cols === undefined ? t.cols > 1 || axes.slice(i + 1).some((x) => x.limit !== undefined) : true)
    )
      rows = i;
    else if (cols === undefined && t.cols === 1) cols = i;
    else if (rows === undefined && t.rows === 1) rows = i;
    else
      throw new DiagnosticError(
        brokenKernel(
          { kernel: s.kernel, problem: "more axes are bounded than a tile has", help: "a tile has rows and columns" },
          r.span(word),
        ),
      );
  }
  const [rowLimit, colLimit] = [
    rows === undefined ? undefined : axes[rows].limit,
    cols === undefined ? undefined : axes[cols].limit,
  ];
  return {
    at: axes.map((a) => a.at),
    ...(rows === undefined ? {} : { rows }),
    ...(cols === undefined ? {} : { cols }),
    ...(rowLimit === undefined ? {} : { rowLimit }),
    ...(colLimit === undefined ? {} : { colLimit }),
    ...(gathered < 0 ? {} : { rowIndex: axes[gathered].rowIndex }),
  };
}
