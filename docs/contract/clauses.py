# SPDX-License-Identifier: MIT
"""contract/clauses and the lab's lists, as check-clauses and make-contract read
them."""
import os
import re


class Clause:
    def __init__(self, line):
        (self.id, self.text, self.kernel, test, self.proof,
         self.section) = line.split('\t')
        self.tests = [] if test == '-' else test.split('; ')
        self.statement = self.id.split('.')[0]
        self.is_clause = '.' in self.id


def rows(root, name):
    """The lines of a table, without comments."""
    path = os.path.join(root, name)
    with open(path, encoding='utf-8') as file:
        return [l for l in file.read().splitlines() if l and l[0] != '#']


def clauses(root):
    return [Clause(l) for l in rows(root, 'contract/clauses') if l[0] != '@']


def runs(root):
    """The lines of contract/clauses that say where it was run."""
    return [l[1:].split('\t') for l in rows(root, 'contract/clauses')
            if l[0] == '@']


def kernels(root):
    """The series of the lab."""
    return [l.split('\t')[0] for l in rows(root, 'lab/kernels')]


def cases(root):
    """The cases of the lab: name -> program."""
    return dict(l.split('\t')[:2] for l in rows(root, 'lab/cases'))


def program(test):
    """What the build calls the program of a test, FILE or FILE:CASE. One that has
    a folder of the lab to itself is called as that is."""
    path = test.partition(':')[0]
    folder, name = os.path.split(re.sub(r'\.c$', '', path))
    if folder.startswith('lab/'):
        return os.path.basename(folder)
    folder = os.path.basename(folder).replace('hunt', 'live')
    return name if folder == 'lab' else f'{folder}_{name}'


def lab_cases(root, tests):
    """Which cases of the lab run these tests, in the order of lab/cases."""
    programs = {program(t) for t in tests
                if t.startswith('lab/') or t.partition(':')[0].endswith('.c')}
    return [name for name, binary in cases(root).items() if binary in programs]
