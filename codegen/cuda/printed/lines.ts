// Lines of generated text with their indentation.
import type { Owner } from "../../../ir/kernel/owner.ts";

export class Lines {
  private list: string[] = [];
  private owners: (Owner | undefined)[] = [];
  /** The statement that the lines to come are of. */
  owner: Owner | undefined;
  private depth: number;

  constructor(depth = 1) {
    this.depth = depth;
  }

  add(...lines: string[]): void {
    for (const l of lines) {
      this.list.push(l === "" || l.startsWith("#") ? l : "  ".repeat(this.depth) + l);
      this.owners.push(this.owner);
    }
  }

  /** head { body } */
  nest(head: string, body: () => void): void {
    this.add(head ? `${head} {` : "{");
    const { owner } = this;
    this.depth++;
    body();
    this.depth--;
    this.owner = owner;
    this.add("}");
  }

  /** Runs `body` and throws its lines away. */
  dry(body: () => void): void {
    const kept = [this.list, this.owners] as const;
    [this.list, this.owners] = [[], []];
    body();
    [this.list, this.owners] = kept;
  }

  /** Every line with the statement that it is of. */
  owned(): { line: string; owner: Owner | undefined }[] {
    return this.list.map((line, i) => ({ line, owner: this.owners[i] }));
  }

  toString(): string {
    return this.list.join("\n");
  }
}
