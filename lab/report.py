#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Put the results of the lab's machines together.

	report.py [--json FILE] WORK SERIES...

reads WORK/SERIES/results of each kernel that was asked for: ten fields with tabs
between, in the order of FIELDS, "-" where there is nothing; its version; and times,
the seconds of each case.
WORK/accel says what the machines ran on, tcg or kvm, if these were machines of the
lab. Prints the skips and failures, a table of case x kernel and one of page type x
kernel, the cases that took longest, the sum, and how many kernels booted. With
--json the same results go to a file, as a list, each with its kernel's version
(release), what it ran on (accel) and how long its case took (seconds).

Exit status: 0, 1 if something failed or nothing passed, 77 if fewer than two
kernels booted, or the only one that was asked for did not.
"""
import argparse
import collections
import json
import os
import sys

FIELDS = ('kernel', 'case', 'point', 'page', 'injection', 'trigger', 'action',
          'result', 'reason', 'got')
SLOWEST = 12
RESULTS = ('pass', 'fail', 'skip', 'why-not')


def read(path):
    try:
        with open(path, encoding='utf-8', errors='replace', newline='\n') as file:
            return file.read()
    except FileNotFoundError:
        return ''


def rows_of(work, series):
    rows = []
    # splitlines() would end a line at a form feed that a program has said, too.
    for line in read(os.path.join(work, series, 'results')).split('\n')[:-1]:
        values = line.split('\t')
        row = dict(zip(FIELDS, (None if v in ('-', '') else v for v in values)))
        if len(values) != len(FIELDS) or row['result'] not in RESULTS:
            sys.exit(f'lab: no result: {line}')
        rows.append(row)
    return rows


def times_of(work, series):
    lines = read(os.path.join(work, series, 'times')).split('\n')[:-1]
    return {case: int(seconds) for case, seconds in
            (line.split('\t') for line in lines)}


def name_of(row):
    return ': '.join(row[f] for f in ('case', 'point') if row[f]) or 'the kernel'


def cell(rows):
    count = collections.Counter(row['result'] for row in rows)
    words = []
    if count['fail']:
        words.append(f'{count["fail"]} FAILED')
    if count['pass']:
        words.append(f'{count["pass"]} passed')
    if count['skip']:
        words.append(f'{count["skip"]} skipped')
    if count['why-not']:
        words.append('why-not' if len(rows) == 1 else f'{count["why-not"]} why-not')
    return ', '.join(words) or '.'


def print_notes(rows):
    """What is the same on several kernels is one line."""
    for what, results in (('skipped', ('skip', 'why-not')), ('failed', ('fail',))):
        where = {}
        for row in rows:
            if row['result'] in results:
                said = row['reason' if what == 'skipped' else 'got']
                where.setdefault((name_of(row), said), []).append(row['kernel'])
        for (name, said), kernels in where.items():
            print(f'# {what}: {", ".join(dict.fromkeys(kernels))}: {name}:'
                  f' {said or "no reason was given"}')


def print_table(what, rows, series, versions):
    """Of each case, or each page type of the matrix, what it came to on each kernel."""
    names = list(dict.fromkeys(row[what] for row in rows if row[what]))
    if not names:
        return
    lines = [[what, *(versions[s] or f'{s} (not booted)' for s in series)]]
    for name in names:
        lines.append([name] + [
            cell([row for row in rows
                  if row[what] == name and row['kernel'] == s])
            for s in series])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print('# ' + '  '.join(t.ljust(w) for t, w in zip(line, widths)).rstrip())


def print_slowest(times):
    for kernel, cases in times.items():
        if cases:
            slowest = sorted(cases, key=cases.get, reverse=True)[:SLOWEST]
            print(f'# {kernel}: {sum(cases.values())} s; slowest: '
                  + ', '.join(f'{case} {cases[case]}' for case in slowest))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--json')
    parser.add_argument('work')
    parser.add_argument('series', nargs='+')
    args = parser.parse_args()

    series = [s for s in args.series
              if os.path.isdir(os.path.join(args.work, s))]
    versions = {s: read(os.path.join(args.work, s, 'version')).strip() or None
                for s in series}
    accel = read(os.path.join(args.work, 'accel')).strip() or None
    times = {s: times_of(args.work, s) for s in series}
    rows = []
    for s in series:
        for row in rows_of(args.work, s):
            rows.append({**row, 'release': versions[s], 'accel': accel,
                         'seconds': times[s].get(row['case'])})
    count = collections.Counter(row['result'] for row in rows)
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(rows, file, indent=1)
            file.write('\n')

    print_notes(rows)
    print_table('case', rows, series, versions)
    print_table('page', rows, series, versions)
    print_slowest(times)
    booted = sum(1 for v in versions.values() if v)
    failed = count['fail']
    if booted and not count['pass'] and not failed:
        print('not ok 1 - nothing has passed: nothing is proved')
        failed = 1
    print(f'{count["pass"]} passed, {failed} failed,'
          f' {count["skip"] + count["why-not"]} skipped')
    print(f'kernels {booted}/{len(series)}')
    if failed:
        return 1
    return 0 if booted >= min(2, len(series)) else 77


if __name__ == '__main__':
    sys.exit(main())
