// A plug-in to begin with: a whole one, which is right as it stands and proves, so that every change from here is seen.
/** The text of a plug-in of that name with one pass and one rule. */
export async function scaffold(name: string): Promise<string> {
  const { Project, VariableDeclarationKind } = await import("ts-morph");
  const file = new Project({ useInMemoryFileSystem: true }).createSourceFile("plugin.ts");
  const id = name.replace(/-(\w)/g, (_, c: string) => c.toUpperCase());
  file.addStatements([
    `// ${name}: say here what it does and why.`,
    `//   dsc plugin check ${name}.ts --watch      types, proofs, trials, at every change`,
    `//   dsc compile SRC --plugin ${name}.ts      uses it`,
  ]);
  file.addImportDeclaration({ moduleSpecifier: "dsc/ir", namedImports: ["lastRows", "rmsNorm"] });
  file.addImportDeclaration({ moduleSpecifier: "dsc/passes", namedImports: ["pass", "rule"] });
  file.addImportDeclaration({ moduleSpecifier: "dsc/plugin", namedImports: ["plugin"] });
  file.addVariableStatement({
    declarationKind: VariableDeclarationKind.Const,
    leadingTrivia: "\n",
    docs: ["last(norm x) = norm(last x): both sides are built with ordinary builders, and the rule is proved before it runs."],
    declarations: [
      {
        name: "pickFirst",
        initializer: (w) =>
          w
            .write('rule("normalise the last rows only", ')
            .inlineBlock(() => {
              w.writeLine('vars: { x: "[T, d] a", gain: "[d] w", batch: "batch" },');
              w.writeLine("attrs: { eps: 1e-6 },");
              w.writeLine("from: ({ x, gain, batch, eps }) => lastRows({ x: rmsNorm({ x, gain, eps }), batch }),");
              w.writeLine("to: ({ x, gain, batch, eps }) => rmsNorm({ x: lastRows({ x, batch }), gain, eps }),");
              w.writeLine('when: (_, cx) => (cx.uses(cx.root.operands[0]) > 1 ? "every normalised row is read" : null),');
            })
            .write(")"),
      },
    ],
  });
  file.addVariableStatement({
    declarationKind: VariableDeclarationKind.Const,
    leadingTrivia: "\n",
    declarations: [
      {
        name: `${id}Pass`,
        initializer: (w) =>
          w
            .write("pass(")
            .inlineBlock(() => {
              w.writeLine(`name: "${name}",`);
              w.writeLine('summary: "Normalise only the rows whose logits are asked for.",');
              w.writeLine('before: "last-rows",');
              w.writeLine("rules: [pickFirst],");
            })
            .write(")"),
      },
    ],
  });
  file.addExportAssignment({
    isExportEquals: false,
    leadingTrivia: "\n",
    expression: `plugin({ name: "${name}", version: "0.1.0", passes: [${id}Pass] })`,
  });
  file.formatText({ indentSize: 2 });
  return file.getFullText();
}
