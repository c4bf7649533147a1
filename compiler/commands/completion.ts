// dsc completion [SHELL]: a script for bash or zsh, made from the commands' own declarations. It is complete in itself: pressing
// Tab starts no Node.
import yargs, { type ArgumentsCamelCase, type Argv } from "yargs";
import { nameOf, type Command } from "../words.ts";

interface Options {
  shell?: "bash" | "zsh";
}

export const completionCommand = {
  command: "completion [shell]",
  describe: "a script that completes commands, options and their values in bash or zsh",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("shell", { choices: ["bash", "zsh"] as const, describe: "whose (default: that of $SHELL)" })
      .epilogue("bash: dsc completion bash >> ~/.bashrc      zsh: dsc completion zsh >> ~/.zshrc") as unknown as Argv<Options>,
  handler: async ({ shell }: ArgumentsCamelCase<Options>): Promise<void> => {
    // Here, for this command is one of the commands.
    const { loadCommands } = await import("./index.ts");
    const script = bash(await loadCommands());
    const zsh = (shell ?? process.env.SHELL ?? "").endsWith("zsh");
    process.stdout.write(zsh ? `autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n${script}` : script);
  },
};

interface Known {
  key: Record<string, unknown>;
  alias: Record<string, string[]>;
  choices: Record<string, readonly unknown[]>;
}

function bash(commands: readonly Command[]): string {
  const values: string[] = [];
  const options = commands.map((c) => {
    const known = (c.builder(yargs([])) as unknown as { getOptions(): Known }).getOptions();
    const positional = new Set([...c.command.matchAll(/[<[](\w+)/g)].map((m) => m[1]));
    const names = Object.keys(known.key).filter((k) => !/[A-Z]/.test(k) && k.length > 1 && !positional.has(k) && k !== "version");
    for (const [name, of] of Object.entries(known.choices))
      if (positional.has(name)) values.push(`    "${nameOf(c)} ${nameOf(c)}") words="${of.join(" ")}" ;;`);
      else if (!/[A-Z]/.test(name) && name.length > 1) values.push(`    "${nameOf(c)} --${name}") words="${of.join(" ")}" ;;`);
    return `    ${nameOf(c)}) options="${names.map((n) => `--${n}`).join(" ")}" ;;`;
  });
  return `# Completion of dsc, as "dsc completion" prints it.
_dsc() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" command="\${COMP_WORDS[1]}" options="" words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(nameOf).join(" ")} --help --version" -- "$cur"))
    return
  fi
  case "$command $prev" in
${values.join("\n")}
  esac
  case "$command" in
${options.join("\n")}
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _dsc dsc
`;
}
