# SPDX-License-Identifier: MIT
"""docs/kernel-contract.md from docs/lab.json, contract/clauses, lab/matrix/cells
and notes.md beside this, which is written by hand."""
import collections
import fnmatch
import os

import clauses

NOTES = 'docs/contract/notes.md'
ERRATUM = 'erratum: '
WAYS = ('userfaultfd', 'mremap', 'as nobody')
INJECTIONS = ('madv', 'foreign', 'mce')

HEAD = '''<!-- SPDX-License-Identifier: MIT -->
<!-- Made by docs/make-contract of docs/lab.json and docs/contract/notes.md: do not edit. -->
# What each kernel keeps of the contract

The clauses are those of [`contract/clauses`](../contract/clauses), the cases those of [`lab/cases`](../lab/cases). What is here was found on these
kernels of Debian, with real poison, in machines of QEMU's, whose memory cells stay good; the first table says what they ran on. Where anything else says
otherwise, this is right.
'''
LEGEND = '''
A number is how many of the lab's results prove the clause there: `12` have passed, `10/12` have, and the others are skipped with a reason that is further
down. *does something else*: what the clause says does not hold on that kernel, as `lab/errata` knows. **BROKEN**: it should hold, and does not. `–`: none
was run, `since 6.1`: it is promised from there on. *Forged*: the test sends itself the signal, as no machine here raises it; the kernel has no part in that.
'''
ACCELS = {'tcg': 'software emulation', 'kvm': 'KVM', '?': 'not noted'}


def version(text):
    return [int(n) for n in text.split('.')]


def points_of(root, results, test):
    """What the lab has of a test, FILE or FILE:CASE: each with its results. A case
    is called just that, or has variants, with a colon before their names, or the
    ways to replace behind a comma; behind any other comma it is another case."""
    path, _, case = test.partition(':')
    if not path.endswith('.c'):
        return
    for name in clauses.lab_cases(root, [path]):
        for point, said in results.tables['cases'].get(name, {}).items():
            if (not case or point == case or point.startswith(case + ': ') or
                    point in [f'{case}, {way}' for way in WAYS]):
                yield name, point, said


def judged(said):
    """pass, fail, erratum or skip."""
    if said == 'pass':
        return 'pass'
    return ('erratum' if said[1].startswith(ERRATUM) else
            'fail' if said[0] == 'fail' else 'skip')


def cell_rows(root):
    path = os.path.join(root, 'lab/matrix/cells')
    if not os.path.exists(path):
        return []
    return [line.split('\t') for line in clauses.rows(root, 'lab/matrix/cells')]


def cell_field(rows, kernel, cell, number):
    """A later row overrules an earlier one in what is not "="."""
    found = '='
    for fields in rows:
        patterns = zip([kernel, *cell.split('/')], fields)
        if all(any(fnmatch.fnmatchcase(word, p) for p in pattern.split(','))
               for word, pattern in patterns) and fields[number] != '=':
            found = fields[number]
    return found


def cell_clauses(rows, kernel, cell):
    found = cell_field(rows, kernel, cell, 5)
    return [] if found == '=' else found.split(',')


def proofs(root, results):
    """clause -> kernel -> what each of its results is."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for c in clauses.clauses(root):
        seen = set()
        for test in c.tests:
            for name, point, said in points_of(root, results, test):
                if (name, point) not in seen:
                    seen.add((name, point))
                    for kernel, one in said.items():
                        found[c.id][kernel].append(judged(one))
    rows = cell_rows(root)
    for points in results.tables['cells'].values():
        for cell, said in points.items():
            for kernel, one in said.items():
                # a cell with a why-not is said to have none further down
                if judged(one) != 'skip':
                    for c in cell_clauses(rows, kernel, cell):
                        found[c][kernel].append(judged(one))
    return found


def mark(clause, kernel, judgements):
    count = collections.Counter(judgements)
    good, all_of_it = count['pass'], len(judgements)
    early = (clause.kernel != '-' and
             version(clause.kernel) > version(kernel))
    if count['fail']:
        return f'**BROKEN** {count["fail"]}/{all_of_it}'
    if not judgements or (not good and not count['erratum']):
        return f'since {clause.kernel}' if early else '–'
    number = f'{good}' if good == all_of_it else f'{good}/{all_of_it}'
    return number + (', does something else' if count['erratum'] else '')


def full(kernel):
    """A series may be a major version only; then any of it."""
    return kernel if '.' in kernel else f'{kernel}.999'


def table(head, lines):
    yield '| ' + ' | '.join(head) + ' |'
    yield '|' + ' --- |' * len(head)
    for line in lines:
        yield '| ' + ' | '.join(line) + ' |'


def kernels_part(root, results):
    cases = clauses.cases(root)
    yield from table(['kernel', 'release', 'ran on', 'oldest result', 'cases run'], (
        [k, v['release'], ' and '.join(ACCELS[a] for a in v.get('accel', '?')),
         v['date'], f'{len(results.has(k))} of {len(cases)}']
        for k, v in results.kernels.items()))


def clauses_part(root, results):
    found, silent, lines = proofs(root, results), [], []
    for c in clauses.clauses(root):
        if not c.is_clause:
            continue
        if not found[c.id]:
            silent.append(c.id)
            continue
        forged = ' *(forged)*' if c.proof == 'forged' else ''
        lines.append([c.id, c.text + forged, *(
            mark(c, full(k), found[c.id][k]) for k in results.kernels)])
    yield from table(['', 'clause', *(v['release'] for v in
                                      results.kernels.values())], lines)
    yield ''
    yield ('Not in the lab, or not run there yet: ' + ', '.join(silent) +
           '. Unit tests, models and checks of documents prove what is about'
           ' no kernel.')


def tally(judgements):
    count = collections.Counter(judgements)
    words = [f'{count["fail"]} BROKEN'] if count['fail'] else []
    words += [f'{count["pass"]}'] if count['pass'] else []
    words += [f'{count["erratum"]} else'] if count['erratum'] else []
    words += [f'{count["skip"]} why-not'] if count['skip'] else []
    return ', '.join(words)


def pages_part(root, results):
    pages = collections.defaultdict(lambda: collections.defaultdict(list))
    named, rows = collections.defaultdict(set), cell_rows(root)
    for points in results.tables['cells'].values():
        for cell, said in points.items():
            page, injection = cell.split('/')[:2]
            for kernel, one in said.items():
                pages[page][kernel, injection].append(judged(one))
                if judged(one) != 'skip':        # it proves nothing
                    named[page].update(cell_clauses(rows, kernel, cell))
    ways = [*INJECTIONS, *sorted({i for p in pages.values() for _, i in p} -
                                 set(INJECTIONS))]
    yield from table(['page', 'clauses', *(v['release'] for v in
                                           results.kernels.values())], (
        [page, ' '.join(sorted(named[page], key=lambda c: version(c[1:]))) or '–',
         *('; '.join(f'{way} {tally(cells[k, way])}' for way in ways
                     if (k, way) in cells) or '–' for k in results.kernels)]
        for page, cells in pages.items()))


def differences(results):
    """What is skipped or fails, and why: reason -> kernel -> where."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for points, case in ((p, c) for t in results.tables.values()
                         for c, p in t.items()):
        for point, said in points.items():
            for kernel, one in said.items():
                if one != 'pass':
                    found[judged(one), one[1] or one[2]][kernel].append(
                        f'{case}: {point}')
    return found


def allowed(root, results):
    """The same of cells that passed, as a kernel is expected to be another."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    rows = cell_rows(root)
    for case, points in results.tables['cells'].items():
        for cell, said in points.items():
            for kernel, one in said.items():
                reason = cell_field(rows, kernel, cell, -1)
                if one == 'pass' and reason not in ('-', '='):
                    found['pass', reason][kernel].append(f'{case}: {cell}')
    return found


def differences_part(results, found, kind):
    for (judgement, reason), where in found.items():
        if judgement != kind:
            continue
        releases = ', '.join(results.kernels[k]['release'] for k in
                             results.kernels if k in where)
        names = list(dict.fromkeys(n for w in where.values() for n in w))
        more = f' and {len(names) - 3} more' if len(names) > 3 else ''
        yield (f'- {releases}: {reason.removeprefix(ERRATUM)}'
               f' (`{"`, `".join(names[:3])}`{more})')


def page(root, results):
    parts = [HEAD, '\n'.join(kernels_part(root, results)), '',
             '## By clause', LEGEND, '\n'.join(clauses_part(root, results)), '']
    if any(results.tables['cells'].values()):
        parts += ['## By page', '',
                  'How many of the cells (trigger and action) of each way to lose'
                  ' the page are as they should be. *why-not*: the reason is further'
                  ' down; *else*: the kernel does something else.', '',
                  '\n'.join(pages_part(root, results)), '']
    found = {**differences(results), **allowed(root, results)}
    for kind, title in (
            ('fail', 'Broken'),
            ('erratum', 'Where a kernel does something else'),
            ('pass', 'Where a cell has to be something else'),
            ('skip', 'What could not be seen')):
        lines = '\n'.join(differences_part(results, found, kind))
        if lines:
            parts += [f'## {title}', '', lines, '']
    with open(os.path.join(root, NOTES), encoding='utf-8') as file:
        notes = file.read().partition('-->\n')[2].lstrip('\n')
    return '\n'.join(parts) + '\n' + notes
