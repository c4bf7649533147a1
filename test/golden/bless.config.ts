// npm run bless: the golden tests write what they would have compared. A config of its own, so that nothing in the environment can
// make `npm test` pass by writing its own answers.
import type { ViteUserConfig } from "vitest/config";
import base from "../../vitest.config.ts";

const { projects: _, ...common } = base.test!;
const config: ViteUserConfig = { test: { ...common, include: ["test/golden/*.test.ts"], provide: { bless: true } } };
export default config;
