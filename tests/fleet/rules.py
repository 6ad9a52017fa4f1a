#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""contrib/prometheus: rules and dashboard say what Prometheus understands, about
metrics that bezoard has.

    rules.py ROOT BEZOARD
"""
import json
import os
import re
import shutil
import sys
import tempfile

ROOT, BEZOARD = map(os.path.abspath, sys.argv[1:])
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position
from fleet import (  # noqa: E402 pylint: disable=wrong-import-position
    Daemon, MODULES, run)

FOLDER = os.path.join(ROOT, 'contrib', 'prometheus')
RULES = os.path.join(FOLDER, 'bezoar.rules.yml')
TESTS = [os.path.join(FOLDER, name) for name in (
    'bezoar.test.yml', 'bezoar-days.test.yml')]
DASHBOARD = os.path.join(FOLDER, 'bezoar-dashboard.json')
NEEDS = 'promtool is not installed (package prometheus)'


def promtool(*words):
    done = run('promtool', *words)
    if done.returncode:
        yield done.stdout.decode()


def metrics(daemon):
    """All names that the daemon can write, with the suffixes of samples."""
    import sqlite3  # pylint: disable=import-outside-toplevel
    daemon.start()
    daemon.stop()
    with sqlite3.connect(daemon.store) as store:
        store.execute(MODULES)
        store.execute('CREATE TABLE IF NOT EXISTS deaths (told INTEGER)')
    store.close()
    daemon.start()
    daemon.stop()
    with open(daemon.metrics, encoding='ascii') as file:
        kinds = dict(re.findall('^# TYPE (\\S+) (\\S+)$', file.read(), re.M))
    for name, kind in kinds.items():
        yield name
        if kind == 'histogram':
            yield from (name + end for end in ('_bucket', '_sum', '_count'))
    # written once there is something
    yield 'bezoar_last_record_timestamp_seconds'
    yield 'bezoar_last_loss_timestamp_seconds'


def named(text):
    """The metrics in an expression, without those that rules record."""
    text = re.sub(r'"[^"]*"|\{\{.*?\}\}', '', text)
    return set(re.findall(r'(?<![\w:])bezoar_\w+(?!\w*\()', text))


def recorded(text):
    return set(re.findall(r'\bbezoar:[\w:]+', text))


def names(known, text, what):
    with open(RULES, encoding='utf-8') as file:
        rules = set(re.findall(r'record: (\S+)', file.read()))
    for name in sorted(named(text) - set(known)):
        yield f'{what} has {name}, which bezoard does not write'
    for name in sorted(recorded(text) - rules):
        yield f'{what} has {name}, which no rule records'


def rule_names(known):
    with open(RULES, encoding='utf-8') as file:
        text = file.read()
    text = '\n'.join(l for l in text.splitlines() if not l.strip().startswith('#'))
    yield from names(known, text, 'a rule')
    if not named(text):
        yield 'there are no metrics in the rules'


def targets(dashboard):
    for panel in dashboard['panels']:
        for target in panel['targets']:
            yield panel['title'], target['expr']


def layout(dashboard):
    """Of what Grafana wants: numbers once, places in 24 columns, no overlap."""
    taken = {}
    ids = [panel['id'] for panel in dashboard['panels']]
    if len(set(ids)) != len(ids):
        yield f'ids are there twice: {ids}'
    for panel in dashboard['panels']:
        at = panel['gridPos']
        if at['x'] + at['w'] > 24:
            yield f'{panel["title"]} is wider than 24 columns'
        if not panel['description'] or panel['type'] not in (
                'stat', 'table', 'timeseries'):
            yield f'{panel["title"]} has no description, or no known type'
        for cell in ((x, y) for x in range(at['x'], at['x'] + at['w'])
                     for y in range(at['y'], at['y'] + at['h'])):
            if cell in taken:
                yield f'{panel["title"]} lies over {taken[cell]}'
                break
            taken[cell] = panel['title']
        for target in panel['targets']:
            if target['datasource'] != {'type': 'prometheus',
                                        'uid': '${datasource}'}:
                yield f'{panel["title"]} asks a data source of its own'


def expressions(dashboard, folder):
    """promtool reads all of them as rules."""
    path = os.path.join(folder, 'dashboard.yml')
    rules = [{'record': f'panel:{number}', 'expr': expr.replace('$instance', '.*')}
             for number, (_, expr) in enumerate(targets(dashboard))]
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'groups': [{'name': 'dashboard', 'rules': rules}]}, file)
    yield from promtool('check', 'rules', path)


def main():
    with open(DASHBOARD, encoding='utf-8') as file:
        dashboard = json.load(file)
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix='bezoar-rules-') as folder:
        daemon = Daemon(BEZOARD, folder)
        try:
            known = sorted(metrics(daemon))
        finally:
            daemon.stop()
        tap.case('the rules are about metrics that there are',
                 rule_names(known))
        tap.case('the dashboard is, too', (
            f for title, expr in targets(dashboard)
            for f in names(known, expr, title)))
        tap.case('its panels have their places', layout(dashboard))
        for name, run_it in (
                ('promtool has nothing to say of the rules',
                 lambda: promtool('check', 'rules', RULES)),
                ('they fire when they should, and not otherwise',
                 lambda: promtool('test', 'rules', *TESTS)),
                ('nor of what the dashboard asks',
                 lambda: expressions(dashboard, folder))):
            if shutil.which('promtool'):
                tap.case(name, run_it())
            else:
                tap.skip(name, NEEDS)
    tap.end()


main()
