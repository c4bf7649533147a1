// Lines of generated text with their indentation.
export class Lines {
  private list: string[] = [];
  private depth: number;

  constructor(depth = 1) {
    this.depth = depth;
  }

  add(...lines: string[]): void {
    for (const l of lines) this.list.push(l === "" || l.startsWith("#") ? l : "  ".repeat(this.depth) + l);
  }

  /** head { body } */
  nest(head: string, body: () => void): void {
    this.add(head ? `${head} {` : "{");
    this.depth++;
    body();
    this.depth--;
    this.add("}");
  }

  /** Runs `body` and throws its lines away. */
  dry(body: () => void): void {
    const kept = this.list;
    this.list = [];
    body();
    this.list = kept;
  }

  toString(): string {
    return this.list.join("\n");
  }
}
