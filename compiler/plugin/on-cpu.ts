// A trial on the CPU: tile programs lowered to WebAssembly and run in this process, over memory whose every byte is watched.
import { lowerToWasm, type Lowered } from "../../codegen/cpu/lower.ts";
import { tiled } from "../../codegen/cpu/target.ts";
import type { Family } from "../../codegen/family.ts";
import type { Chosen } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { evaluate } from "../../ir/size.ts";
import { BLANK, GUARD, besides, buffersOf, sizeOf, unlike, type Bytes } from "./memory.ts";
import type { Trial } from "./trial.ts";

const PAGE = 65536;

interface Ready {
  kernel: Kernel;
  lowered: Lowered;
  launch: Chosen;
  bound: Bytes[];
}

/** Why a family's kernels do not do at a trial what its op says, or null. `refused`: it does not take the site. */
export function failsOnCpu(family: Family, trial: Trial): { problem: string } | { refused: string } | null {
  const found = family.match(trial.site);
  if ("reason" in found) return { refused: found.reason };
  const launches = found.map((m): Chosen => ({ ...m, family: family.name }));
  const buffers = buffersOf(trial, launches);
  if ("reason" in buffers) return { refused: buffers.reason };
  const ready = launches.map((launch, i): Ready => {
    const kernel = family.kernel(tiled(family.name, launch.problem));
    return { kernel, lowered: lowerToWasm(kernel), launch, bound: buffers.bound[i] };
  });
  const wrong = ready.find(
    ({ kernel, launch }) => kernel.params.length !== launch.args.length || kernel.dims.length !== launch.dims.length,
  );
  if (wrong)
    return {
      problem:
        `${wrong.kernel.name} has ${wrong.kernel.params.length} buffers and ${wrong.kernel.dims.length} dims, and match gives ` +
        `${wrong.launch.args.length} and ${wrong.launch.dims.length}`,
    };
  const problem = run(ready, buffers.all, trial);
  return problem === null ? null : { problem };
}

function run(ready: readonly Ready[], all: readonly Bytes[], trial: Trial): string | null {
  const scratch = Math.max(0, ...ready.map((r) => r.lowered.scratchBytes));
  const places = new Map<Bytes, number>();
  let end = GUARD + scratch + GUARD;
  for (const b of all) {
    // One element off alignment: views begin anywhere.
    places.set(b, Math.ceil(end / 64) * 64 + 4);
    end = places.get(b)! + b.data.length + GUARD;
  }
  const memory = new WebAssembly.Memory({ initial: Math.ceil(end / PAGE), maximum: 65536, shared: true });
  const bytes = new Uint8Array(memory.buffer).fill(BLANK);
  for (const [b, at] of places) bytes.set(b.data, at);
  for (const { kernel, lowered, launch, bound } of ready) {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(lowered.wasm as Uint8Array<ArrayBuffer>), {
      env: { memory },
    });
    const dims = launch.dims.map(sizeOf);
    const cells = evaluate(lowered.cells, Object.fromEntries(kernel.dims.map((d, i) => [d, dims[i]])));
    (exports.run as (...args: number[]) => void)(0, cells, GUARD, ...bound.map((b) => places.get(b)!), ...dims);
  }
  const beside = besides(bytes, [...places], GUARD + scratch);
  return (
    beside ??
    unlike(
      all.map((b) => ({ bytes: b, after: bytes.slice(places.get(b), places.get(b)! + b.data.length) })),
      trial,
    )
  );
}
