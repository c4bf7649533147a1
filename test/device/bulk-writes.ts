// For initcheck, which does not count what the copy engine writes (cp.async.bulk.tensor to global memory) and takes every later read
// of it for a read of fresh memory: the results of kernels that write so are filled before their launch. All other memory is left
// to the tool.
import type { Compiled } from "../../compiler/compile.ts";
import { evaluate } from "../../ir/size.ts";
import type { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { Watch } from "../../runtime/devices/cuda/executor.ts";
import { elementBytes } from "./oracle-compare.ts";
import { placedSteps } from "./oracle-job.ts";

const BULK_STORE = /cp\.async\.bulk\.tensor\.\dd\.global\.shared/;

/** Fills results of bulk stores on the device that `of` gives once it is open. */
export function fillBulkWrites(c: Compiled, options: Parameters<typeof placedSteps>[1], of: () => CudaDevice): Watch {
  const steps = placedSteps(c, options);
  const bulk = new Set(
    Object.entries(c.manifest.kernels)
      .filter(([, k]) => BULK_STORE.test(String(c.files.get(k.text))))
      .map(([name]) => name),
  );
  return ({ kernel, addresses, site }, go) => {
    const placed = bulk.has(kernel) ? steps.get(site.step) : undefined;
    for (const [i, arg] of placed?.chosen.args.entries() ?? []) {
      if (!("out" in arg) || arg.part) continue;
      const { shape, strides, dtype } = placed!.site.outs[arg.out];
      const last = shape.reduce<number>(
        (sum, n, axis) => sum + (evaluate(n, site.dims) - 1) * evaluate(strides[axis], site.dims),
        0,
      );
      of().clear(addresses[i], (last + 1) * elementBytes[dtype]);
    }
    go();
  };
}
