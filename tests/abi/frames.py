#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""No function of the handler has a stack frame over 512 bytes.

The handler runs on alternate stacks that programs sized themselves. Each of
its files is compiled once more, as the build compiles it, for the compiler's
own account of the frames.
"""
import json
import os
import shlex
import subprocess
import sys
import tempfile

from tap import Tap

LIMIT = 512
# Options of the build that name files it would write.
OUTPUTS = {'-o': 1, '-MF': 1, '-MQ': 1, '-MT': 1, '-MD': 0, '-MMD': 0}


def without_outputs(command):
    kept = []
    words = iter(command)
    for word in words:
        if word in OUTPUTS:
            for _ in range(OUTPUTS[word]):
                next(words)
        else:
            kept.append(word)
    return kept


def account(command):
    """Options that make @command's compiler write its account."""
    machine = subprocess.run([command[0], '-dumpmachine'], check=True,
                             text=True, stdout=subprocess.PIPE).stdout
    # What lies in the red zone below the stack pointer is used and not counted.
    return ['-fstack-usage'] + (['-mno-red-zone'] if 'x86_64' in machine
                                else [])


def frames(entry, folder):
    """[(function, bytes, kind)] of one file."""
    out = os.path.join(folder, 'frame.o')
    command = without_outputs(shlex.split(entry['command']))
    subprocess.run(command + account(command) + ['-o', out], check=True,
                   cwd=entry['directory'])
    with open(os.path.join(folder, 'frame.su'), encoding='utf-8') as file:
        for line in file:
            where, size, kind = line.rstrip('\n').split('\t')
            yield where.rsplit(':', 1)[1], int(size), kind


def main():
    build, src = sys.argv[1:3]
    src = os.path.realpath(src)
    with open(os.path.join(build, 'compile_commands.json'),
              encoding='utf-8') as file:
        entries = json.load(file)
    tap = Tap()
    done = set()
    with tempfile.TemporaryDirectory() as folder:
        for entry in entries:
            path = os.path.realpath(os.path.join(entry['directory'],
                                                 entry['file']))
            name = os.path.relpath(path, src)
            if (not path.endswith('_sig.c') or name.startswith('..') or
                    name.startswith('inject/') or name in done):
                continue
            done.add(name)
            found = list(frames(entry, folder))
            findings = [f'{function}: {size} bytes, {LIMIT} allowed'
                        for function, size, _ in found if size > LIMIT]
            findings += [f'{function}: its frame has no fixed size'
                         for function, _, kind in found
                         if kind not in ('static', 'dynamic,bounded')]
            most = max((size for _, size, _ in found), default=0)
            tap.case(f'src/{name}: largest frame {most}', findings)
    tap.end()


main()
