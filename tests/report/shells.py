#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The completions of bezoar and bezoard, typed into each shell; and that they have
every subcommand and option that the programs have.

    shells.py BEZOAR BEZOARD FOLDER ROOT
"""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BEZOAR, BEZOARD, FOLDER, ROOT = (os.path.abspath(w) for w in sys.argv[1:])
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position

SECONDS = 20 * int(os.environ.get('TAP_PATIENCE', '1'))
READY = b'READY> '

# What is typed, then Tab: what the line is then. '=' is bash's blank where zsh has =.
TYPED = (
    ('bezoar exp', 'bezoar explain '),
    ('bezoar rep', 'bezoar report '),
    ('bezoar log --si', 'bezoar log --since='),
    ('bezoar log --ap', 'bezoar log --apart '),
    ('bezoar log gol', 'bezoar log golden.rec '),
    ('bezoar log --json gol', 'bezoar log --json golden.rec '),
    ('bezoar log --outcome SOURCE_DIG', 'bezoar log --outcome SOURCE_DIGEST '),
    # C8 is a cause, and no outcome begins so
    ('bezoar log --cause C8', 'bezoar log --cause C8 '),
    ('bezoar log --outcome C8', 'bezoar log --outcome C8'),
    ('bezoar explain O13', 'bezoar explain O13'),
    ('bezoar explain O67', 'bezoar explain O67 '),
    ('bezoar explain UNREAD', 'bezoar explain UNREADABLE '),
    ('bezoar explain R1 gol', 'bezoar explain R1 golden.rec '),
    ('bezoar report --store gol', 'bezoar report --store golden.rec '),
    ('bezoar report -o gol', 'bezoar report -o golden.rec '),
    ('bezoar check --str', 'bezoar check --strict '),
    # a letter has an argument with one command, and none with another
    ('bezoar log -n gol', 'bezoar log -n golden.rec '),
    ('bezoar check -r --str', 'bezoar check -r --strict '),
    ('bezoar log -R gol', 'bezoar log -R gol'),
    ('bezoar run -n gol', 'bezoar run -n gol'),
    # of log alone
    ('bezoar check --apa', 'bezoar check --apa'),
    ('bezoar run --live', 'bezoar run --live-on '),
    ('bezoar run --record gol', 'bezoar run --record golden.rec '),
    ('bezoar clear --che', 'bezoar clear --check '),
    ('bezoar unit --with', 'bezoar unit --within='),
    ('bezoard --sto', 'bezoard --store='),
    ('bezoard --store gol', 'bezoard --store golden.rec '),
    # a folder, and the file of that beginning is none
    ('bezoard --files g', 'bezoard --files gifts/'),
)

BASH = '''
PS1='READY> '
set +o history
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
bind -x '"\\C-]": printf %s "$READLINE_LINE" >seen.new; mv seen.new seen'
source "$COMPLETIONS/bezoar.bash"
source "$COMPLETIONS/bezoard.bash"
'''
ZSH = '''
PROMPT='READY> '
unset zle_bracketed_paste
fpath=("$COMPLETIONS" $fpath)
autoload -Uz compinit
compinit -u -D
seen() { print -rn -- "$BUFFER" >seen.new; mv seen.new seen }
zle -N seen
bindkey '^I' complete-word
bindkey '^]' seen
setopt no_list_beep no_beep
'''


class Shell:
    """One that runs on a terminal, in a folder of its own."""

    def __init__(self, words, folder, env):
        self.folder = folder
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.execvpe(words[0], words, env)
        self.out = b''
        self.wait(lambda: READY in self.out)

    def wait(self, condition):
        """Read what it prints, lest it waits for us, until that holds."""
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(self.out[-300:])
            if select.select([self.fd], [], [], 0.01)[0]:
                self.out += os.read(self.fd, 65536)

    def complete(self, typed):
        seen = os.path.join(self.folder, 'seen')
        # kill what stands in the line, both ways
        os.write(self.fd, b'\x05\x15' + typed.encode() + b'\t\x1d')
        self.wait(lambda: os.path.exists(seen))
        with open(seen, encoding='utf-8') as file:
            line = file.read()
        os.unlink(seen)
        return line

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def environment(folder):
    """The programs by their names, a file and a folder that begin alike."""
    bin_ = os.path.join(folder, 'bin')
    os.mkdir(bin_)
    os.symlink(BEZOAR, os.path.join(bin_, 'bezoar'))
    os.symlink(BEZOARD, os.path.join(bin_, 'bezoard'))
    work = os.path.join(folder, 'work')
    os.makedirs(os.path.join(work, 'gifts'))
    with open(os.path.join(work, 'golden.rec'), 'wb'):
        pass
    return work, dict(os.environ, PATH=f'{bin_}:{os.environ["PATH"]}',
                      COMPLETIONS=FOLDER, HOME=folder, ZDOTDIR=folder,
                      XDG_CONFIG_HOME=folder, TERM='xterm', LC_ALL='C')


def typed_into(words, rc, setup, equals):
    with tempfile.TemporaryDirectory() as folder:
        work, env = environment(folder)
        with open(os.path.join(folder, rc), 'w', encoding='utf-8') as file:
            file.write(setup)
        shell = Shell([w.replace('RC', os.path.join(folder, rc))
                       for w in words], work, env)
        try:
            for typed, want in TYPED:
                want = re.sub('=$', equals, want)
                got = shell.complete(typed)
                if got != want:
                    yield f'"{typed}" has become "{got}", not "{want}"'
        except TimeoutError as e:
            yield f'it did not answer: {e}'
        finally:
            shell.end()


def bash():
    return typed_into(['bash', '--noprofile', '--rcfile', 'RC', '-i'], 'rc',
                      BASH, ' ')


def zsh():
    return typed_into(['zsh', '-d', '-i'], '.zshrc', ZSH, '=')


def fish_says(line, env, work):
    r = subprocess.run(
        ['fish', '--no-config', '-c',
         'source $COMPLETIONS/bezoar.fish; source $COMPLETIONS/bezoard.fish; '
         'complete -C $argv[1]', line], env=env, cwd=work, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return [l.split('\t')[0] for l in r.stdout.splitlines()], r.stderr


def fish():
    """It is asked what there is to choose from."""
    with tempfile.TemporaryDirectory() as folder:
        work, env = environment(folder)
        for typed, want in TYPED:
            begin = typed.split()[-1]
            words, said = fish_says(typed, env, work)
            # it also offers what has the letters somewhere inside
            words = [w for w in words if w.startswith(begin)]
            whole = want.rstrip('= ').split()[-1]
            if said:
                yield f'{typed}: {said}'
            if want != typed and words != [whole]:
                yield f'"{typed}" has become {words}, not {whole}'
            if want == typed and len(words) == 1 and words != [begin]:
                yield f'"{typed}" has become {words}'


# ------------------------------------------------------------- all there is

def helped(*words):
    r = subprocess.run([*words, '--help'], check=True, text=True,
                       stdout=subprocess.PIPE, env=dict(os.environ, LC_ALL='C'))
    return r.stdout


def options(text):
    """{group: options}; before the first heading it is ''."""
    groups, group = {}, ''
    for line in text.splitlines():
        head = re.match(r' (Of \w+):$', line)
        if head:
            group = head.group(1)
        option = re.match(r'  (?:-.,|   ) (--[a-z-]+)', line)
        own = option and option.group(1) in ('--help', '--usage', '--version')
        if option:
            groups.setdefault('own' if own else group,
                              set()).add(option.group(1))
    return groups


def wanted():
    """{subcommand: options}, as the programs say; '' is bezoard."""
    text = helped(BEZOAR)
    groups = options(text)
    commands = re.findall(r'^(?:Usage:|  or: ) +\S+ (?:\[OPTION...\] )?(\w+)',
                          text, re.M)
    want = {c: {'--json'} if c == 'explain' else set() for c in commands}
    for c in commands:
        if f'Of {c}' in groups:
            want[c] = groups[f'Of {c}'] | {'--json'}
        elif c != 'explain':
            want[c] = options(helped(BEZOAR, c)).get('', set())
    want['log'] |= groups['']
    return want, options(helped(BEZOARD))['']


def in_bash(words, env):
    r = subprocess.run(
        ['bash', '--norc', '-c', 'source "$COMPLETIONS/$1.bash"; '
         'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_$1" 2>/dev/null; '
         'printf "%s\\n" "${COMPREPLY[@]}"', 'bash', *words], env=env,
        check=True, text=True, stdout=subprocess.PIPE)
    return set(r.stdout.split())


def whole():
    """Nothing is missing, and nothing is there that a program has not."""
    want, daemon = wanted()
    common = {'--help', '--usage', '--version'}
    if not {'log', 'explain', 'report', 'check'} <= set(want):
        yield f'subcommands: {set(want)}'
    with tempfile.TemporaryDirectory() as folder:
        work, env = environment(folder)
        lists = [('bash', lambda *w: in_bash(w, env))]
        if shutil.which('fish'):
            lists.append(('fish', lambda *w: set(
                fish_says(' '.join(w), env, work)[0])))
        for name, ask in lists:
            got = {w for w in ask('bezoar', '') if not w.startswith('-')}
            if got != set(want):
                yield f'{name}: subcommands {got ^ set(want)}'
            for command, opts in want.items():
                got = {w for w in ask('bezoar', command, '--')
                       if w.startswith('--')} - common
                if {g.rstrip('=') for g in got} != opts:
                    yield f'{name}: {command}: {got ^ opts}'
            got = {w for w in ask('bezoard', '--') if w.startswith('--')} - common
            if {g.rstrip('=') for g in got} != daemon:
                yield f'{name}: bezoard: {got ^ daemon}'
    yield from whole_zsh(want, daemon, common)


def whole_zsh(want, daemon, common):
    """Its lists are read."""
    with open(os.path.join(FOLDER, '_bezoar'), encoding='utf-8') as file:
        text = file.read()
    commands = set(re.findall(r"'(\w+):", text.partition('commands=(')[2]
                              .partition(')')[0]))
    if commands != set(want):
        yield f'zsh: subcommands {commands ^ set(want)}'
    for command, opts in want.items():
        block = re.search(rf'^\t{command}\)\n(.*?);;', text, re.M | re.S)
        got = set(re.findall(r'--[a-z-]*[a-z]', block.group(1) if block else ''))
        if got != opts:
            yield f'zsh: {command}: {got ^ opts}'
    with open(os.path.join(FOLDER, '_bezoard'), encoding='utf-8') as file:
        got = set(re.findall(r'--[a-z-]*[a-z]', file.read())) - common
    if got != daemon:
        yield f'zsh: bezoard: {got ^ daemon}'


def main():
    tap = Tap()
    tap.case('every subcommand and option', list(whole()))
    for shell in (bash, zsh, fish):
        if shutil.which(shell.__name__):
            tap.case(shell.__name__, list(shell()))
        else:
            tap.skip(shell.__name__, f'{shell.__name__} is not installed')
    tap.end()


main()
