#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Two machines that lose memory, and one Prometheus that tells them apart.

    prometheus.py ROOT BEZOARD LOSE

Each machine is a network namespace with node_exporter's textfile collector and a
bezoard, to which programs send that really lose pages. The rules are those of
contrib/prometheus, without their patience.
"""
import json
import os
import re
import sys
import tempfile

ROOT, BEZOARD, LOSE = map(os.path.abspath, sys.argv[1:])
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position
from fleet import (  # noqa: E402 pylint: disable=wrong-import-position
    Daemon, Failed, Process, run, until)
from hosts import Fleet  # noqa: E402 pylint: disable=wrong-import-position

RULES = os.path.join(ROOT, 'contrib', 'prometheus', 'bezoar.rules.yml')
PROGRAMS = ('ip', 'prometheus', 'prometheus-node-exporter')
ASK = 'import sys,urllib.request as u;print(u.urlopen(sys.argv[1]).read().decode())'
HERE = 'http://127.0.0.1:9090'


class Machine:
    def __init__(self, fleet, name, folder):
        self.fleet, self.name = fleet, name
        os.makedirs(folder)
        self.daemon = Daemon(BEZOARD, folder, fleet.inside(name))
        self.exporter = None

    def start(self):
        self.daemon.start()
        self.exporter = Process(
            [*self.fleet.inside(self.name), 'prometheus-node-exporter',
             '--collector.disable-defaults', '--collector.textfile',
             f'--collector.textfile.directory={self.daemon.collected}',
             f'--web.listen-address={self.fleet.address(self.name)}:9100'],
            os.path.join(self.daemon.folder, 'exporter'))

    def lose(self, how, count):
        done = run(*self.fleet.inside(self.name), LOSE, self.daemon.socket, how,
                   count)
        if done.returncode:
            raise Failed(done.stdout.decode())

    def stop(self):
        self.daemon.stop()
        if self.exporter:
            self.exporter.stop()


class Prometheus:
    def __init__(self, fleet, folder):
        self.fleet, self.folder = fleet, folder
        self.process = None

    def start(self):
        with open(RULES, encoding='utf-8') as file:
            rules = re.sub(r'( for: )\S+', r'\g<1>0s', file.read())
        with open(os.path.join(self.folder, 'rules.yml'), 'w',
                  encoding='utf-8') as file:
            file.write(rules)
        config = os.path.join(self.folder, 'prometheus.yml')
        with open(config, 'w', encoding='utf-8') as file:
            json.dump({
                'global': {'scrape_interval': '1s', 'scrape_timeout': '1s',
                           'evaluation_interval': '1s'},
                'rule_files': ['rules.yml'],
                'scrape_configs': [{'job_name': 'node', 'static_configs': [
                    {'targets': [f'{self.fleet.address(name)}:9100'],
                     'labels': {'instance': name}}
                    for name in self.fleet.names]}]}, file)
        self.process = Process(
            [*self.fleet.inside('middle'), 'prometheus',
             f'--config.file={config}',
             f'--storage.tsdb.path={self.folder}/data',
             f'--web.listen-address={HERE[7:]}', '--log.level=warn'],
            os.path.join(self.folder, 'prometheus'))

    def get(self, path):
        if self.process.has_ended():
            raise Failed(f'prometheus has ended: {self.process.words()}')
        done = run(*self.fleet.inside('middle'), sys.executable, '-c', ASK,
                   f'{HERE}/api/v1/{path}')
        return json.loads(done.stdout)['data'] if not done.returncode else None

    def values(self, name, label='instance'):
        data = self.get(f'query?query={name}')
        return {s['metric'].get(label): float(s['value'][1])
                for s in data['result']} if data else {}

    def firing(self):
        data = self.get('alerts')
        return None if data is None else {
            (alert['labels']['alertname'], alert['labels']['instance'])
            for alert in data['alerts'] if alert['state'] == 'firing'}

    def will_fire(self, *alerts):
        last = None

        def is_so():
            nonlocal last
            last = self.firing()
            return last == set(alerts)
        try:
            until('', is_so)
        except Failed:
            yield f'{last} fire, and not {set(alerts)}'

    def stop(self):
        if self.process:
            self.process.stop()


def both(prometheus, _a, _b):
    up = {'a': 1.0, 'b': 1.0}
    until('both machines are collected', lambda: prometheus.values(
        'bezoar_up') == up)
    # from zero on, which is where increase() begins
    until('both have lost nothing', lambda: prometheus.values(
        'sum%20by%20(instance)(bezoar_losses_total)') == {'a': 0.0, 'b': 0.0})
    yield from prometheus.will_fire()


def many(prometheus, a, _b):
    a.lose('restored', 12)
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'))
    if prometheus.values('bezoar_records_total', 'outcome') != {'O1': 12.0}:
        yield 'not twelve records of O1'


def gone(prometheus, _a, b):
    b.lose('gone', 1)
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'),
                                    ('BezoarContentGone', 'b'))


def twice(prometheus, a, b):
    a.daemon.module_lost('DIMM_A1', 1)
    b.daemon.module_lost('DIMM_A1', 2)
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'),
                                    ('BezoarContentGone', 'b'),
                                    ('BezoarSameModuleTwice', 'b'))


def latched(prometheus, a, b):
    a.daemon.latch('web', False)
    b.daemon.latch('web')
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'),
                                    ('BezoarContentGone', 'b'),
                                    ('BezoarSameModuleTwice', 'b'),
                                    ('BezoarLatched', 'b'))
    b.daemon.latch('web', False)
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'),
                                    ('BezoarContentGone', 'b'),
                                    ('BezoarSameModuleTwice', 'b'))


def silent(prometheus, a, _b):
    """Killed, and the file taken away as the unit does."""
    a.daemon.stop(kill=True)
    os.unlink(a.daemon.metrics)
    others = (('BezoarContentGone', 'b'), ('BezoarSameModuleTwice', 'b'))
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'),
                                    ('BezoarSilent', 'a'), *others)
    a.daemon.start()
    yield from prometheus.will_fire(('BezoarLossesPerHour', 'a'), *others)
    found = prometheus.values('sum%20by%20(instance)(bezoar_losses_total)')
    if found != {'a': 12.0, 'b': 1.0}:
        yield f'it has {found}'


def main():
    tap = Tap()
    fleet = Fleet(['a', 'b'])
    cases = (('both machines are collected, and nothing fires', both),
             ('twelve losses within an hour: on that machine', many),
             ('a page that is gone: on the other', gone),
             ('the same module twice: there, and not where it was once', twice),
             ('latched, and cleared', latched),
             ('a daemon that was killed is silent, and its counters stay',
              silent))
    with tempfile.TemporaryDirectory(prefix='bezoar-fleet-') as folder:
        why = fleet.why_not(PROGRAMS)
        if why:
            fleet.end()
            tap.skip('two machines and a Prometheus', why)
            tap.end()
        machines = []
        prometheus = Prometheus(fleet, folder)
        try:
            fleet.make()
            machines += [Machine(fleet, name, os.path.join(folder, name))
                         for name in fleet.names]
            for machine in machines:
                machine.start()
            prometheus.start()
            for name, case in cases:
                try:
                    findings = list(case(prometheus, *machines))
                except Failed as failed:
                    findings = [str(failed)]
                tap.case(name, findings)
        finally:
            prometheus.stop()
            for machine in machines:
                machine.stop()
            fleet.end()
    tap.end()


main()
