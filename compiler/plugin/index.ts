// Public entry point dsc/plugin: declare what a plug-in brings.
export { activation, type Activation } from "../../ir/activation.ts";
export { plugin, type OpBuilder, type Plugin, type Report } from "./plugin.ts";
