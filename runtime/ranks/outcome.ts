// How a group of ranks ends badly: the first error, told to all that wait and to all that ask later.
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { ABOUT_RANKS, rankFailed } from "../diagnostics/ranks.ts";

/** What a rank's error is to the others. */
export function told(rank: number, e: Error): Diagnostic[] {
  const own = e instanceof DiagnosticError ? e.diagnostics : [];
  if (own.length > 0 && ABOUT_RANKS.has(own[0].code)) return own;
  return [...rankFailed({ rank, why: e.message }).diagnostics, ...own];
}

/** The first error of a group. */
export class Outcome {
  /** What ended the group. */
  error: Error | undefined;
  readonly #waiting = new Set<(e: Error) => void>();

  /** Only the first counts. */
  fail(error: Error): void {
    if (this.error) return;
    this.error = error;
    for (const give of this.#waiting) give(error);
    this.#waiting.clear();
  }

  /** Calls when the group ends badly, at once where it has. */
  onFail(give: (e: Error) => void): void {
    if (this.error) give(this.error);
    else this.#waiting.add(give);
  }

  check(): void {
    if (this.error) throw this.error;
  }

  /** A promise that others settle, or that the group's end rejects; after `ms`, where given, with what `late` makes. */
  wait<T>(begin: (resolve: (value: T) => void) => void, ms?: number, late?: () => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = ms === undefined ? undefined : setTimeout(() => late!(), ms);
      const settle = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(refuse);
      };
      const refuse = (e: Error): void => {
        settle();
        reject(e);
      };
      this.onFail(refuse);
      if (this.error) return;
      begin((value) => {
        settle();
        resolve(value);
      });
    });
  }
}
