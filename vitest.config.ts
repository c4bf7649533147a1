import { defineConfig } from "vitest/config";

// Two cores everywhere: more workers only fight. Device tests need a GPU and run by hand.
export default defineConfig({
  test: { include: ["test/**/*.test.ts"], exclude: ["test/device/**", "dist/**", "node_modules/**"], maxWorkers: 2, testTimeout: 120_000 },
});
