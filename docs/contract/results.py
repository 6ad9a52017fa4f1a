# SPDX-License-Identifier: MIT
"""docs/lab.json: the results of the lab, as small as they can be kept.

    {"kernels": {SERIES: {"release": ..., "accel": [...], "date": ...}},
     "cases": {CASE: {POINT: RESULT}},
     "cells": {CASE: {"PAGE/INJECTION/TRIGGER/ACTION": RESULT}}}

RESULT is {SERIES: WHAT}; what is the same on all kernels of the file is WHAT by
itself. WHAT is "pass", or [result, reason, got]. The date is that of the oldest
result of a kernel; accel is what its machines ran on, "tcg" or "kvm", and "?" if
that was not noted.
"""
import json
import os

import clauses

NAME = 'docs/lab.json'
CELL = ('page', 'injection', 'trigger', 'action')
# Results that nobody wants of a machine that is thrown away.
MOST = 400 << 10


def read(path):
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def load(root):
    path = os.path.join(root, NAME)
    known = read(path) if os.path.exists(path) else {}
    return Results(known)


def what(row):
    if row['result'] == 'pass':
        return 'pass'
    return [row['result'], row['reason'] or '', row['got'] or '']


class Results:
    def __init__(self, known):
        self.kernels = known.get('kernels', {})
        self.tables = {name: self.spread(known.get(name, {}))
                       for name in ('cases', 'cells')}

    def spread(self, table):
        """With each kernel's own result."""
        return {case: {point: said if isinstance(said, dict) else
                       {k: said for k in self.kernels}
                       for point, said in points.items()}
                for case, points in table.items()}

    def folded(self, table):
        def one(said):
            first = next(iter(said.values()))
            same = len(said) == len(self.kernels) and all(
                w == first for w in said.values())
            return first if same else said
        return {case: {point: one(said) for point, said in points.items()}
                for case, points in table.items()}

    def drop(self, kernel, cases=None):
        """The results of a kernel; of some cases only, if they are named."""
        for table in self.tables.values():
            for case, points in table.items():
                if cases is None or case in cases:
                    for said in points.values():
                        said.pop(kernel, None)

    def has(self, kernel):
        return {case for table in self.tables.values()
                for case, points in table.items()
                if any(kernel in said for said in points.values())}

    def update(self, rows, day):
        seen = {}
        for row in rows:
            if row['case'] and row['release']:
                seen.setdefault(row['kernel'], {})[row['case']] = (
                    row['release'], row.get('accel') or '?')
        for kernel, cases in seen.items():
            release, accel = next(iter(cases.values()))
            old = self.kernels.get(kernel, {})
            other = old.get('release') != release
            self.drop(kernel, None if other else cases)
            kept = self.has(kernel)
            self.kernels[kernel] = {
                'release': release,
                'accel': sorted({accel, *(old.get('accel', '?') if kept else ())}),
                'date': min(day, old['date']) if kept else day}
        for row in rows:
            if row['case'] and row['release']:
                self.enter(row)
        for table in self.tables.values():
            for case, points in list(table.items()):
                table[case] = {p: s for p, s in points.items() if s}

    def enter(self, row):
        if row['page']:
            name, key = 'cells', '/'.join(row[f] or '-' for f in CELL)
        else:
            name, key = 'cases', row['point'] or 'all of it'
        points = self.tables[name].setdefault(row['case'], {})
        points.setdefault(key, {})[row['kernel']] = what(row)

    def forget(self, root):
        """Kernels and cases that are gone, and a place for those that are new,
        both in the order of the lab."""
        series, cases = clauses.kernels(root), clauses.cases(root)
        for kernel in set(self.kernels) - set(series):
            self.drop(kernel)
        self.kernels = {k: self.kernels[k] for k in series if k in self.kernels}
        for name, table in self.tables.items():
            self.tables[name] = {
                case: {p: {k: said[k] for k in series if k in said}
                       for p, said in table.get(case, {}).items() if said}
                for case in cases if name == 'cases' or case in table}

    def save(self, root):
        with open(os.path.join(root, NAME), 'w', encoding='utf-8') as file:
            file.write(self.text())

    def text(self):
        """A line for each point."""
        def line(value):
            return json.dumps(value, ensure_ascii=False)

        parts = [' "kernels": ' + line(self.kernels)]
        for name, table in self.tables.items():
            cases = [f'  {line(case)}: {{' + ','.join(
                f'\n   {line(p)}: {line(s)}' for p, s in points.items()) + '}'
                     for case, points in self.folded(table).items()]
            parts.append(f' "{name}": {{\n' + ',\n'.join(cases) + '}')
        return '{\n' + ',\n'.join(parts) + '\n}\n'
