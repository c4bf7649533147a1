// Public entry point dsc/passes: declare rules and passes, run pipelines.
export { bodiesOf, type Body, type PassPromise, type Ran } from "./contract.ts";
export { Ledger, type Entry, type Verdict } from "./ledger.ts";
export { checkOptions } from "./options.ts";
export { pass, type Cx, type Pass, type Planned } from "./pass.ts";
export { printSaid, type Said, type Table } from "./report.ts";
export {
  choosePasses,
  runPipeline,
  showPlan,
  type Outcome,
  type PipelineOptions,
  type Place,
  type Snapshot,
} from "./pipeline.ts";
export { instanceOf, printSide, sideOf, type Instance } from "./instance.ts";
export { counterexample, disagreement, type Counterexample } from "./prove.ts";
export { readersOf, rebuild, rewrite, usesOf } from "./rewrite.ts";
export { atLoad, type AtLoad } from "./at-load.ts";
export { fusion } from "./fusion.ts";
export { rule, type Change, type Rule } from "./rule.ts";
export { insertAfter, insertBefore, standard } from "./standard.ts";
