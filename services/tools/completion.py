"""`completion bash|zsh|fish`: a script for the shell, made of the same parser as the help."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from services.tools import exits
from services.tools.output import Output
from services.tools.parsing import PROGRAM, arguments_of, commands_of

HELP = "a completion script for a shell"

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `completion`."""
    parser.add_argument("shell", choices=SHELLS, help="which shell it is for")


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the script."""
    from services.tools.cli import make_parser

    script = {"bash": bash, "zsh": zsh, "fish": fish}[args.shell](make_parser())
    out.text("script", script, shell=args.shell)
    return exits.OK


@dataclass
class Word:
    """One word of the command line. `takes`: "" nothing, "file", "folder" or "value" after it, which is one
    of `choices` where there are any."""

    text: str
    help: str
    takes: str = ""
    choices: tuple[str, ...] = ()


@dataclass
class Level:
    """What may follow `path`, such as () or ("quarantine",). `files`: arguments of it are files."""

    path: tuple[str, ...]
    commands: list[Word]
    flags: list[Word]
    choices: list[str]
    files: bool


def levels(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Level]:
    """The command line, level by level, the whole first."""
    level = Level(path, [], [], [], False)
    below = commands_of(parser)
    level.commands = [Word(one.name, one.help) for one in below]
    for action in arguments_of(parser):
        if action.option_strings:
            level.flags += [
                Word(s, action.help or "", _takes(action), tuple(map(str, action.choices or ())))
                for s in action.option_strings
            ]
        elif action.choices:
            level.choices = [str(choice) for choice in action.choices]
        else:
            level.files = level.files or action.dest in ("file", "folder")
    yield level
    for one in below:
        yield from levels(one.parser, (*path, one.name))


def _takes(action: argparse.Action) -> str:
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if action.metavar == "FILE" or action.dest in ("file", "auth_file", "tls_cert", "tls_key"):
        return "file"
    return "folder" if action.dest == "dir" else "value"


def bash(parser: argparse.ArgumentParser) -> str:
    """For bash 4 and newer: one function, with three tables by level."""
    lines = [f"# bash completion of {PROGRAM}: source <({PROGRAM} completion bash)", f"_{PROGRAM}() {{"]
    lines += ["    local word path='' cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"]
    lines += ["    local -A next flags plain files takes among"]
    for level in levels(parser):
        key = " ".join(level.path)
        lines += [
            f"    next[x{key}]='{' '.join(word.text for word in level.commands)}'",
            f"    flags[x{key}]='{' '.join(word.text for word in level.flags)}'",
            f"    plain[x{key}]='{' '.join(level.choices)}'",
            f"    files[x{key}]='{'yes' if level.files else ''}'",
        ]
        for word in level.flags:
            if word.takes:
                lines.append(f"    takes[x{key} {word.text}]='{word.takes}'")
            if word.choices:
                lines.append(f"    among[x{key} {word.text}]='{' '.join(word.choices)}'")
    lines += [
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        case " ${next[x$path]} " in *" $word "*) path="${path:+$path }$word" ;; esac',
        "    done",
        "    case ${takes[x$path $before]} in",
        '    file) COMPREPLY=($(compgen -f -- "$cur")); return ;;',
        '    folder) COMPREPLY=($(compgen -d -- "$cur")); return ;;',
        '    value) COMPREPLY=($(compgen -W "${among[x$path $before]}" -- "$cur")); return ;;',
        "    esac",
        "    case $cur in",
        '    -*) COMPREPLY=($(compgen -W "${flags[x$path]}" -- "$cur")) ;;',
        '    *) COMPREPLY=($(compgen -W "${next[x$path]} ${plain[x$path]}" -- "$cur"))',
        '       [ -z "${files[x$path]}" ] || COMPREPLY+=($(compgen -f -- "$cur")) ;;',
        "    esac",
        "}",
        f"complete -o filenames -F _{PROGRAM} {PROGRAM}",
    ]
    return "\n".join(lines)


def zsh(parser: argparse.ArgumentParser) -> str:
    """For zsh: bash's function through bashcompinit, which every zsh has."""
    head = [
        f"#compdef {PROGRAM}",
        f"# zsh completion of {PROGRAM}: source <({PROGRAM} completion zsh)",
        "autoload -Uz compinit bashcompinit",
        "(( $+functions[compdef] )) || compinit",
        "bashcompinit",
    ]
    return "\n".join([*head, bash(parser)])


def fish(parser: argparse.ArgumentParser) -> str:
    """For fish, with the help texts."""
    lines = [
        f"# fish completion of {PROGRAM}: {PROGRAM} completion fish | source",
        f"complete -c {PROGRAM} -f",
    ]
    for level in levels(parser):
        when = _fish_condition(level)
        for word in level.commands:
            lines.append(f"complete -c {PROGRAM} -n '{when}' -a {word.text} -d {_quoted(word.help)}")
        for choice in level.choices:
            lines.append(f"complete -c {PROGRAM} -n '{when}' -a {choice}")
        for word in level.flags:
            kind = "-l" if word.text.startswith("--") else "-s"
            takes = {
                "": "",
                "file": " -r -F",
                "folder": " -x -a '(__fish_complete_directories)'",
                "value": f" -x -a {_quoted(' '.join(word.choices))}" if word.choices else " -x",
            }
            lines.append(
                f"complete -c {PROGRAM} -n '{when}' {kind} {word.text.lstrip('-')}{takes[word.takes]} "
                f"-d {_quoted(word.help)}"
            )
        if level.files:
            lines.append(f"complete -c {PROGRAM} -n '{when}' -F")
    return "\n".join(lines)


def _fish_condition(level: Level) -> str:
    seen = [f"__fish_seen_subcommand_from {name}" for name in level.path]
    if level.commands:
        names = " ".join(word.text for word in level.commands)
        seen.append(f"not __fish_seen_subcommand_from {names}")
    return "; and ".join(seen) or "true"


def _quoted(text: str) -> str:
    first = text.replace("%%", "%").split(". ")[0]
    return "'" + first.replace("\\", "\\\\").replace("'", "\\'") + "'"
