// Kernels of R1 and of the printed model exported as a library of tvm-ffi's ABI: Python calls them over PyTorch tensors, and the results
// have the bits that dsc's own launcher gives. Wrong arguments raise. Needs apache-tvm-ffi in the Python and a C compiler.
// npm run device -- --only tvm-library
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { defaults, compile } from "../../compiler/compile.ts";
import { exportTvm } from "../../compiler/export/tvm.ts";
import { argumentsOf, type Argument } from "../../codegen/tvm/arguments.ts";
import type { BufferView, KernelRecord } from "../../ir/artifact.ts";
import { evaluate, type Dims } from "../../ir/size.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { poolOf } from "../../runtime/devices/cuda/launch-time.ts";
import type { Row } from "./device.ts";
import { root } from "./models.ts";

type Tensor = Extract<Argument, { kind: "tensor" }>;

const BYTES = { f32: 4, bf16: 2, e4m3: 1, i32: 4 } as const;
/** Larger buffers take long to write to a file. */
const MOST_BYTES = 33e6;
const ROWS = 5;
const MOST_KERNELS = 16;

/** Elements from the first to the last. */
const reach = ({ shape, strides }: BufferView, dims: Dims): number =>
  1 + shape.reduce<number>((n, size, axis) => n + (evaluate(size, dims) - 1) * evaluate(strides[axis], dims), 0);

/** Kernels whose operands are all known and are numbers that may be random. */
function testable(record: KernelRecord, dims: Dims): boolean {
  return argumentsOf(record).every(
    (a) =>
      a.kind === "size" ||
      (a.kind === "tensor" && a.view !== undefined && a.dtype !== "i32" && reach(a.view, dims) * BYTES[a.dtype] < MOST_BYTES),
  );
}

/** One launch by dsc's own launcher: the bytes that every buffer is given, and those of what is written afterwards. */
async function launched(
  cuda: Cuda,
  name: string,
  record: KernelRecord,
  cubin: Uint8Array,
  dims: Dims,
  folder: string,
): Promise<object> {
  const kernel = cuda.loadCubin(cubin, { name, ...record, launch: record.launch! });
  const at: Record<string, number> = {};
  const args: object[] = [];
  const outs: [Tensor, number, string][] = [];
  for (const a of argumentsOf(record)) {
    if (a.kind !== "tensor") {
      args.push({ size: dims[a.name] });
      continue;
    }
    const bytes = reach(a.view!, dims) * BYTES[a.dtype];
    const pool = poolOf(a.dtype);
    const data = new Uint8Array(bytes);
    // A prime number of elements, so that rows of any width differ.
    for (let done = 0; done < bytes; done += pool.length) data.set(pool.subarray(0, bytes - done), done);
    at[a.name] = cuda.alloc(bytes + 256);
    cuda.upload(at[a.name], data);
    const file = path.join(folder, `${name}.${a.name}`);
    writeFileSync(`${file}.in`, data);
    const [shape, strides] = [a.view!.shape, a.view!.strides].map((l) => l.map((s) => evaluate(s, dims)));
    args.push({ name: a.name, dtype: a.dtype, shape, strides, file, written: a.access !== "in" });
    if (a.access !== "in") outs.push([a, bytes, file]);
  }
  cuda.launch(kernel, at, dims);
  cuda.synchronize();
  for (const [a, bytes, file] of outs) writeFileSync(`${file}.out`, cuda.download(at[a.name], bytes));
  for (const address of Object.values(at)) cuda.free(address);
  return { name, args };
}

export async function check(cuda: Cuda): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-tvm-"));
  const cubinOf = cachedCompile("sm_90a");
  try {
    const rows: Row[] = [];
    for (const source of ["examples/deepseek-r1", "examples/printed-model"]) {
      const compiled = compile(path.join(root, source), { ...defaults, target: "cuda" });
      const { manifest, files } = compiled;
      const dims = {
        SMs: cuda.multiprocessors,
        ...Object.fromEntries(Object.values(manifest.kernels).flatMap((k) => k.dims.map((d) => [d, ROWS]))),
      };
      const able = Object.keys(manifest.kernels).filter((n) => testable(manifest.kernels[n], dims));
      // Some of every kind.
      const names = able.filter((_, i) => i % Math.ceil(able.length / MOST_KERNELS) === 0);
      const library = path.join(folder, "kernels.so");
      writeFileSync(library, (await exportTvm(source, compiled, names, () => {})).bytes);
      const cases: object[] = [];
      for (const name of names) {
        const record = manifest.kernels[name];
        const cubin = await cubinOf(name, String(files.get(record.text)));
        cases.push(await launched(cuda, name, record, cubin, dims, folder));
      }
      writeFileSync(path.join(folder, "cases.json"), JSON.stringify({ library, cases }));
      const script = path.join(root, "test/device/tvm_library_torch.py");
      const ran = spawnSync(process.env.DSC_PYTHON ?? "python3", [script, path.join(folder, "cases.json")], {
        encoding: "utf8",
      });
      if (ran.status !== 0) rows.push({ source, ok: false, error: ran.stderr.slice(-800) });
      else
        rows.push(
          ...ran.stdout
            .trim()
            .split("\n")
            .map((l) => ({ source, ...(JSON.parse(l) as Row) })),
        );
    }
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
