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
    for header in sorted(glob.glob(f'{args.include}/bezoar/*.h')):
        if os.path.basename(header) in NO_FUNCTIONS:
            continue
        public = symbols.functions(args.cc, header, args.include)
        tap.case(f'every function of {os.path.basename(header)} has a page',
                 [f'{name} has none' for name in sorted(public - names)]
                 if public else [f'{header} declares no function'])
    tap.end()


main()
