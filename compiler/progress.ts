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
