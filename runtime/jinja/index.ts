// Jinja as chat templates use it: what Python's Jinja with the settings of transformers makes of a template, or a refusal that names
// what is not here, with line and column. Our own, for the packages there are render some templates otherwise without a word.
import { LIMITS, limited, type Limits } from "./budget.ts";
import { Fault } from "./errors.ts";
import { globals } from "./globals.ts";
import type { Stmt } from "./nodes.ts";
import { parse } from "./parse.ts";
import { Renderer } from "./render.ts";
import { Scope } from "./scope.ts";
import { fromJs } from "./values.ts";

export { Fault } from "./errors.ts";
export { LIMITS } from "./budget.ts";

export interface RenderOptions {
  limits?: Limits;
  /** The time `strftime_now` gives; this machine's by default. */
  now?: () => Date;
}

export class Template {
  private readonly body: Stmt[];

  /** Throws a `Fault` with its place where the text is no template. */
  constructor(source: string) {
    this.body = guarded(() => parse(source));
  }

  /** The text for some variables, which are values of JSON. Throws a `Fault`. */
  render(
    variables: Readonly<Record<string, unknown>>,
    { limits = LIMITS, now = (): Date => new Date() }: RenderOptions = {},
  ): string {
    return guarded(() =>
      limited(limits, () => {
        const around = new Scope();
        for (const [name, value] of Object.entries(globals(now))) around.set(name, value);
        for (const [name, value] of Object.entries(variables)) if (value !== undefined) around.set(name, fromJs(value));
        return new Renderer().text(this.body, new Scope(around));
      }),
    );
  }
}

/** Texts and stacks larger than the machine takes are a matter of cost too. */
function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (e) {
    if (e instanceof RangeError) throw new Fault("budget", `it needs more than this machine has: ${e.message}`);
    throw e;
  }
}
