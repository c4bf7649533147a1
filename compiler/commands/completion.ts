// dsc completion [SHELL]: a script for bash, zsh, fish or PowerShell, made from the commands' own declarations. It is complete in
// itself: pressing Tab starts no Node. Kernels of an artifact are the files of its folder.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { wordsOf } from "../completion/words.ts";
import { bash, fish, pwsh, zsh } from "../completion/shells.ts";
import { taking } from "../taking.ts";

const shells = { bash, zsh, fish, pwsh } as const;

interface Options {
  shell?: keyof typeof shells;
}

/** The command, over all commands: it is one of them, so their list is given to it. */
export const completionOf = (loadCommands: () => Promise<Parameters<typeof wordsOf>[0]>) => ({
  command: "completion [shell]",
  describe: "a script that completes commands, options, their values and names in bash, zsh, fish or PowerShell",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      y
        .positional("shell", {
          choices: Object.keys(shells) as (keyof typeof shells)[],
          describe: "whose (default: that of $SHELL)",
        })
        .epilogue(
          "dsc completion bash >> ~/.bashrc; zsh >> ~/.zshrc; fish > ~/.config/fish/completions/dsc.fish; pwsh >> $PROFILE",
        ),
    ),
  handler: async ({ shell }: ArgumentsCamelCase<Options>): Promise<void> => {
    const own = (process.env.SHELL ?? "").replace(/^.*\//, "");
    process.stdout.write(
      shells[shell ?? (Object.hasOwn(shells, own) ? (own as keyof typeof shells) : "bash")](wordsOf(await loadCommands())),
    );
  },
});
