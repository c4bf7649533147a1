// The ranks part of the card's run over the stand-in for the driver, as far as that can play: models in lockstep, exchanges between
// streams that go on by themselves, in graphs; synthetic weights of ranks, which lockstep compares. Not clusters, nor other processes.
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { systemTexts } from "../../codegen/cuda/system/index.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import { Cuda } from "../../runtime/devices/cuda/index.ts";
import { lockstepRows } from "../device/ranks-lockstep.ts";
import { checkKernel, exchangeRows, makeKernel } from "../device/ranks-mailbox.ts";
import { fixtures } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { work } from "../run/cuda-device.ts";

test.skipIf(lacks("g++"))("lockstep says what one rank says, on synthetic weights", async () => {
  const rows = await lockstepRows([
    {
      src: fixtures.find((f) => f.includes("a01"))!,
      weights: "synthetic:3",
      options: {
        activations: "f32",
        natives: "none",
        driver: async (c) => {
          const [driver, { compile }] = await Promise.all([buildDriver(work), buildKernels(c.manifest, c.files)]);
          return { libraries: [driver], compile };
        },
      },
      rows: 9,
      meshes: ["tp=2"],
      within: 1e-4,
    },
  ]);
  expect(rows).toMatchObject([{ part: "lockstep", mesh: "tp=2", ok: true, other_ids: 0, of: 16 }]);
});

test.skipIf(lacks("g++"))("exchanges of three ranks are right in every round, in one crossing and in two", async () => {
  const texts = [...systemTexts(512, h200, true).filter((t) => t.name.startsWith("dsc_push")), makeKernel(), checkKernel()];
  const system = Object.fromEntries(
    texts.map(({ name, params, dims, launch }): [string, KernelRecord] => [
      name,
      { text: name, entry: name, family: "system", params, dims, launch },
    ]),
  );
  const [driver, { compile }] = await Promise.all([
    buildDriver(work, "libcuda-streams.so", { STREAMS: 1 }),
    buildKernels({ kernels: {}, system }, new Map(texts.map((t) => [t.name, t.source]))),
  ]);
  const cuda = new Cuda(0, { libraries: [driver] });
  const rows = await exchangeRows(cuda, { ranks: 3, exchanges: 20, load: (text) => cuda.loadCubin(compile(text.name), text) });
  cuda.close();
  expect(rows).toMatchObject([
    { ranks: 3, words: 7168, exchanges: 21, wrong: 0, ok: true },
    { ranks: 3, words: 70000, exchanges: 21, wrong: 0, ok: true },
  ]);
});
