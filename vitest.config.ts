import { defineConfig } from "vitest/config";

// Two cores everywhere: more workers only fight. Device tests need a GPU and run by hand. Tests and hooks have no time limit of
// their own, for a busy machine makes any limit wrong: test/standstill.ts ends a run in which nothing happens any more.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/device/**", "dist/**", "node_modules/**"],
    maxWorkers: 2,
    testTimeout: 0,
    hookTimeout: 0,
    globalSetup: ["test/standstill.ts", "test/host-builds.ts"],
    // Limits of dsc that are of the clock.
    env: { DSC_PLUGIN_SECONDS: "3600", DSC_LOCK_SECONDS: "3600" },
  },
});
