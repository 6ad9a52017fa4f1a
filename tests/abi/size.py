#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""No source file is over 600 lines, no manual over 800, and each says what licence it is under."""
import os
import re
import sys

from tap import Tap

LIMIT = 600
# mdoc has a line for each name that is set in another type
OF_MANUAL = 800
SUFFIXES = ('.c', '.h', '.cc', '.S', '.py', '.sh', '.pml', '.map', '.ini',
            '.in', '.txt', '.build')
MANUAL = re.compile(r'\.[1-9]$')
SPDX = 'SPDX-License-Identifier: MIT'


def is_build(path):
    """A build folder, of whatever name, is no part of the sources."""
    return (os.path.exists(os.path.join(path, 'meson-private')) or
            os.path.exists(os.path.join(path, 'build.ninja')))


def sources(root):
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith('.git') and
                      f not in ('__pycache__', 'build-ci') and
                      not is_build(os.path.join(folder, f))]
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            with open(path, 'rb') as file:
                script = file.read(2) == b'#!'
            if (script or name == 'Makefile' or name.endswith(SUFFIXES) or
                    MANUAL.search(name)):
                yield path


def main():
    root = sys.argv[1]
    too_long = []
    unmarked = []
    for path in sorted(sources(root)):
        with open(path, encoding='utf-8', errors='replace') as file:
            lines = file.readlines()
        name = os.path.relpath(path, root)
        if len(lines) > (OF_MANUAL if MANUAL.search(name) else LIMIT):
            too_long.append(f'{name} has {len(lines)} lines')
        if not any(SPDX in line for line in lines[:3]):
            unmarked.append(f'{name} has no line "{SPDX}" at its top')
    tap = Tap()
    tap.case(f'no source file is over {LIMIT} lines, no manual over {OF_MANUAL}', too_long)
    tap.case('every source file has its SPDX line', unmarked)
    tap.end()


main()
