#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Do all cells of the matrix have a case, and prove what they say they prove?

	check.py LAB	the folder with cases and matrix/

Prints a line for each that is not run by just one case, and for each that names
a clause of which it can show nothing, or the opposite, on one of the kernels.
"""
import fnmatch
import glob
import itertools
import os
import re
import sys

LAB = sys.argv[1]
CLAUSES, SIGNAL, OUTCOME, FIELDS = 5, 6, 8, 12
# A clause -> what a cell has to be like: the words of its name, signal, outcome.
NEEDS = {
    # only the former action sees the width
    'S1.1': lambda words, signal, outcome: (
        signal.startswith('ar:exact:') and words[3] == 'default'),
    'S4.2': lambda *cell: False,            # no cell registers a hook
    'S5.9': lambda *cell: False,            # nor opens the door
    'S6': lambda words, signal, outcome: signal != 'none',
    'S6.3': lambda words, signal, outcome: (
        signal.endswith(':30') and outcome == 'unwound'),
    'S6.1': lambda words, signal, outcome: re.search(r':(21|30)$', signal),
    'S9.1': lambda words, signal, outcome: (
        signal == 'none' and words[2] == 'copy-in' and outcome != 'good'),
}


def read(name):
    with open(os.path.join(LAB, name), encoding='utf-8') as file:
        return file.read()


def names(path, table):
    """Of the entries of a table in C."""
    found = []
    for body in re.findall(table + r'\w*\[\] = \{\n(.*?)\n\};', read(path), re.S):
        found += re.findall(r'\{\s*(?:\.name = )?"([a-z0-9-]+)"', body)
    return found


def table(name):
    return [line.split('\t') for line in read(name).splitlines()
            if line and line[0] != '#']


def expected(rows, kernel, words):
    """As parse.c finds it."""
    known = ['='] * FIELDS
    for row in rows:
        if all(any(fnmatch.fnmatchcase(word, p) for p in globs.split(','))
               for word, globs in zip([kernel, *words], row)):
            known = [old if new == '=' else new for old, new in zip(known, row)]
    return known


def not_once(cases, words):
    cell = '/'.join(words)
    having = [case[0] for case in cases if case[1] == 'matrix' and any(
        fnmatch.fnmatchcase(cell, p) for p in case[2].split())]
    if len(having) != 1:
        yield f'{cell}: {" ".join(having) or "no case"}'


def no_proof(rows, kernel, words):
    fields = expected(rows, kernel, words)
    outcome = fields[OUTCOME].partition(':')[0]
    for clause in fields[CLAUSES].split(',') if outcome != 'why-not' else []:
        if clause in NEEDS and not NEEDS[clause](words, fields[SIGNAL], outcome):
            yield (f'{kernel}: {"/".join(words)}: {clause}, with {fields[SIGNAL]}'
                   f' and {outcome}')


def main():
    sides = [
        [name for path in sorted(glob.glob(os.path.join(LAB, 'matrix/pages*.c')))
         for name in names(os.path.relpath(path, LAB), r'matrix_\w*pages')],
        names('matrix/inject.c', 'matrix_injections'),
        names('matrix/trigger.c', 'matrix_triggers'),
        names('matrix/victim.c', 'matrix_actions')]
    if not all(sides):
        sys.exit(f'check.py: the tables are not understood: {sides}')
    cases, rows = table('cases'), table('matrix/cells')
    for words in itertools.product(*sides):
        for line in not_once(cases, words):
            print(line)
        for kernel in [row[0] for row in table('kernels')]:
            for line in no_proof(rows, kernel, words):
                print(line)


main()
