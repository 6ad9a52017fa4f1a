#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The manual pages are flawless to mandoc, and every function has one."""
import argparse
import glob
import os
import re
import subprocess

import symbols
from tap import Tap


# a layout of bytes: docs/record.md
NO_FUNCTIONS = ('record.h',)


def lint(path):
    result = subprocess.run(['mandoc', '-Tlint', '-Wwarning', path],
                            text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, check=False)
    if result.returncode and not result.stdout:
        return [f'mandoc ended with status {result.returncode}']
    return result.stdout.splitlines()


def documented(path):
    """The names in the NAME section of an mdoc page."""
    with open(path, encoding='utf-8') as file:
        section = re.search(r'^\.Sh NAME\n(.*?)^\.Sh ', file.read(),
                            re.M | re.S)
    return set(re.findall(r'^\.Nm (\w+)', section.group(1), re.M)
               if section else ())


def no_section(paths):
    """What one page says is in a section of another, which has no such one."""
    text, heads = {}, {}
    for path in paths:
        with open(path, encoding='utf-8') as file:
            page = os.path.basename(path)
            text[page] = file.read()
        heads[page] = re.findall(r'^\.S[hs] (.+)$', text[page], re.M)
    named = [(page, first or second, f'{other}.{number}')
             for page in text for first, second, other, number in re.findall(
                 r'^\.(?:Sx ([^\n]+)\n(?:in|of)\n\.|Pq ([A-Z ]+) in )'
                 r'Xr (\w+) (\d)', text[page], re.M)]
    named += [(page, name, page) for page in text for name in re.findall(
        r'^\.Sx ([^\n]+?)(?: [.,;])?\n(?!in\n|of\n)', text[page], re.M)]
    if len(named) < 5:
        yield f'only {named} are named'
    for page, name, other in named:
        if name not in heads.get(other, ()):
            yield f'{page}: there is no {name} in {other}'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cc', required=True, nargs='+')
    parser.add_argument('--include', required=True)
    parser.add_argument('--man', required=True)
    args = parser.parse_args()

    tap = Tap()
    names = set()
    for path in sorted(glob.glob(os.path.join(args.man, '*.[1-9]'))):
        tap.case(f'{os.path.basename(path)} reads well', lint(path))
        if path.endswith('.3'):
            names |= documented(path)
    tap.case('sections that pages name are there',
             no_section(glob.glob(os.path.join(args.man, '*.[1-9]'))))
    for header in sorted(glob.glob(f'{args.include}/bezoar/*.h')):
        if os.path.basename(header) in NO_FUNCTIONS:
            continue
        public = symbols.functions(args.cc, header, args.include)
        tap.case(f'every function of {os.path.basename(header)} has a page',
                 [f'{name} has none' for name in sorted(public - names)]
                 if public else [f'{header} declares no function'])
    tap.end()


main()
