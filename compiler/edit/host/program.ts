// A CUDA text as a program of this machine: its own text behind the machine of fibres (fibres.ts) and the host meanings of the device
// functions that it calls (codegen/cuda/ptx), and a main that reads buffers from files and launches it. g++ compiles it.
import { entriesFor, helpersFor } from "../../../codegen/cuda/ptx/index.ts";
import { boundBuffers, type KernelText, type Param } from "../../../ir/kernel/catalogue.ts";
import { evaluate, type Size } from "../../../ir/size.ts";

type TensorMap = Extract<Param, { kind: "tensormap" }>;

/** What a kernel says it reads before it waits; the machine lets it find nothing else there. */
export const earlyOf = ({ early = [], chained = [] }: KernelText["launch"]): ReadonlySet<string> =>
  new Set([...early, ...chained]);

/** What stands behind the device functions of the table. */
function ownText(source: string, like: string): string {
  const helpers = helpersFor(like);
  const at = source.indexOf(helpers);
  if (at < 0) throw new RangeError("its device functions are not those of the kernel it was made from");
  return source.slice(at + helpers.length);
}

/**
 * A kernel's own text behind the host meanings of the table's functions that it does not define; shared variables in the block's memory.
 * `like`: the text it was made from. Throws a RangeError where that one's device functions are no more in it.
 */
export function bodyOf(source: string, like = source): string {
  let id = 0;
  const own = ownText(source, like);
  const hosts = entriesFor(like).filter((e) => !new RegExp(`__device__[^;{]*\\b${e.name}\\(`).test(own));
  return `${hosts.map((e) => e.host).join("\n")}\n${own}`
    .replace(/extern __shared__ (u8|float) (raw|shared)\[\];/, "$1* const $2 = ($1*)self->block->shared;")
    .replace(/__shared__ (\w+) (\w+(?:\[[^\];]*\])*(?:, \w+(?:\[[^\];]*\])*)+);/g, (_, type: string, names: string) =>
      names
        .split(", ")
        .map((n) => `__shared__ ${type} ${n};`)
        .join(" "),
    )
    .replace(
      /__shared__ (\w+) (\w+)((?:\[[^\]]*\])*);/g,
      (_, type, name, sizes) =>
        `${type} (&${name})${sizes} = *(${type} (*)${sizes})shared_variable(${id++}, sizeof(${type}${sizes}));`,
    )
    .replace(/#pragma unroll.*/g, "")
    .replace('extern "C" ', "");
}

const pointers = { f32: "float", bf16: "u16", e4m3: "u8", i32: "int" } as const;

/** What a launcher knows of a kernel. */
export type HostText = Pick<KernelText, "name" | "params" | "dims" | "launch" | "workspaceBytes">;

/**
 * The arguments of the program: launches, blocks along x, y and z, bytes of workspace, a file for each buffer, extents and strides of
 * maps, dims.
 */
export function mainOf(text: HostText): string {
  const buffers = boundBuffers(text.params);
  const maps = text.params.filter((p): p is TensorMap => p.kind === "tensormap");
  const map = (p: TensorMap): string => {
    const rank = p.dims.length;
    return `  TensorMap ${p.name} = {${p.of}.data(), ${rank}, {}, {${p.dtype === "e4m3" ? 1 : 2}}, {${p.box.join(", ")}}};
  for (int i = 0; i < ${rank}; i++) ${p.name}.extent[i] = number();
  for (int i = 1; i < ${rank}; i++) ${p.name}.stride[i] = number();`;
  };
  const workspace = text.workspaceBytes === undefined ? [] : ["Workspace{workspace.data()}"];
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
      ${text.name}(${[...text.params.map(argument), ...text.dims, ...workspace].join(", ")});
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

/** The words that the program of a launch is started with. */
export function wordsOf(
  text: HostText,
  { launches, dims, SMs }: { launches: number; dims: Readonly<Record<string, number>>; SMs: number },
  fileOf: (buffer: string) => string,
): string[] {
  const value = (s: Size): string => String(evaluate(s, { ...dims, SMs }));
  return [
    String(launches),
    ...text.launch.grid.map(value),
    text.workspaceBytes === undefined ? "0" : value(text.workspaceBytes),
    ...boundBuffers(text.params).map(fileOf),
    ...text.params.flatMap((p) => (p.kind === "tensormap" ? [...p.dims.map(value), ...p.strides.map(value)] : [])),
    ...text.dims.map((d) => value(d)),
  ];
}
