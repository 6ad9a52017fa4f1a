#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Which cells of the matrix do not have just one case.

	check.py LAB	the folder with cases and matrix/

Prints a line for each that has another number.
"""
import fnmatch
import glob
import itertools
import os
import re
import sys

LAB = sys.argv[1]


def read(name):
    with open(os.path.join(LAB, name), encoding='utf-8') as file:
        return file.read()


def names(path, table):
    """Of the entries of a table in C."""
    found = []
    for body in re.findall(table + r'\w*\[\] = \{\n(.*?)\n\};', read(path), re.S):
        found += re.findall(r'\{\s*(?:\.name = )?"([a-z0-9-]+)"', body)
    return found


def main():
    sides = [
        [name for path in sorted(glob.glob(os.path.join(LAB, 'matrix/pages*.c')))
         for name in names(os.path.relpath(path, LAB), r'matrix_\w*pages')],
        names('matrix/inject.c', 'matrix_injections'),
        names('matrix/trigger.c', 'matrix_triggers'),
        names('matrix/victim.c', 'matrix_actions')]
    if not all(sides):
        sys.exit(f'check.py: the tables are not understood: {sides}')
    cases = [line.split('\t')[:3] for line in read('cases').splitlines()
             if line and line[0] != '#']
    for words in itertools.product(*sides):
        cell = '/'.join(words)
        having = [name for name, program, patterns in cases
                  if program == 'matrix' and
                  any(fnmatch.fnmatchcase(cell, p) for p in patterns.split())]
        if len(having) != 1:
            print(f'{cell}: {" ".join(having) or "no case"}')


main()
