// Products with norm, gate or residual sum inside, on the card: the same bits as their parts one after another, close to float64, and
// how long either takes. Sites are those of the printed model's decode step and of R1's head; weights rotate and are cold.
import { composed } from "../../codegen/parts.ts";
import { cudaTarget, cudaText } from "../../codegen/cuda/target.ts";
import { boundBuffers, type Arg, type Choice, type Chosen, type Site, type View } from "../../ir/kernel/catalogue.ts";
import { bf16 } from "../../ir/numeric.ts";
import { evaluate, mul, type Size } from "../../ir/size.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { BANDWIDTH, median, numbers, put, samples, valueAt } from "./bf16-data.ts";
import { compileAll } from "./compile-all.ts";
import type { Row } from "./device.ts";
import { sm90 } from "../../codegen/cuda/sm90/natives.ts";

interface Case {
  part: string;
  op: "norm_linear" | "linear_add" | "gated_linear_add";
  n: number;
  k: number;
  /** Between rows of x, where these are part of wider ones. */
  stride?: number;
  y?: "f32";
}

const CASES: readonly Case[] = [
  { part: "q_a + kv_a (p)", op: "norm_linear", n: 2112, k: 7168 },
  { part: "q_b (p)", op: "norm_linear", n: 24576, k: 1536, stride: 2112 },
  { part: "o_proj (p)", op: "linear_add", n: 7168, k: 16384 },
  { part: "gate and up (p)", op: "norm_linear", n: 3712, k: 7168 },
  { part: "down (p)", op: "gated_linear_add", n: 7168, k: 1856 },
  { part: "head (p)", op: "norm_linear", n: 1292, k: 7168, y: "f32" },
  { part: "head (r)", op: "norm_linear", n: 129280, k: 7168, y: "f32" },
];

const bytesOf = { bf16: 2, f32: 4, i32: 4, e4m3: 1 } as const;
const packed = (shape: Size[], dtype: View["dtype"]): View => ({
  dtype,
  shape,
  strides: shape.map((_, i) => mul(...shape.slice(i + 1))),
});

function siteOf(c: Case): Site {
  const rows: View =
    c.op === "gated_linear_add"
      ? packed(["T", 2, c.k], "bf16")
      : { ...packed(["T", c.k], "bf16"), strides: [c.stride ?? c.k, 1] };
  return {
    op: c.op,
    attrs:
      c.op === "norm_linear" ? { eps: 1e-6, dtype: c.y ?? "same" } : c.op === "gated_linear_add" ? { act: "silu", limit: 0 } : {},
    ins: [rows, packed([c.n, c.k], "bf16"), c.op === "norm_linear" ? packed([c.k], "bf16") : packed(["T", c.n], "bf16")],
    outs: [packed(["T", c.n], c.y ?? "bf16")],
  };
}

const { choose } = cudaTarget("all", sm90).catalogue;

/** The launches for m rows, fused where a kernel is, and by parts. */
function launchesOf(c: Case, m: number): { fused: Chosen[]; apart: Chosen[] } {
  const at = (choice: Choice | { reason: string } | null): Chosen[] => {
    if (!choice || "reason" in choice) throw new RangeError(`${c.part}: ${choice?.reason ?? "no parts"}`);
    return "on" in choice ? choice.cases.find((x) => (x.most ?? Infinity) >= m)!.launches : choice;
  };
  return { fused: at(choose(siteOf(c))), apart: at(composed(siteOf(c), choose)) };
}

const textOf = (l: Chosen): ReturnType<typeof cudaText> => cudaText(l.family, l.problem, sm90);
const every = (ms: readonly number[]): Chosen[] =>
  CASES.flatMap((c) => ms.flatMap((m) => Object.values(launchesOf(c, m)).flat()));

/** Buffers of a case for m rows; scratch is made when it is first named. */
class Buffers {
  readonly #cuda: Cuda;
  readonly #at = new Map<string, number>();
  readonly m: number;

  constructor(cuda: Cuda, m: number, ins: readonly number[], out: number) {
    this.#cuda = cuda;
    this.m = m;
    ins.forEach((a, i) => this.#at.set(`in ${i}`, a));
    this.#at.set("out", out);
  }

  of(a: Arg): number {
    const key = "in" in a ? `in ${a.in}` : "out" in a ? "out" : "scratch" in a ? a.scratch : "";
    if (!this.#at.has(key) && "scratch" in a)
      this.#at.set(key, this.#cuda.alloc(a.shape.reduce<number>((p, s) => p * evaluate(s, { T: this.m }), 1) * bytesOf[a.dtype]));
    return this.#at.get(key)!;
  }
}

function run(cuda: Cuda, kernels: ReadonlyMap<string, CudaKernel>, launches: readonly Chosen[], b: Buffers): void {
  for (const l of launches) {
    const text = textOf(l);
    const bound = Object.fromEntries(boundBuffers(text.params).map((name, i) => [name, b.of(l.args[i])]));
    cuda.launch(
      kernels.get(text.name)!,
      bound,
      Object.fromEntries(text.dims.map((d, i) => [d, evaluate(l.dims[i], { T: b.m })])),
    );
  }
}

/** Row r of what is multiplied, in float64 but for its rounding. */
function rowOf(c: Case, r: number): Float64Array {
  const stride = c.op === "gated_linear_add" ? 2 * c.k : (c.stride ?? c.k);
  const x = Float64Array.from({ length: c.k }, (_, i) => valueAt("bf16", r * stride + i));
  if (c.op === "linear_add") return x;
  if (c.op === "gated_linear_add") return x.map((g, i) => bf16((g / (1 + Math.exp(-g))) * valueAt("bf16", r * stride + c.k + i)));
  const by = 1 / Math.sqrt(x.reduce((s, v) => s + v * v, 0) / c.k + 1e-6);
  return x.map((v, i) => bf16(v * by * valueAt("bf16", i)));
}

const insOf = (cuda: Cuda, c: Case, m: number): number[] => [
  put(cuda, "bf16", m * Math.max(2 * c.k, c.stride ?? 0)),
  put(cuda, "bf16", c.n * c.k),
  put(cuda, "bf16", c.op === "norm_linear" ? c.k : m * c.n),
];

export async function check(cuda: Cuda): Promise<Row[]> {
  const ms = [1, 2, 3, 7, 16, 40];
  const kernels = await compileAll(cuda, every(ms).map(textOf));
  const rows: Row[] = [];
  for (const c of CASES) {
    const ins = insOf(cuda, c, ms.at(-1)!);
    for (const m of c.n > 1e5 ? [1, 2] : ms) {
      const bytes = m * c.n * bytesOf[c.y ?? "bf16"];
      const { fused, apart } = launchesOf(c, m);
      const [one, other] = [fused, apart].map((launches) => {
        const out = cuda.alloc(bytes);
        cuda.fill(out, 0xff, bytes);
        run(cuda, kernels, launches, new Buffers(cuda, m, ins, out));
        const got = cuda.download(out, bytes);
        cuda.free(out);
        return got;
      });
      const got = numbers(c.y ?? "bf16", one);
      const made = Array.from({ length: m }, (_, r) => rowOf(c, r));
      let [error, norm] = [0, 0];
      for (const [r, j] of samples(m, c.n, 20)) {
        let sum = 0;
        for (let i = 0; i < c.k; i++) sum += made[r][i] * valueAt("bf16", j * c.k + i);
        const want = c.op === "norm_linear" ? sum : bf16(sum) + valueAt("bf16", r * c.n + j);
        [error, norm] = [error + (got[r * c.n + j] - want) ** 2, norm + want * want];
      }
      const relative = Math.sqrt(error / norm);
      let different = 0;
      for (let i = 0; i < bytes; i++) different += Number(one[i] !== other[i]);
      rows.push({
        part: c.part,
        op: c.op,
        m,
        launches: fused.length,
        of: apart.length,
        relative,
        different,
        ok: relative < 4e-3 && different === 0,
      });
    }
    for (const a of ins) cuda.free(a);
  }
  return rows;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const ms = [1, 2, 4];
  const kernels = await compileAll(cuda, every(ms).map(textOf));
  const rows: Row[] = [];
  for (const c of CASES)
    for (const m of ms) {
      const [x, w, beside] = insOf(cuda, c, m);
      const out = cuda.alloc(m * c.n * 4);
      const weights = [w, ...Array.from({ length: Math.ceil(150e6 / (2 * c.n * c.k)) }, () => put(cuda, "bf16", c.n * c.k))];
      const [us, apart] = Object.values(launchesOf(c, m)).map((launches) => {
        const sets = weights.map((a) => new Buffers(cuda, m, [x, a, beside], out));
        for (const s of sets) run(cuda, kernels, launches, s);
        cuda.synchronize();
        const turns = Math.max(sets.length, 8);
        const graph = cuda.capture(() => {
          for (let i = 0; i < turns; i++) run(cuda, kernels, launches, sets[i % sets.length]);
        });
        graph.time(2);
        const time = median(graph.time(9)) / turns;
        graph.destroy();
        return time;
      });
      for (const a of [x, beside, out, ...weights]) cuda.free(a);
      const floor = (2 * c.n * c.k) / BANDWIDTH;
      rows.push({ op: c.op, part: c.part, m, us, apart_us: apart, saved_us: apart - us, floor_us: floor, of_floor: floor / us });
    }
  return rows;
}
