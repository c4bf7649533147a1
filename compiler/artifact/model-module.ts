// OUT/model.ts: the artifact as a typed module, for programs that name its entries, sizes and kernels and want to hear of a change when
// they are compiled. Written by ts-morph, which takes 0.3 s to load: only where it is asked for (`dsc compile --types`).
import type { ArgPlan, KernelRecord, Manifest } from "../../ir/artifact.ts";
import { printSize } from "../../ir/size.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import type { Compiled } from "../driver/pack.ts";

/** The same artifact with model.ts. */
export async function withModelModule(c: Compiled): Promise<Compiled> {
  const files = new Map(c.files).set("model.ts", await modelModule(c.manifest));
  const digests = Object.fromEntries([...files].map(([name, data]) => [name, c.manifest.files[name] ?? sha256(data)]));
  return { ...c, manifest: { ...c.manifest, files: digests }, files };
}

/** A record of literals. */
type Literal = string | number | boolean | null | readonly Literal[] | { readonly [k: string]: Literal };

/** The text of model.ts. */
export async function modelModule(m: Manifest): Promise<string> {
  const { Project, VariableDeclarationKind } = await import("ts-morph");
  const file = new Project({ useInMemoryFileSystem: true }).createSourceFile("model.ts");
  const constant = (name: string, value: Literal, doc: string): void =>
    void file.addVariableStatement({
      declarationKind: VariableDeclarationKind.Const,
      isExported: true,
      docs: [doc],
      declarations: [{ name, initializer: `${JSON.stringify(value, null, 2)} as const` }],
    });
  const names = (name: string, of: string, doc: string): void =>
    void file.addTypeAlias({ name, isExported: true, docs: [doc], type: `keyof typeof ${of}` });
  file.addStatements(
    `// ${m.model.architecture} for ${m.target}, as dsc ${m.compiler} compiled it. Made by dsc compile --types: not to be edited.`,
  );
  file.addImportDeclaration({
    moduleSpecifier: "dsc",
    namedImports: [{ name: "load" }, { name: "LoadCall", isTypeOnly: true }, { name: "Model", isTypeOnly: true }],
  });
  constant("target", m.target, "What the kernels are for.");
  constant("options", m.options as Literal, "The options it was compiled with.");
  constant("dims", dimsOf(m), "Sizes of the model.");
  constant(
    "entries",
    entriesOf(m),
    "What can be run: inputs and results by name, with shapes over T rows, B sequences and S cached rows.",
  );
  constant(
    "kernels",
    Object.fromEntries(Object.entries(m.kernels).map(([name, k]) => [name, kernelOf(k)])),
    "Every kernel: its family, its buffers and sizes in launch order, its text in this folder.",
  );
  names("EntryName", "entries", "The name of an entry.");
  names("KernelName", "kernels", "The name of a kernel.");
  file.addFunction({
    name: "open",
    isExported: true,
    docs: ["Loads the artifact that this module lies in; `weights` names its checkpoint."],
    parameters: [{ name: "options", type: `LoadCall & { weights: string }` }],
    returnType: "Promise<Model>",
    statements: 'return load(new URL(".", import.meta.url).pathname, options);',
  });
  file.formatText({ indentSize: 2 });
  return file.getFullText();
}

/** Sizes of the model, the numbers among its facts. */
const dimsOf = ({ model }: Manifest): Literal => ({
  ...Object.fromEntries(Object.entries(model).filter(([, v]) => typeof v === "number")),
  ...(model.experts ? { experts: model.experts.count, expertsPerToken: model.experts.perToken } : {}),
});

const argOf = ({ name, dtype, shape }: ArgPlan): readonly [string, Literal] => [
  name,
  { dtype, shape: shape.map((s) => (typeof s === "number" ? s : printSize(s))) },
];

const entriesOf = (m: Manifest): Literal =>
  Object.fromEntries(
    Object.entries(m.entries).flatMap(([entry, name]) => {
      const plan = m.functions[name];
      return plan === undefined
        ? []
        : [
            [
              entry,
              {
                function: name,
                inputs: { ids: { dtype: "i32", shape: ["T"] }, ...Object.fromEntries(plan.inputs.map(argOf)) },
                results: Object.fromEntries(plan.results.map(argOf)),
              },
            ],
          ];
    }),
  );

const kernelOf = (k: KernelRecord): Literal => ({
  family: k.family,
  params: k.params.flatMap((p): Literal[] => (p.kind === "buffer" ? [{ name: p.name, dtype: p.dtype, access: p.access }] : [])),
  dims: k.dims,
  text: k.text,
});
