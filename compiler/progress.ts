// A line on a terminal that says how far long work is. Nothing is written where stderr is no terminal.
export interface Progress {
  show(text: string): void;
  /** Takes the line away. */
  end(): void;
}

export function progressLine(stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { show: () => {}, end: () => {} };
  let last = 0;
  let shown = false;
  return {
    show(text) {
      // Ten times a second is enough for eyes.
      if (performance.now() - last < 100) return;
      last = performance.now();
      shown = true;
      stream.write(`\r\x1b[K${text.slice(0, (stream.columns || 80) - 1)}`);
    },
    end() {
      if (shown) stream.write("\r\x1b[K");
      shown = false;
    },
  };
}

/** Says what is going on and for how long, from half a second on, until the work is done. */
export async function during<T>(what: string, work: Promise<T>, line: Progress = progressLine()): Promise<T> {
  const from = performance.now();
  const timer = setInterval(() => {
    const seconds = (performance.now() - from) / 1000;
    if (seconds >= 0.5) line.show(`${what}, ${seconds.toFixed(0)} s`);
  }, 250);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    line.end();
  }
}

/** The same values; the first is waited for as long work. */
export async function* firstDuring<T>(what: string, values: AsyncIterableIterator<T>): AsyncGenerator<T> {
  const first = await during(what, values.next());
  if (first.done) return;
  yield first.value;
  yield* values;
}
