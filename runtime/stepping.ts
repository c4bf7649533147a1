// Steps of a session that begin before the ids of the last are known here, so that the device does not wait for the host between them:
// at most two are under way. Other ranks make the same steps, told when each begins and how many were looked at before.
import type { Begun, Result } from "./call.ts";

export interface SteppingHooks {
  /** Begins step k on what sequences were fed last; undefined where it cannot continue `after` before that has ended. */
  begin(k: number, fed: readonly number[], after: Begun | undefined): Begun | undefined;
  /** A step has ended: the ids that it was fed are rows of its sequences now; gives those that it chose. */
  took(fed: readonly number[], result: Result): number[];
  /** Steps that were begun and not looked at are forgotten. */
  end(): void;
}

export class Stepping {
  /** Steps whose results were looked at. */
  taken = 0;
  #begun = 0;
  #fed: readonly number[];
  readonly #under: Begun[] = [];
  readonly #hooks: SteppingHooks;

  /** `fed`: the ids of the first step. */
  constructor(fed: readonly number[], hooks: SteppingHooks) {
    [this.#fed, this.#hooks] = [fed, hooks];
  }

  /** Begins the next step; whether it could. */
  begin(): boolean {
    const begun = this.#hooks.begin(this.#begun, this.#fed, this.#under.at(-1));
    if (!begun) return false;
    // Whoever looks at it does so later; until then nobody waits.
    begun.result.catch(() => {});
    this.#under.push(begun);
    this.#begun++;
    return true;
  }

  /** The result of the step begun first, once it has ended. */
  async take(): Promise<Result> {
    const result = await this.#under[0].result;
    this.#under.shift();
    this.#fed = this.#hooks.took(this.#fed, result);
    this.taken++;
    return result;
  }

  /** Looks at results up to this number. */
  async upTo(taken: number): Promise<void> {
    while (this.taken < taken) await this.take();
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#under.map((b) => b.result));
    this.#hooks.end();
  }
}
