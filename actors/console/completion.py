"""``thresher completion``: a script by which a shell completes verbs, their flags, applications and files."""

from __future__ import annotations

import argparse

from actors.console import commandline

#: bash's own; zsh takes it, too, when it is told so.
_SCRIPT = """\
_thresher() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{verbs}" -- "$cur"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "{applications}" -- "$cur") $(compgen -f -- "$cur")) ;;
  esac
}}
complete -o filenames -F _thresher thresher"""
_SHELLS = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what can be said."""
    parser.add_argument("shell", choices=_SHELLS, metavar="|".join(_SHELLS), help="whose script")
    parser.epilog = 'In ~/.bashrc: eval "$(thresher completion bash)"'


def main(options: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    from actors.targets import applications

    cases = "\n".join(f'    {verb}) words="{" ".join(commandline.flags_of(verb))}" ;;' for verb in commandline.VERBS)
    print(_SHELLS[options.shell] + _SCRIPT.format(
        verbs=" ".join(commandline.VERBS), cases=cases, applications=" ".join(applications())))
    return 0
