// DSC414x: what a module of Relax cannot say.
import { place, thrown } from "../../ir/diagnostic.ts";

export const relaxCannotSay = thrown<{ what: string; site: string; why: string }>("DSC4141", {
  name: "something that Relax cannot say",
  means:
    "dsc export relax writes the model as it is before any pass, every op in operators of Relax. This op, or this weight, has no form " +
    "there that TVM's own pipeline compiles; the note says why.",
  example: "A plug-in's activation, which has no operator in Relax.",
  fix: "Leave out what brought it: a plug-in, --act-quant, or --set. dsc export onnx writes more.",
  at: ({ site }) => [place(site)],
  short: ({ what, why }) => ({
    title: `Relax cannot say ${what}`,
    notes: [why],
    help: "dsc export onnx SRC says more: graphs after any pass, quantised inputs, activations by their arithmetic",
  }),
});
