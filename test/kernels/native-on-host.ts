// Runs a native kernel without a GPU: g++ compiles its own text behind the machine of fibres (fibres.h) and the host meanings of the
// device functions it calls (codegen/cuda/ptx). What differs from the card is listed in fibres.h.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { boundBuffers, type KernelText, type Param } from "../../ir/kernel/catalogue.ts";
import { evaluate, type Size } from "../../ir/size.ts";
import { earlyOf } from "./cuda-on-host.ts";
import { hostBuild } from "./host-compiler.ts";
import { entriesFor, helpersFor } from "../../codegen/cuda/ptx/index.ts";

type TensorMap = Extract<Param, { kind: "tensormap" }>;

/** _Float16 came to g++ with version 12. */
export const hasGpp =
  process.arch === "x64" && Number.parseInt(spawnSync("g++", ["-dumpversion"], { encoding: "utf8" }).stdout ?? "0", 10) >= 12;

/** What stands behind the device functions of the table. */
function ownText(source: string): string {
  const helpers = helpersFor(source);
  return source.slice(source.indexOf(helpers) + helpers.length);
}

/** A kernel's own text behind the host meanings of the table's functions that it does not define; shared variables in the block's memory. */
export function bodyOf(source: string): string {
  let id = 0;
  const own = ownText(source);
  const hosts = entriesFor(source).filter((e) => !new RegExp(`__device__[^;{]*\\b${e.name}\\(`).test(own));
  return `${hosts.map((e) => e.host).join("\n")}\n${own}`
    .replace("extern __shared__ u8 raw[];", "u8* raw = self->block->shared;")
    .replace(
      /__shared__ (\w+) (\w+)((?:\[[^\]]*\])*);/g,
      (_, type, name, sizes) =>
        `${type} (&${name})${sizes} = *(${type} (*)${sizes})shared_variable(${id++}, sizeof(${type}${sizes}));`,
    )
    .replace(/#pragma unroll.*/g, "")
    .replace('extern "C" ', "");
}

const pointers = { f32: "float", bf16: "u16", e4m3: "u8", i32: "int" } as const;

/** The arguments of the program: launches, blocks along x, y and z, bytes of workspace, a file for each buffer, extents and strides of maps, dims. */
function mainOf(text: KernelText): string {
  const buffers = boundBuffers(text.params);
  const maps = text.params.filter((p): p is TensorMap => p.kind === "tensormap");
  const map = (p: TensorMap): string => {
    const rank = p.dims.length;
    return `  TensorMap ${p.name} = {${p.of}.data(), ${rank}, {}, {${p.dtype === "e4m3" ? 1 : 2}}, {${p.box.join(", ")}}};
  for (int i = 0; i < ${rank}; i++) ${p.name}.extent[i] = number();
  for (int i = 1; i < ${rank}; i++) ${p.name}.stride[i] = number();`;
  };
  const argument = (p: Param): string => (p.kind === "buffer" ? `(${pointers[p.dtype]}*)${p.name}.data()` : p.name);
  return `
static std::vector<u8> read(const char* file) {
  FILE* f = fopen(file, "rb"); fseek(f, 0, SEEK_END); std::vector<u8> v(ftell(f)); rewind(f);
  if (fread(v.data(), 1, v.size(), f) != v.size()) exit(2);
  fclose(f); return v;
}
static void write(const char* file, const std::vector<u8>& v) { FILE* f = fopen(file, "wb"); fwrite(v.data(), 1, v.size(), f); fclose(f); }
int main(int, char** words) {
  const auto number = [&] { return atol(*++words); };
  const int launches = number();
  Index grid; grid.x = number(); grid.y = number(); grid.z = number();
  std::vector<float> workspace(number() / 4 + 1, 0.f);
${buffers.map((b) => `  const char* ${b}_file = *++words; std::vector<u8> ${b} = read(${b}_file);`).join("\n")}
${maps.map(map).join("\n")}
${text.dims.map((d) => `  const int ${d} = number();`).join("\n")}
  late = {${buffers
    .filter((b) => !earlyOf(text.launch).has(b))
    .map((b) => `{&${b}, {}}`)
    .join(", ")}};
  for (int i = 0; i < launches; i++)
    launch(grid, ${text.launch.block}, {${(text.launch.cluster ?? [1, 1, 1]).join(", ")}}, ${text.launch.sharedBytes}, [&] {
      ${text.name}(${[...text.params.map(argument), ...text.dims, ...(text.workspaceBytes === undefined ? [] : ["Workspace{workspace.data()}"])].join(", ")});
    });
${text.params
  .map((p) =>
    p.kind === "buffer" && p.access !== "in"
      ? `  write(${p.name}_file, ${p.name});`
      : p.kind === "tensormap" && p.of === "y"
        ? "  write(y_file, y);"
        : "",
  )
  .filter((l) => l)
  .join("\n")}
}
`;
}

export interface Native {
  /** Launches the kernel, twice unless said, and gives what is in y then, or in the last buffer where none is called so. */
  run(
    buffers: Readonly<Record<string, Uint8Array>>,
    dims: Readonly<Record<string, number>>,
    at: { SMs: number; launches?: number },
  ): Uint8Array<ArrayBuffer>;
  /** What the last run left in another buffer. */
  left(buffer: string): Uint8Array<ArrayBuffer>;
  close(): void;
}

export const machine = (): string => fs.readFileSync(path.join(import.meta.dirname, "fibres.h"), "utf8");
export const flags = ["-O1", "-march=native", "-ffp-contract=off", "-std=c++17", "-w"];

/** Compiles a kernel's text for this machine. */
export function nativeOnHost(text: KernelText): Native {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-native-"));
  const file = (name: string): string => path.join(folder, name);
  const program = hostBuild({ text: `${bodyOf(text.source)}${mainOf(text)}`, header: machine(), flags });
  return {
    run(buffers, dims, { SMs, launches = 2 }) {
      const sizes = { ...dims, SMs };
      const value = (s: Size): string => String(evaluate(s, sizes));
      const names = boundBuffers(text.params);
      for (const n of names) fs.writeFileSync(file(`${n}.bin`), buffers[n]);
      const maps = text.params.flatMap((p) => (p.kind === "tensormap" ? [...p.dims.map(value), ...p.strides.map(value)] : []));
      const words = [
        String(launches),
        ...text.launch.grid.map(value),
        text.workspaceBytes === undefined ? "0" : value(text.workspaceBytes),
        ...names.map((n) => file(`${n}.bin`)),
        ...maps,
        ...text.dims.map((d) => value(d)),
      ];
      const { status, stderr } = spawnSync(program, words, { encoding: "utf8" });
      if (status !== 0) throw new Error(`${text.name} on this machine: ${stderr || `status ${status}`}`);
      return this.left(names.includes("y") ? "y" : names.at(-1)!);
    },
    left: (buffer) => new Uint8Array(fs.readFileSync(file(`${buffer}.bin`))),
    close: () => fs.rmSync(folder, { recursive: true }),
  };
}
