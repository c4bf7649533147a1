import { defineConfig } from "vitest/config";

/** Files that may follow each other in one process: what they need of dsc is loaded and warm. The rest has a process for each file. */
const together = [
  "test/*.test.ts",
  "test/{api,frontend,jinja,kernels,onnx,rules}/*.test.ts",
  "test/golden/{golden,kernels,natives,passes}.test.ts",
  "test/docs/{figures,glossary,where}.test.ts",
  "test/runtime/*.test.ts",
];
const notTests = ["test/device/**", "dist/**", "node_modules/**"];

const common = {
  // Two cores everywhere: more workers only fight.
  maxWorkers: 2,
  // Tests and hooks have no time limit of their own, for a busy machine makes any limit wrong: test/standstill.ts ends a run in which
  // nothing happens any more.
  testTimeout: 0,
  hookTimeout: 0,
  globalSetup: ["test/standstill.ts", "test/host-builds.ts"],
  // Limits of dsc that are of the clock.
  env: { DSC_PLUGIN_SECONDS: "3600", DSC_LOCK_SECONDS: "3600" },
};

// Device tests need a GPU and run by hand.
export default defineConfig({
  test: {
    ...common,
    reporters: ["default", "test/slowest.ts"],
    projects: [
      {
        test: {
          ...common,
          name: "together",
          include: together,
          exclude: notTests,
          isolate: false,
          setupFiles: ["test/fresh.ts"],
        },
      },
      {
        test: {
          ...common,
          name: "apart",
          include: ["test/**/*.test.ts"],
          exclude: [...notTests, ...together],
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
