"""Completion scripts for shells, generated from the command's tables.

They are static text: completing a word starts no process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_lib.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


def script(
    shell: str,
    *,
    verbs: Mapping[str, str],
    flags: Mapping[str, Sequence[str]],
    words: Mapping[str, Sequence[str]],
) -> str:
    """Return the script for a shell to source.

    Args:
        shell: one of `SHELLS`.
        verbs: verb to its description.
        flags: verb to its options, with their dashes.
        words: verb to the words that it accepts in place of a project.

    Raises:
        UsageError: the shell is not supported.
    """
    if shell not in SHELLS:
        raise UsageError(
            f"no completion for {shell!r}",
            where="mlops completion",
            remedy=f"Give one of {', '.join(SHELLS)}.",
        )
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](verbs, flags, words)


def _cases(flags: Mapping[str, Sequence[str]], words: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(
        f"    {verb}) given='{' '.join([*words.get(verb, ()), *flags[verb]])}' ;;" for verb in flags
    )


def _bash(
    verbs: Mapping[str, str], flags: Mapping[str, Sequence[str]], words: Mapping[str, Sequence[str]]
) -> str:
    return f"""# mlops completion bash: source this file, or put it into ~/.local/share/bash-completion/completions/mlops
_mlops() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} given=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(verbs)} --help --version' -- "$current"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{_cases(flags, words)}
  esac
  COMPREPLY=($(compgen -W "$given" -- "$current"))
  if [ "${{current#-}}" = "$current" ]; then
    COMPREPLY+=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _mlops mlops
"""


def _zsh(
    verbs: Mapping[str, str], flags: Mapping[str, Sequence[str]], words: Mapping[str, Sequence[str]]
) -> str:
    listed = "\n".join(f"    '{verb}:{_quoted(text)}'" for verb, text in verbs.items())
    return f"""#compdef mlops
# mlops completion zsh: put this file as _mlops into a folder of $fpath, or source it after compinit
_mlops() {{
  local -a verbs
  local given=''
  verbs=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe 'verb' verbs
    return
  fi
  case $words[2] in
{_cases(flags, words)}
  esac
  compadd -- ${{=given}}
  _files
}}
compdef _mlops mlops
"""


def _fish(
    verbs: Mapping[str, str], flags: Mapping[str, Sequence[str]], words: Mapping[str, Sequence[str]]
) -> str:
    lines = ["# mlops completion fish: put this file into ~/.config/fish/completions/mlops.fish"]
    lines += [
        f"complete -c mlops -n __fish_use_subcommand -f -a {verb} -d '{_quoted(text)}'"
        for verb, text in verbs.items()
    ]
    for verb in flags:
        seen = f"'__fish_seen_subcommand_from {verb}'"
        lines += [f"complete -c mlops -n {seen} -l {flag[2:]}" for flag in flags[verb]]
        lines += [f"complete -c mlops -n {seen} -f -a {word}" for word in words.get(verb, ())]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("'", "").replace(":", ",")
