// Public entry point dsc/passes: declare rules and passes, run pipelines.
export { Ledger, type Entry } from "./ledger.ts";
export { pass, type Cx, type Pass } from "./pass.ts";
export { choosePasses, runPipeline, type Outcome, type Snapshot } from "./pipeline.ts";
export { rebuild, rewrite, usesOf } from "./rewrite.ts";
export { rule, type Rule } from "./rule.ts";
export { insertAfter, insertBefore, standard } from "./standard.ts";
