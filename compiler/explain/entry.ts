/** What `dsc explain CODE` and docs/diagnostics.md say about a code. */
export interface Entry {
  /** The failure in a few words. */
  name: string;
  /** What was expected, and where the expectation comes from. */
  means: string;
  /** What gives it. A line that begins "$ " is a command that does, run from the root of the repository. */
  example: string;
  /** What to do. */
  fix: string;
}
