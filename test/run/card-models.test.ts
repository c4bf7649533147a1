// The models part of the card's run, as it is, over the stand-in for the driver: what it opens of an artifact, and what it calls right.
import { expect, test } from "vitest";
import { fixtureRows } from "../device/models.ts";
import { fixtures } from "../interpreted.ts";
import { lacks } from "../conditions.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { work } from "./cuda-device.ts";

test.skipIf(lacks("g++"))("fixtures are opened and are within their limits of what transformers computed", async () => {
  const rows = await fixtureRows("cuda", {
    of: fixtures.slice(0, 1),
    natives: "none",
    driver: async (c) => {
      const [driver, { compile }] = await Promise.all([buildDriver(work), buildKernels(c.manifest, c.files)]);
      return { libraries: [driver], compile };
    },
  });
  expect(rows.map(({ activations, ok, error }) => ({ activations, ok, error }))).toEqual([
    { activations: "f32", ok: true, error: undefined },
    { activations: "bf16", ok: true, error: undefined },
  ]);
});
