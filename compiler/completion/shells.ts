// The scripts: one per shell, from the same words.
import { lists, type CommandWords } from "./words.ts";

/** Places count the words that are no option and no option's value. */
export function bash(commands: readonly CommandWords[]): string {
  const cases = (rows: readonly string[]): string => rows.map((r) => `    ${r} ;;`).join("\n");
  const values = commands.flatMap((c) =>
    c.options.filter((o) => o.values.length).map((o) => `"${c.name} --${o.name}") words="${o.values.join(" ")}"`),
  );
  const places = commands.flatMap((c) =>
    Object.entries(c.places).map(([at, words]) => `"${c.name} ${at}") words="${words.join(" ")}"`),
  );
  const kernels = commands.flatMap((c) =>
    c.kernelAt === undefined ? [] : [`"${c.name} ${c.kernelAt}") words="$(_dsc_kernels "$last")"`],
  );
  return `# Completion of dsc, as "dsc completion" prints it.
_dsc_kernels() {
  local f
  for f in "$1"/kernels/*.txt "$1"/kernels/*.cu "$1"/kernels/*.py; do
    [ -e "$f" ] && f="\${f##*/}" && printf '%s\\n' "\${f%.*}"
  done
}
_dsc() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" command="\${COMP_WORDS[1]}"
  local options="" flags="" words="" at=1 last="" i
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map((c) => c.name).join(" ")} --help --version" -- "$cur"))
    return
  fi
  [ "$prev" = "-p" ] && prev="--passes"
  case "$command" in
${cases(
  commands.map(
    (c) =>
      `${c.name}) options="${c.options.map((o) => `--${o.name}`).join(" ")}" flags=" ${c.options
        .filter((o) => !o.takesValue)
        .map((o) => `--${o.name}`)
        .join(" ")} "`,
  ),
)}
  esac
  for ((i = 2; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -*) [[ "$flags" == *" \${COMP_WORDS[i]} "* ]] || i=$((i + 1)) ;;
      *) at=$((at + 1)) last="\${COMP_WORDS[i]}" ;;
    esac
  done
  case "$command $prev" in
${cases(values)}
    *" "-*) [[ "$flags" == *" $prev "* ]] || at=0 ;;
  esac
  [ -n "$words" ] || case "$command $at" in
${cases([...places, ...kernels])}
  esac
  if [[ "$prev" == --passes && "$cur" == *,* ]]; then
    COMPREPLY=($(compgen -P "\${cur%,*}," -W "$words" -- "\${cur##*,}"))
  elif [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _dsc dsc
`;
}

/** zsh reads bash's completion functions. */
export const zsh = (commands: readonly CommandWords[]): string =>
  `autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`;

export function fish(commands: readonly CommandWords[]): string {
  const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = [
    `# Completion of dsc, as "dsc completion fish" prints it.`,
    "function __dsc_at --description 'whether so many words without a dash follow dsc'",
    "  set -l words (commandline -opc)",
    "  test (count (string match -v -- '-*' $words)) -eq $argv[1]",
    "end",
    "function __dsc_kernels",
    "  set -l words (string match -v -- '-*' (commandline -opc))",
    "  for f in $words[3]/kernels/*.txt $words[3]/kernels/*.cu $words[3]/kernels/*.py",
    "    string replace -r '^.*/(.*)\\.[a-z]+$' '$1' -- $f",
    "  end",
    "end",
    "complete -c dsc -n __fish_use_subcommand -f",
  ];
  for (const c of commands) {
    const here = `__fish_seen_subcommand_from ${c.name}`;
    lines.push(`complete -c dsc -n __fish_use_subcommand -f -a ${c.name} -d ${quoted(c.describe)}`);
    for (const o of c.options) {
      const takes = !o.takesValue
        ? ""
        : o.values.length
          ? ` -x -a ${quoted(lists.includes(o.name) ? `(__fish_append , ${o.values.join(" ")})` : o.values.join(" "))}`
          : " -r";
      lines.push(`complete -c dsc -n '${here}' -l ${o.name}${takes} -d ${quoted(o.describe)}`);
    }
    for (const [at, words] of Object.entries(c.places))
      lines.push(`complete -c dsc -n '${here}; and __dsc_at ${Number(at) + 1}' -f -a ${quoted(words.join(" "))}`);
    if (c.kernelAt !== undefined)
      lines.push(`complete -c dsc -n '${here}; and __dsc_at ${c.kernelAt + 1}' -f -a '(__dsc_kernels)'`);
  }
  return `${lines.join("\n")}\n`;
}

export function pwsh(commands: readonly CommandWords[]): string {
  const list = (words: readonly string[]): string => `@(${words.map((w) => `'${w.replaceAll("'", "''")}'`).join(", ")})`;
  const table = (rows: readonly (readonly [string, readonly string[]])[]): string =>
    rows.map(([k, v]) => `    '${k}' = ${list(v)}`).join("\n");
  return `# Completion of dsc, as "dsc completion pwsh" prints it.
Register-ArgumentCompleter -Native -CommandName dsc -ScriptBlock {
  param($word, $ast, $cursor)
  $options = @{
${table(commands.map((c) => [c.name, c.options.map((o) => `--${o.name}`)]))}
  }
  $flags = @{
${table(commands.map((c) => [c.name, c.options.filter((o) => !o.takesValue).map((o) => `--${o.name}`)]))}
  }
  $values = @{
${table(commands.flatMap((c) => c.options.filter((o) => o.values.length).map((o) => [`${c.name} --${o.name}`, o.values] as const)))}
  }
  $places = @{
${table(commands.flatMap((c) => Object.entries(c.places).map(([at, words]) => [`${c.name} ${at}`, words] as const)))}
  }
  $kernels = @{ ${commands.flatMap((c) => (c.kernelAt === undefined ? [] : [`'${c.name} ${c.kernelAt}' = $true`])).join("; ")} }
  $before = @($ast.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursor } | ForEach-Object { $_.ToString() })
  $command = if ($before.Count -gt 1) { $before[1] } else { '' }
  if ($command -eq '') { $words = ${list(commands.map((c) => c.name))} }
  else {
    $at = 1; $last = ''; $value = $false
    foreach ($w in $before[2..$before.Count]) {
      if ($value) { $value = $false }
      elseif ($w -like '-*') { $value = $flags[$command] -notcontains $w }
      elseif ($w) { $at++; $last = $w }
    }
    if ($value) { $words = $values["$command $($before[-1])"] }
    elseif ($word -like '-*') { $words = $options[$command] }
    elseif ($kernels["$command $at"]) {
      $words = Get-ChildItem "$last/kernels" -Include *.txt, *.cu, *.py -Recurse | ForEach-Object { $_.BaseName }
    }
    else { $words = $places["$command $at"] }
  }
  $words | Where-Object { $_ -like "$word*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`;
}
