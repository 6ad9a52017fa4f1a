# SPDX-License-Identifier: MIT
"""Is what docs/make-contract makes up to date, and docs/upstream with it?"""
import glob
import os
import re

import clauses
import page as pages
import results as stored
from tap import Tap


def read(root, name):
    with open(os.path.join(root, name), encoding='utf-8') as file:
        return file.read()


def stale_cases(root, results):
    """Each case has a place, if only an empty one: "not run yet" is said."""
    have, want = list(results.tables['cases']), list(clauses.cases(root))
    again = 'run docs/make-contract, best with --update'
    for name in want:
        if name not in have:
            yield f'{name} is in lab/cases, and not in docs/lab.json: {again}'
    for name in have:
        if name not in want:
            yield f'{name} is in docs/lab.json, and not in lab/cases: {again}'
    for kernel in set(results.kernels) - set(clauses.kernels(root)):
        yield f'{kernel} is in docs/lab.json, and not in lab/kernels: {again}'


def no_points(root, results):
    """What a clause names is a point of the case, once that was run."""
    for c in clauses.clauses(root):
        for test in c.tests:
            path = test.partition(':')[0]
            ran = [name for name, point, _ in pages.points_of(root, results, path)
                   if point != 'all of it']
            if ran and not list(pages.points_of(root, results, test)):
                yield f'{c.id}: {test}: {ran[0]} has no such point'


def stale_cells(root, results):
    """A cell is of words that lab/matrix knows, and each word has cells."""
    cells = [c for t in results.tables['cells'].values() for c in t]
    source = ''.join(read(root, os.path.relpath(path, root)) for path in
                     glob.glob(os.path.join(root, 'lab/matrix/*.c')))
    words = set(re.findall(r'"([a-z0-9-]+)"', source))
    for cell in cells:
        for word in set(cell.split('/')) - words - {'-'}:
            yield f'{cell} is in docs/lab.json: lab/matrix has no {word}'
    seen = {word for cell in cells for word in cell.split('/')}
    for fields in pages.cell_rows(root) if cells else []:
        for word in ','.join(fields[1:5]).split(','):
            if re.fullmatch('[a-z0-9-]+', word) and word not in seen | {'='}:
                yield (f'lab/matrix/cells names {word}, and docs/lab.json has no'
                       ' such cell')


def stale_text(root, results, page):
    text = read(root, stored.NAME)
    if len(text.encode()) > stored.MOST:
        yield f'{stored.NAME} is too large: {len(text)} bytes'
    if text != results.text():
        yield f'{stored.NAME} is not as docs/make-contract writes it'
    have, want = read(root, page), pages.page(root, results)
    for number, (a, b) in enumerate(zip(have.splitlines() + [''],
                                        want.splitlines() + ['']), 1):
        if a != b:
            yield f'{page}:{number}: has\n{a}\nshould have\n{b}'
            return
    if have != want:
        yield f'{page} ends too early or too late'


def plain(text):
    """Which frame it was is another each time."""
    return re.sub(r'0x[0-9a-f]+', '0x', text)


def bad_reports(root, results):
    folder = os.path.join(root, 'docs/upstream')
    cases, index = clauses.cases(root), read(root, 'docs/upstream/README.md')
    for path in sorted(glob.glob(os.path.join(folder, '*.c'))):
        name = os.path.basename(path)[:-2]
        lines = read(root, f'docs/upstream/{name}.c').count('\n')
        if lines > 120:
            yield f'{name}.c has {lines} lines'
        if f'upstream_{name}' not in cases.values():
            yield f'{name}.c is no case of the lab'
        if not os.path.exists(os.path.join(folder, f'{name}.md')):
            yield f'{name}.c has no report'
            continue
        if f'[`{name}`]({name}.md)' not in index:
            yield f'README.md does not name {name}.md'
        yield from bad_report(root, results, name, index)


def bad_report(root, results, name, index):
    """What the lab got stands in it, for the kernels that the index says."""
    report = read(root, f'docs/upstream/{name}.md')
    points = results.tables['cases'].get(f'upstream_{name}', {})
    heads, row = ([c.strip() for c in line.strip('|').split('|')] for line in
                  index.splitlines() if line.startswith('| report') or
                  f'[`{name}`]' in line)
    for kernel, about in results.kernels.items():
        said = [(point, said[kernel]) for point, said in points.items()
                if kernel in said]
        if not said:
            continue
        broken = [(p, s) for p, s in said if s != 'pass']
        told = dict(zip(heads, row)).get(about['release'])
        if told != ('breaks' if broken else 'keeps'):
            yield (f'README.md says that {about["release"]} {told} {name}, the'
                   f' lab that {len(broken)} points are broken')
        for point, (_, _, got) in broken:
            want = f'    # {got}\n    not ok'
            if got and plain(want) not in plain(report):
                yield f'{name}.md has not what {about["release"]} said:\n{want}'
            if point not in report:
                yield f'{name}.md does not name "{point}"'


def check(root, page):
    results = stored.load(root)
    tap = Tap()
    tap.case('docs/lab.json is about the cases that there are',
             stale_cases(root, results))
    tap.case('docs/lab.json has what the clauses name',
             no_points(root, results))
    tap.case('docs/lab.json is about the cells that there are',
             stale_cells(root, results))
    tap.case('docs/lab.json and kernel-contract.md are as they are made',
             stale_text(root, results, page))
    tap.case('what docs/upstream says is what the lab got',
             bad_reports(root, results))
    tap.end()
