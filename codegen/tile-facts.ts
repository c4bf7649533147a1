// What must be known of a tile program before it is lowered: which tiles need no storage because one later statement can
// evaluate them lane by lane, and which rows of a tile nobody will look at.
import type { Index, Kernel, MapExpr, Place, Stmt, Tile } from "../ir/kernel/stmt.ts";

/** How a statement reads a tile. `element`: at its own row and column; `cols`: reduced along columns; the rest as they say. */
export interface Read {
  tile: Tile;
  how: "element" | "cols" | "rows" | "a" | "b" | "index" | "whole";
}

export interface Facts {
  /** Tiles to evaluate at their single use, by name. */
  lazy: ReadonlyMap<string, Stmt>;
  /** Rows in [at, limit) of a tile matter; the others are never stored. */
  rows: ReadonlyMap<string, { at: Index; limit: Index }>;
  /** Tiles whose rows products read or write eight columns at a time, however narrow they are. */
  padded: ReadonlySet<string>;
}

const indexTile = (p: Place): Read[] => (p.rowIndex ? [{ tile: p.rowIndex, how: "index" }] : []);

/** Tiles of an expression, with repeats. */
export function tilesOf(e: MapExpr): Tile[] {
  if ("t" in e) return [e.t];
  if (!("op" in e)) return [];
  if (e.op === "select") return [e.if, e.a, e.b].flatMap(tilesOf);
  return "b" in e ? [...tilesOf(e.a), ...tilesOf(e.b)] : tilesOf(e.a);
}

/** Tiles a statement reads itself, without nested bodies. */
function reads(s: Stmt): Read[] {
  switch (s.kind) {
    case "load":
      return indexTile(s.from);
    case "store":
      return [{ tile: s.src, how: "element" }, ...indexTile(s.to)];
    case "map":
      return tilesOf(s.expr).map((tile) => ({ tile, how: "element" }));
    case "reduce":
      return [{ tile: s.src, how: s.along }];
    case "dot":
      return [
        { tile: s.a, how: "a" },
        { tile: s.b, how: "b" },
      ];
    case "accumulate":
      return [s.acc, s.part, ...s.by].map((tile) => ({ tile, how: "element" }));
    case "scan":
      return [{ tile: s.src, how: "whole" }];
    case "peek":
      return [{ tile: s.from, how: "whole" }];
    default:
      return [];
  }
}

/** The tile a statement writes. */
function written(s: Stmt): Tile | undefined {
  return s.kind === "accumulate" ? s.acc : "dst" in s ? s.dst : undefined;
}

const bodyOf = (s: Stmt): readonly Stmt[] => ("body" in s ? s.body : []);
const all = (list: readonly Stmt[]): Stmt[] => list.flatMap((s) => [s, ...all(bodyOf(s))]);

/** Computes both facts. */
export function factsOf(kernel: Kernel): Facts {
  const stmts = all(kernel.body);
  const uses = new Map<string, { stmt: Stmt; read: Read }[]>();
  const defs = new Map<string, Stmt[]>();
  const push = <T>(map: Map<string, T[]>, key: string, item: T): void => void (map.get(key)?.push(item) ?? map.set(key, [item]));
  for (const stmt of stmts) {
    for (const read of reads(stmt)) push(uses, read.tile.name, { stmt, read });
    const w = written(stmt);
    if (w) push(defs, w.name, stmt);
  }
  const padded = new Set(stmts.flatMap((s) => (s.kind === "dot" ? [s.dst, s.a, s.b].map((t) => t.name) : [])));
  return { lazy: lazyTiles(kernel, uses, defs), rows: rowsThatMatter(stmts, uses), padded };
}

function lazyTiles(
  kernel: Kernel,
  uses: Map<string, { stmt: Stmt; read: Read }[]>,
  defs: Map<string, Stmt[]>,
): Map<string, Stmt> {
  const lazy = new Map<string, Stmt>();
  /** Statement of the same list where a lazy tile is finally evaluated. */
  const point = new Map<string, number>();
  const visit = (list: readonly Stmt[]): void => {
    for (let i = list.length - 1; i >= 0; i--) {
      const s = list[i];
      visit(bodyOf(s));
      const tile = written(s);
      const used = tile ? (uses.get(tile.name) ?? []) : [];
      if (
        !tile ||
        !used.length ||
        used.some((u) => u.stmt !== used[0].stmt || u.read.how !== used[0].read.how) ||
        defs.get(tile.name)!.length !== 1
      )
        continue;
      if (s.kind !== "load" && s.kind !== "map" && s.kind !== "iota" && s.kind !== "fill") continue;
      const { stmt: user, read } = used[0];
      if (used.length > 1 && read.how !== "element") continue;
      const at = list.indexOf(user);
      if (at < i || !mayFuse(s, user, read, kernel)) continue;
      const target = written(user);
      const end = target && lazy.get(target.name) === user ? point.get(target.name)! : at;
      if (!all(list.slice(i + 1, end)).every((between) => independent(s, between, lazy))) continue;
      lazy.set(tile.name, s);
      point.set(tile.name, end);
    }
  };
  visit(kernel.body);
  return lazy;
}

/** The user must visit each element once; only loads and constants may be visited again, as broadcasts. */
function mayFuse(def: Stmt, user: Stmt, read: Read, kernel: Kernel): boolean {
  const tile = read.tile;
  if (read.how === "index" || read.how === "whole" || read.how === "rows") return false;
  if (read.how === "b") return def.kind === "load" && direct(def.from, kernel, def.fill);
  if (read.how === "a") return true;
  if (read.how === "cols") return user.kind === "reduce" && user.op !== "argmax" && (user.op !== "sum" || tile.cols > 128);
  const shape = user.kind === "store" ? user.src : written(user)!;
  return def.kind !== "map" || (shape.rows === tile.rows && shape.cols === tile.cols);
}

/** Whether rows can be read where they lie: unit stride, no gather, no masked columns, masked rows read as zero. */
function direct(p: Place, kernel: Kernel, fill: number): boolean {
  const buffer = kernel.params.find((b) => b.name === p.buffer);
  return !!buffer && buffer.dtype !== "i32" && !p.rowIndex && p.cols !== undefined && buffer.strides[p.cols] === 1 && fill === 0;
}

/** Whether a statement between a lazy definition and its use leaves what the definition reads alone. */
function independent(def: Stmt, between: Stmt, lazy: Map<string, Stmt>): boolean {
  if (between.kind === "store" && def.kind === "load" && between.to.buffer === def.from.buffer) return false;
  const w = written(between);
  // A lazy statement in between writes nothing until its own use.
  if (!w || lazy.get(w.name) === between) return true;
  return !reads(def).some((r) => r.tile.name === w.name);
}

/** Tiles joined by row-wise statements share their rows; they matter where the stores of the group say. */
function rowsThatMatter(
  stmts: Stmt[],
  uses: Map<string, { stmt: Stmt; read: Read }[]>,
): Map<string, { at: Index; limit: Index }> {
  const parent = new Map<string, string>();
  const find = (n: string): string => {
    const p = parent.get(n);
    if (p === undefined || p === n) return n;
    const root = find(p);
    parent.set(n, root);
    return root;
  };
  const tall = (t: Tile | undefined): t is Tile => !!t && t.rows > 1;
  for (const s of stmts) {
    const tiles = [
      written(s),
      ...reads(s)
        .filter((r) => r.how !== "b" && r.how !== "rows")
        .map((r) => r.tile),
      ...(s.kind === "store" ? [s.src] : []),
    ].filter(tall);
    for (const t of tiles) parent.set(find(t.name), find(tiles[0].name));
  }
  const wanted = new Map<string, { at: Index; limit: Index } | null>();
  const want = (name: string, key: { at: Index; limit: Index } | null): void => {
    const root = find(name);
    const before = wanted.get(root);
    wanted.set(root, before === undefined || JSON.stringify(before) === JSON.stringify(key) ? key : null);
  };
  for (const s of stmts) {
    if (s.kind === "store" && s.src.rows > 1)
      want(
        s.src.name,
        s.to.rowLimit !== undefined && s.to.rows !== undefined && !s.to.rowIndex
          ? { at: s.to.at[s.to.rows], limit: s.to.rowLimit }
          : null,
      );
    for (const r of reads(s))
      if (r.tile.rows > 1 && (r.how === "b" || r.how === "rows" || r.how === "whole")) want(r.tile.name, null);
  }
  const out = new Map<string, { at: Index; limit: Index }>();
  for (const name of new Set([...uses.keys(), ...stmts.flatMap((s) => written(s)?.name ?? [])])) {
    const key = wanted.get(find(name));
    if (key) out.set(name, key);
  }
  return out;
}
