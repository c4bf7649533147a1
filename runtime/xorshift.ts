// The numbers that trials and checks of kernels fill their buffers with: the same every run.

/** xorshift32: whole numbers below 2^32. */
export function xorshift(): () => number {
  let state = 0x2545f491;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
