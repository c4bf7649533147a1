// dsc bisect, ablate, graph and compile --time-passes; inspect --ptx, --sass, --resources where a compiler is.
import { expect, test } from "vitest";
import { at, dsc, json, r1, refusal, tiny } from "./dsc.ts";
import { lacks } from "../conditions.ts";

test("bisect: the one pass that changes the answer, by fewer graphs than there are", async () => {
  interface Answer {
    asked: number;
    graphs: number;
    changed: { entry: string; pass: string; difference: number; declared?: string }[];
  }
  const found = await json<Answer>("bisect", tiny, "--layers", "2", "--attention", "absorbed");
  expect(new Set(found.changed.map((c) => c.pass))).toEqual(new Set(["absorb-mla"]));
  for (const c of found.changed) {
    expect(c.difference).toBeGreaterThan(1e-8);
    expect(c.declared).toContain("no longer quantised");
  }
  expect(found.asked).toBeLessThan(found.graphs);
  const none = await dsc("bisect", tiny, "--layers", "2", "--act-quant", "none", "--passes", "fuse-attention,tidy");
  expect(none.stdout).toMatch(/^no pass changes what the model answers\n2 passes, \d+ of \d+ graphs interpreted\n$/);
});

test("ablate: a row for every pass, and what is lost without it", async () => {
  interface Row {
    without: string | null;
    decode: { launches: number; bytes: number; floor_us: number };
    error: number | null;
  }
  const { rows } = await json<{ rows: Row[] }>("ablate", r1, "--layers", "4", "--device", "h200", "--costs-only");
  const all = rows[0];
  expect(all.without).toBeNull();
  const without = (pass: string): Row => rows.find((r) => r.without === pass)!;
  expect(without("add-norm").decode.launches).toBeGreaterThan(all.decode.launches);
  expect(without("fp8-block-gemm").decode.bytes).toBeGreaterThan(2 * all.decode.bytes);
  expect(without("absorb-mla").decode.floor_us).toBeGreaterThan(all.decode.floor_us);
  expect(all.error).toBeNull();
});

test("graph: every edge of both forms is between nodes that are there", async () => {
  const out = at("graph-r1");
  await dsc("compile", r1, "-o", out);
  const dot = (await dsc("graph", out, "decode/moe_layer")).stdout;
  const nodes = new Set([...dot.matchAll(/^ +("[^"]+") \[label/gm)].map((m) => m[1]));
  const edges = [...dot.matchAll(/^ +("[^"]+") -> ("[^"]+");$/gm)];
  expect(edges.length).toBeGreaterThan(30);
  for (const [, from, to] of edges) expect(nodes.has(from) && nodes.has(to), `${from} -> ${to}`).toBe(true);
  expect(dot).toMatch(/label = "mla_attend\\nol\\nmla_attend_\S+\\n[\d.]+ us\\n/);
  interface Graph {
    graphs: {
      id: string;
      nodes: {
        id: string;
        namespace: string;
        incomingEdges: { sourceNodeId: string; sourceNodeOutputId: string }[];
        outputsMetadata: { id: string }[];
      }[];
    }[];
  }
  const { stdout } = await dsc("graph", out, "--format", "model-explorer");
  const { graphs } = JSON.parse(stdout) as Graph;
  expect(graphs.map((g) => g.id)).toContain("decode");
  for (const g of graphs) {
    const known = new Map(g.nodes.map((n) => [n.id, n]));
    for (const e of g.nodes.flatMap((n) => n.incomingEdges))
      expect(
        known.get(e.sourceNodeId)?.outputsMetadata.map((o) => o.id),
        g.id,
      ).toContain(e.sourceNodeOutputId);
  }
  expect(graphs.find((g) => g.id === "prefill/moe_layer")!.nodes.some((n) => n.namespace.startsWith("map_sequences"))).toBe(true);
  expect(await refusal("graph", out, "decode/moe_leyer")).toContain("did you mean decode/moe_layer?");
});

test("compile --time-passes says on stderr how long each took, and stdout stays the same", async () => {
  const [plain, timed] = await Promise.all([
    dsc("compile", tiny, "-o", at("timed")),
    dsc("compile", tiny, "-o", at("timed"), "--time-passes"),
  ]);
  expect(timed.stdout).toBe(plain.stdout);
  expect(timed.stderr).toMatch(/^stage +ms\nread the config +[\d.]+\n(?:.*\n)* {2}absorb-mla +[\d.]+\n/);
});

test.skipIf(lacks("nvcc"))("the machine code of a kernel: registers as ptxas counts them, PTX, and who reads SASS", async () => {
  const out = at("resources-tiny");
  await dsc("compile", tiny, "-o", out, "--target", "cuda");
  const { kernels } = await json<{ kernels: Record<string, unknown> }>("inspect", out);
  const name = Object.keys(kernels).find((k) => k.startsWith("rope_append"))!;
  const found = await json<{ registers: number; threads: number; blocks_per_multiprocessor: number; occupancy: number }>(
    "inspect",
    out,
    name,
    "--resources",
  );
  expect(found.registers).toBeGreaterThan(8);
  expect(found.registers).toBeLessThanOrEqual(255);
  expect(found.occupancy).toBeCloseTo((found.blocks_per_multiprocessor * found.threads) / 2048, 9);
  expect((await dsc("inspect", out, name, "--ptx")).stdout).toContain(`.entry ${name}(`);
  const cpu = at("resources-cpu");
  await dsc("compile", tiny, "-o", cpu);
  const other = Object.keys((await json<{ kernels: Record<string, unknown> }>("inspect", cpu)).kernels)[0];
  expect(await refusal("inspect", cpu, other, "--resources")).toContain("--resources is of CUDA kernels");
});
