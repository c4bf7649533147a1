// Any tile program as CUDA C++ for a GPU, compiled by NVRTC or nvcc without headers: the correct path for every family and size.
// The grid is one-dimensional: blockIdx.x counts cells, last axis fastest. Row kernels run a warp a cell, or several warps a row
// (warp.ts); tile kernels run a block a cell (block.ts). Buffers must not overlap. Refuses more tiles than shared memory holds.
import type { Gpu } from "../../../ir/machine.ts";
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ownerOf } from "../../../ir/kernel/owner.ts";
import { printParameter } from "../../../ir/kernel/print.ts";
import type { Kernel, Stmt } from "../../../ir/kernel/stmt.ts";
import { flatten, tilesIn } from "../../../ir/kernel/walk.ts";
import { ceildiv, type Size } from "../../../ir/size.ts";
import { cellsOf } from "../../cpu/indices.ts";
import { entriesFor } from "../ptx/index.ts";
import { inlined, layOut } from "./block-plan.ts";
import { BlockPrinter } from "./block.ts";
import { noGrid, threadsNotWarps, tooMuchShared } from "./diagnostics.ts";
import { cType, Elements, registerType } from "./element.ts";
import { Lines } from "./lines.ts";
import { namesOf } from "./names.ts";
import { WarpPrinter } from "./warp.ts";
import { fitsWarp, isSingle, planWarps } from "./warp-plan.ts";
import { Sections } from "../../sections.ts";
import { when } from "../../text.ts";

type Grid = Extract<Stmt, { kind: "grid" }>;

/** Prints a kernel; its parameters are the tile program's buffers in order, then its dims as int. `threads` is the size of a block. */
export function printCuda(
  kernel: Kernel,
  machine: Pick<Gpu, "arch" | "sharedPerBlock">,
  options: { threads?: number } = {},
): KernelText {
  const grid = kernel.body[0];
  if (grid?.kind !== "grid") throw noGrid({ kernel: kernel.name });
  const { threads } = options;
  if (threads !== undefined && (threads % 32 !== 0 || threads < 32 || threads > 1024))
    throw threadsNotWarps({ kernel: kernel.name, threads });
  const printed = fitsWarp(kernel)
    ? rowKernel(kernel, grid, threads)
    : tileKernel(kernel, grid, machine, threads ?? (flatten(kernel.body).some((s) => s.kind === "dot") ? 256 : 128));
  const { names } = printed.el;
  const params = kernel.params.map(
    (p) => `${when(p.access === "in", "const ")}${cType[p.dtype]}* __restrict__ ${names.of(p.name)}`,
  );
  const body = withoutUnread(
    [...dependent.map((line) => ({ line, owner: undefined })), ...printed.lines.owned()],
    grid.axes.map((a) => names.of(a.name)),
  );
  const signature = [...params, ...kernel.dims.map((d) => `int ${names.of(d)}`)].join(", ");
  const head = `extern "C" __global__ void __launch_bounds__(${printed.threads})\n${kernel.name}(${signature}) {`;
  const own = [...printed.constants, head, ...body.map((l) => l.line)].join("\n");
  const text = new Sections()
    .add("header", `// ${kernel.summary}`, "summary")
    .add(
      "header",
      kernel.params.map((p) => `//   ${printParameter(p)}`),
      "parameters",
    )
    .add("header", `// Origin: tile program ${kernel.name}; ${printed.note}`, "form");
  for (const e of entriesFor(own)) text.add("helper", e.text, e.name);
  text.add("definitions", ["", ...printed.constants, ""]).add("entry", head);
  for (const { line, owner } of body) text.add(owner === undefined ? "entry" : "statement", [line], owner?.name, owner?.ops);
  text.add("entry", "}");
  return {
    name: kernel.name,
    language: "cuda",
    source: text.toString(),
    segments: text.segments,
    params: kernel.params.map((p) => ({ kind: "buffer", name: p.name, dtype: p.dtype, access: p.access })),
    dims: [...kernel.dims],
    launch: { grid: [printed.blocks, 1, 1], block: printed.threads, sharedBytes: printed.sharedBytes, pdl: true },
  };
}

/** Every block waits before it touches memory, even one with nothing to do: the kernel after may count on that. */
const dependent = [
  "  release_next();  // the next kernel's blocks come in as these leave",
  "  await_previous();  // nothing is read or written before the kernel before has ended",
];

/** Drops axes that no statement reads: an extent of 1 takes no part in an address, and compilers warn of the rest. */
function withoutUnread(body: readonly Owned[], axes: readonly string[]): Owned[] {
  const lines = body.map((l) => l.line);
  const code = lines.map((l) => l.replace(/\/\/.*/, ""));
  const unread = axes
    .map((a) => lines.findIndex((l) => l.trimStart().startsWith(`const int ${a} = `)))
    .filter((at, i) => at >= 0 && !code.some((l, j) => j !== at && new RegExp(`\\b${axes[i]}\\b`).test(l)));
  return body.filter((_, i) => !unread.includes(i));
}

type Owned = ReturnType<Lines["owned"]>[number];

interface Printed {
  el: Elements;
  lines: Lines;
  note: string;
  constants: string[];
  threads: number;
  sharedBytes: number;
  blocks: Size;
}

/** Statements that find a cell's axes from its number. */
function axes(el: Elements, lines: Lines, grid: Grid, cell: string): void {
  lines.owner = ownerOf(grid);
  const count = (a: Grid["axes"][number]): string =>
    a.tile === 1
      ? el.index(a.extent, "*")
      : typeof a.extent === "number"
        ? String(Math.ceil(a.extent / a.tile))
        : `((${el.index(a.extent)} + ${a.tile - 1}) / ${a.tile})`;
  grid.axes.forEach((a, i) => {
    const below = grid.axes
      .slice(i + 1)
      .map(count)
      .filter((n) => n !== "1");
    const product = below.length > 1 ? `(${below.join(" * ")})` : below[0];
    const turn = below.length ? `${cell} / ${product}` : cell;
    const own = i === 0 ? turn : `${turn} % ${count(a)}`;
    const first = own.includes(" ") ? `(${own})` : own;
    const wrapped = a.tile === 1 ? own : `${first} * ${a.tile}`;
    const limit = `${a.name} < ${el.index(a.extent)}${when(a.tile !== 1, ` by ${a.tile}`)}`;
    lines.add(`const int ${el.names.of(a.name)} = ${wrapped};  // grid ${limit}`);
    el.note(a.name, 0, a.extent, a.tile);
  });
}

const total = (el: Elements, grid: Grid): string =>
  grid.axes
    .map((a) =>
      a.tile === 1
        ? el.index(a.extent, "*")
        : typeof a.extent === "number"
          ? String(Math.ceil(a.extent / a.tile))
          : `((${el.index(a.extent)} + ${a.tile - 1}) / ${a.tile})`,
    )
    .join(" * ");

function rowKernel(kernel: Kernel, grid: Grid, asked: number | undefined): Printed {
  const plan = planWarps(kernel, asked);
  const [el, lines] = [new Elements(kernel, namesOf(kernel)), new Lines()];
  const cells = cellsOf(grid.axes);
  const threads = 32 * (plan.warps > 1 ? plan.warps : plan.cells);
  if (plan.warps > 1) {
    lines.add("const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;");
    axes(el, lines, grid, "blockIdx.x");
  } else {
    lines.add(
      "const int lane = threadIdx.x % 32;",
      `const int cell = blockIdx.x * CELLS + threadIdx.x / 32;`,
      `if (cell >= ${total(el, grid)}) return;`,
    );
    axes(el, lines, grid, "cell");
  }
  new WarpPrinter(lines, el, plan).body(kernel.body.slice(1), true);
  return {
    el,
    lines,
    threads,
    sharedBytes: 0,
    note:
      plan.warps > 1
        ? `${plan.warps} warps a cell, tiles in registers (element lane + 32 q of a warp's tile in v[q])`
        : `a warp a cell, tiles in registers (element lane + 32 q in v[q])`,
    constants: [
      plan.warps > 1
        ? `constexpr int WARPS = ${plan.warps};  // of a block; they share one cell`
        : `constexpr int CELLS = ${plan.cells};  // of a block; a warp has one each`,
    ],
    blocks: plan.warps > 1 ? cells : ceildiv(cells, plan.cells),
  };
}

function tileKernel(kernel: Kernel, grid: Grid, machine: Pick<Gpu, "arch" | "sharedPerBlock">, threads: number): Printed {
  const lazy = inlined(kernel);
  const shared = layOut(kernel, lazy);
  const tiles = shared.tiles.map((t) => `${t.name}[${t.rows}, ${t.cols}]`);
  if (shared.bytes > machine.sharedPerBlock) throw tooMuchShared({ kernel: kernel.name, bytes: shared.bytes, machine, tiles });
  const [el, lines] = [new Elements(kernel, namesOf(kernel)), new Lines()];
  const byWarp = flatten(kernel.body)
    .filter((s) => s.kind === "reduce")
    .filter((s) => (s.along === "cols" || isSingle(s.dst)) && !isSingle(s.src));
  // Every warp reduces to a single element for itself; rows are dealt out.
  const dealt = byWarp.some((s) => !isSingle(s.dst));
  if (byWarp.length) lines.add(`const int lane = threadIdx.x % 32${when(dealt, ", warp = threadIdx.x / 32")};`);
  axes(el, lines, grid, "blockIdx.x");
  lines.add("extern __shared__ float shared[];");
  for (const t of shared.tiles) {
    const name = el.names.tile(t.name);
    const at = shared.at.get(t.name)!;
    lines.add(
      t.dtype === "f32"
        ? `float* const ${name} = shared + ${at};  // [${t.rows}, ${t.cols}]`
        : `int* const ${name} = (int*)shared + ${at};  // [${t.rows}, ${t.cols}]`,
    );
  }
  for (const t of tilesIn(kernel))
    if (isSingle(t) && !lazy.has(t.name)) lines.add(`${registerType(t)} ${el.names.tile(t.name)};`);
  new BlockPrinter(lines, el, lazy).body(kernel.body.slice(1));
  return {
    el,
    lines,
    threads,
    sharedBytes: shared.bytes,
    note: `a block a cell, tiles in ${shared.bytes} bytes of shared memory`,
    constants: [`constexpr int THREADS = ${threads};`],
    blocks: cellsOf(grid.axes),
  };
}
