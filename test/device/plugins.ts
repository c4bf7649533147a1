// The worked examples of examples/plugins on the card: every hand-written and printed kernel that they bring held to its op at its own
// cases, models with and without them, and the schedule beside dsc's own at its shape. --only plugins, from a checkout (DSC_ROOT).
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { archWith } from "../../codegen/brought.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { sm90 } from "../../codegen/cuda/sm90/natives.ts";
import { compile, generate, load, type CompileCall } from "../../compiler/index.ts";
import { loadPlugins, type Loaded } from "../../compiler/driver/plugins.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { filled, launchTime, poolOf } from "../../runtime/devices/cuda/launch-time.ts";
import type { Row } from "./device.ts";

const root = process.env.DSC_ROOT ?? process.cwd();
const fileOf = (name: string): string => path.join(root, "examples/plugins", `${name}.ts`);
const brought = (name: string): Promise<Loaded> => loadPlugins(undefined, [fileOf(name)], { config: false, cards: true });

/** Greedy ids of a fixture on the card. */
async function ids(model: string, folder: string, settings: CompileCall): Promise<string> {
  const src = path.join(root, "test/fixtures", model);
  const artifact = await compile(src, { target: "cuda", out: folder, ...settings });
  const loaded = await load(artifact, { weights: src });
  try {
    const out: number[] = [];
    for await (const step of generate(loaded, [[1, 2, 3, 4, 5, 6, 7]], { maxNew: 12 })) out.push(...step.ids.flat());
    return out.join(" ");
  } finally {
    await loaded.close();
  }
}

/** With a plug-in and without. */
const beside: readonly [plugin: string, model: string, passOptions: Readonly<Record<string, string>>][] = [
  ["fold-gain", "a02-v3-noq-nogroup", {}],
  ["bias-norm", "a05-v3-halfsplit-tied-bias", {}],
  ["clipped-swiglu", "a02-v3-noq-nogroup", { "clip-gates.limit": "1000" }],
  ["count-products", "a02-v3-noq-nogroup", {}],
];

export async function check(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const name of ["clipped-swiglu", "bias-norm", "fold-gain", "count-products", "long-prompts"]) {
    const { brings } = await brought(name);
    for (const h of brings.held) rows.push({ plugin: name, what: h.what, says: h.says, ok: h.proved });
  }
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-plugins-"));
  try {
    for (const [name, model, passOptions] of beside) {
      if (!existsSync(path.join(root, "test/fixtures", model))) continue;
      const plain = await ids(model, path.join(folder, `${name}-plain`), { activations: "f32" });
      const own = await ids(model, path.join(folder, name), { activations: "f32", plugins: [fileOf(name)], passOptions });
      rows.push({ plugin: name, what: `greedy ids of ${model}, f32`, says: `${own} beside ${plain}`, ok: own === plain });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return rows;
}

/** The plug-in's schedule and dsc's, at the most rows that it is for. */
export async function measure(cuda: Cuda): Promise<Row[]> {
  const { brings } = await brought("long-prompts");
  const [given] = brings.kernels.schedules;
  const native = sm90.natives.find((n) => n.family === given.native)!;
  const own = archWith(sm90, brings.kernels).natives.find((n) => n.family === given.native)!;
  const rows = given.rows[1];
  const chosen = {
    dsc: scheduleFor(native.schedules, given.problem, rows, h200),
    plugin: scheduleFor(own.schedules, given.problem, rows, h200),
  };
  const { elements } = native.trial!(given.problem, rows);
  const times: Record<string, number> = {};
  for (const [who, s] of Object.entries(chosen)) {
    const text = native.emit(given.problem, s, h200);
    const kernel = cuda.compile(text);
    const dtypes = new Map(
      text.params.flatMap((p) => (p.kind === "scalar" ? [] : [[p.kind === "tensormap" ? p.of : p.name, p.dtype] as const])),
    );
    const bytes = { e4m3: 1, bf16: 2, f32: 4, i32: 4 };
    const sets = Array.from({ length: 3 }, () =>
      Object.fromEntries([...dtypes].map(([name, dtype]) => [name, filled(cuda, elements[name] * bytes[dtype], poolOf(dtype))])),
    );
    times[who] = Math.min(
      ...Array.from({ length: 5 }, () => launchTime(cuda, kernel, sets, Object.fromEntries(text.dims.map((d) => [d, rows])))),
    );
    for (const set of sets) for (const at of Object.values(set)) cuda.free(at);
  }
  return [
    {
      n: Number(given.problem.n),
      k: Number(given.problem.k),
      rows,
      dsc: native.schedules.name(chosen.dsc),
      dsc_us: times.dsc,
      plugin: native.schedules.name(chosen.plugin),
      plugin_us: times.plugin,
      faster: times.dsc / times.plugin,
      ok: times.plugin < times.dsc,
    },
  ];
}
