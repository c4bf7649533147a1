// Architectures as compilers name them and as cards do: "sm_90a" is what a card of compute capability 9.0 runs.

/** The compute capability of the cards that run an architecture's kernels. */
export function capabilityOf(arch: string): readonly [major: number, minor: number] {
  const [, major, minor] = /^sm_(\d+)(\d)[a-z]?$/.exec(arch)!;
  return [Number(major), Number(minor)];
}
