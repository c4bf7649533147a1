// The tree of a template. Every node knows where it begins.
import type { At } from "./errors.ts";
import type { Value } from "./values.ts";

export interface Call {
  list: Expr[];
  named: [name: string, value: Expr][];
  /** `*args` and `**kwargs`. */
  spread?: Expr | undefined;
  spreadNamed?: Expr | undefined;
}

export type Expr = { at: At } & (
  | { kind: "const"; value: Value }
  | { kind: "name"; name: string }
  | { kind: "list" | "tuple"; items: Expr[] }
  | { kind: "dict"; pairs: [Expr, Expr][] }
  | { kind: "if"; test: Expr; then: Expr; otherwise: Expr | undefined }
  | { kind: "and" | "or"; left: Expr; right: Expr }
  | { kind: "not" | "neg" | "pos"; of: Expr }
  | { kind: "compare"; first: Expr; rest: [op: string, Expr][] }
  | { kind: "binary"; op: string; left: Expr; right: Expr }
  | { kind: "concat"; parts: Expr[] }
  | { kind: "attribute"; of: Expr; name: string }
  | { kind: "item"; of: Expr; index: Expr }
  | { kind: "slice"; of: Expr; start: Expr | undefined; stop: Expr | undefined; step: Expr | undefined }
  | { kind: "call"; of: Expr; args: Call }
  | { kind: "filter"; of: Expr | undefined; name: string; args: Call }
  | { kind: "test"; of: Expr; name: string; args: Call; negated: boolean }
);

/** What is assigned to: a name, an attribute of a namespace, or several. */
export type Target = { at: At } & (
  | { kind: "name"; name: string }
  | { kind: "attribute"; of: string; name: string }
  | { kind: "several"; items: Target[] }
);

export interface Signature {
  name: string;
  params: string[];
  /** Of the last parameters. */
  defaults: Expr[];
  body: Stmt[];
}

export type Stmt = { at: At } & (
  | { kind: "text"; text: string }
  | { kind: "print"; of: Expr }
  | { kind: "for"; target: Target; over: Expr; filter: Expr | undefined; recursive: boolean; body: Stmt[]; otherwise: Stmt[] }
  | { kind: "if"; branches: [test: Expr, body: Stmt[]][]; otherwise: Stmt[] }
  | { kind: "set"; target: Target; value: Expr }
  | { kind: "capture"; target: Target; filter: Expr | undefined; body: Stmt[] }
  | { kind: "macro"; macro: Signature }
  | { kind: "callblock"; macro: Signature; call: Expr }
  | { kind: "filterblock"; filter: Expr; body: Stmt[] }
  | { kind: "with"; targets: Target[]; values: Expr[]; body: Stmt[] }
  | { kind: "scope"; body: Stmt[] }
  | { kind: "break" | "continue" }
);
