# SPDX-License-Identifier: MIT
"""Where a statement was seen to hold: what docs/lab.json has of its clauses."""
import re

import clauses
import page

NOWHERE = '–'


def in_lab(root, clause, found):
    """Is it about something that the lab can show?"""
    return bool(found.get(clause.id) or clauses.lab_cases(root, clause.tests))


def holds(clause, kernel, judgements):
    """Some of it has passed there, and nothing came out in another way."""
    return ('pass' in judgements and not {'fail', 'erratum'} & set(judgements) and
            (clause.kernel == '-' or
             page.version(clause.kernel) <= page.version(page.full(kernel))))


def seen(root, results, found, mine):
    """The kernels on which all clauses that the lab can show were seen to hold;
    @found: page.proofs()."""
    shown = [c for c in mine if in_lab(root, c, found)]
    return [k for k in results.kernels if shown and
            all(holds(c, k, found.get(c.id, {}).get(k, [])) for c in shown)]


def cell(kernels):
    return ' '.join(kernels) or NOWHERE


def bad_row(line, have, kernels):
    """Is there @line, a row of a table, in a text? Its fifth cell is the kernels,
    which may be fewer than these: the lab is run more often than it is edited."""
    head = [c.strip() for c in line.strip('|').split('|')]
    for row in have.splitlines():
        cells = [c.strip() for c in row.strip('|').split('|')]
        if len(cells) != len(head) or cells[0] != head[0]:
            continue
        if cells[:4] + cells[5:] != head[:4] + head[5:]:
            continue
        more = set(re.findall(r'[^\s–]+', cells[4])) - set(kernels)
        return (f'{head[0]}: docs/lab.json does not say that it was seen on ' +
                ' '.join(sorted(more))) if more else None
    return f'this line is not there:\n{line}'
