#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""contrib/kubernetes as node-problem-detector's custom plugin monitor has it.

    npd.py ROOT BEZOARD LOSE

The driver does what is documented of that: it reads the configuration, runs the
plugin of each rule under its timeout, takes the exit status (0 OK, 1 NonOK, all
else Unknown) and at most max_output_length bytes of standard output.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT, BEZOARD, LOSE = map(os.path.abspath, sys.argv[1:])
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position
from fleet import (  # noqa: E402 pylint: disable=wrong-import-position
    Daemon, Failed, run, until)

FOLDER = os.path.join(ROOT, 'contrib', 'kubernetes')
CONFIG = os.path.join(FOLDER, 'bezoar-monitor.json')
THERE = '/opt/bezoar/'
METRICS = '/var/lib/prometheus/node-exporter/bezoar.prom'
STATUS = {0: 'OK', 1: 'NonOK'}
PLUGIN_KEYS = {'invoke_interval': str, 'timeout': str, 'max_output_length': int,
               'concurrency': int, 'skip_initial_status': bool,
               'enable_message_change_based_condition_update': bool}
RULE_KEYS = {'type': str, 'condition': str, 'reason': str, 'path': str,
             'args': list, 'timeout': str}
TOP_KEYS = {'plugin': str, 'pluginConfig': dict, 'source': str,
            'metricsReporting': bool, 'conditions': list, 'rules': list}
UNITS = {'ms': 0.001, 's': 1, 'm': 60, 'h': 3600}


def seconds(text):
    found = re.fullmatch(r'([0-9]+)(ms|s|m|h)', text)
    if not found:
        raise Failed(f'{text} is no duration')
    return int(found[1]) * UNITS[found[2]]


def of_kinds(what, keys, name):
    for key, value in what.items():
        if key not in keys:
            yield f'{name} has a key {key}, which nobody knows'
        elif not isinstance(value, keys[key]):
            yield f'{key} of {name} is no {keys[key].__name__}'


def config_is_well(config):
    yield from of_kinds(config, TOP_KEYS, 'the file')
    yield from of_kinds(config['pluginConfig'], PLUGIN_KEYS, 'pluginConfig')
    most = seconds(config['pluginConfig']['timeout'])
    if config['plugin'] != 'custom':
        yield 'it is for another monitor'
    conditions = {c['type'] for c in config['conditions']}
    if len(conditions) != len(config['conditions']):
        yield 'a condition is there twice'
    for condition in config['conditions']:
        if set(condition) != {'type', 'reason', 'message'}:
            yield f'{condition} is no condition'
    for rule in config['rules']:
        yield from of_kinds(rule, RULE_KEYS, rule['reason'])
        if seconds(rule['timeout']) > most:
            yield f'{rule["reason"]} may take longer than all'
        # from one turn to the next, and until that answers
        window = seconds(config['pluginConfig']['invoke_interval']) + seconds(rule['timeout'])
        if rule['args'][0] == 'lost' and int(rule['args'][1]) != window:
            yield f'{rule["reason"]} looks {rule["args"][1]} seconds back, and not {window}'
        if rule['type'] == 'permanent' and rule['condition'] not in conditions:
            yield f'{rule["reason"]} is about no condition'
        if rule['type'] == 'temporary' and 'condition' in rule:
            yield f'{rule["reason"]} is an event, and no condition'
        if rule['type'] not in ('permanent', 'temporary'):
            yield f'{rule["reason"]} is of no type'
        if not rule['path'].startswith(THERE) or not os.access(
                rule['path'].replace(THERE, FOLDER + '/'), os.X_OK):
            yield f'{rule["path"]} is not there, or cannot be run'
    named = {rule.get('condition') for rule in config['rules']}
    for unused in conditions - named:
        yield f'no rule is about {unused}'


def invoke(config, rule, metrics):
    """(status, message) of one rule."""
    words = [rule['path'].replace(THERE, FOLDER + '/')]
    words += [word.replace(METRICS, metrics) for word in rule['args']]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              timeout=seconds(rule['timeout']), env={
                                  'PATH': '/usr/bin:/bin'})
    except subprocess.TimeoutExpired:
        return 'Unknown', b'timeout'
    if done.stderr:
        raise Failed(f'{words}: {done.stderr.decode()}')
    cut = done.stdout[:config['pluginConfig']['max_output_length']]
    if done.stdout.strip() != cut.strip():
        raise Failed(f'{words}: too long: {done.stdout}')
    return STATUS.get(done.returncode, 'Unknown'), cut.strip().decode('ascii')


def answers(config, metrics):
    return {rule['reason']: invoke(config, rule, metrics)
            for rule in config['rules']}


def differ(config, metrics, bad, message=None):
    """All rules are well but those in @bad, {reason: status}."""
    for reason, (status, text) in answers(config, metrics).items():
        want = bad.get(reason, 'OK')
        if status != want:
            yield f'{reason} is {status} ("{text}"), and not {want}'
        if message and reason in bad and not re.fullmatch(message, text):
            yield f'{reason} says "{text}", and not {message}'


def unknown(config, folder):
    """Neither without a file nor with another's."""
    other = os.path.join(folder, 'other.prom')
    reasons = {rule['reason']: 'Unknown' for rule in config['rules']}
    yield from differ(config, other, reasons, '.*cannot be read')
    with open(other, 'w', encoding='ascii') as file:
        file.write('bezoard_down 1\nnode_load1 2\n')
    yield from differ(config, other, reasons, '.*is not of bezoard --metrics')


def losses(config, daemon):
    yield from differ(config, daemon.metrics, {})
    done = run(LOSE, daemon.socket, 'restored', 3)
    if done.returncode:
        yield done.stdout.decode()
        return
    daemon.will_be('bezoar_losses_total{content="restored"}', 3)
    yield from differ(config, daemon.metrics, {'MemoryLost': 'NonOK'},
                      r'memory was lost [0-9]+ seconds ago')


def modules(config, daemon):
    daemon.module_lost('CPU0_DIMM_A1', 1)
    yield from differ(config, daemon.metrics, {'MemoryLost': 'NonOK'})
    daemon.module_lost('CPU0_DIMM_A1', 2)
    bad = {'MemoryLost': 'NonOK', 'ModuleLostPages': 'NonOK'}
    yield from differ(config, daemon.metrics, bad)
    said = answers(config, daemon.metrics)['ModuleLostPages'][1]
    if said != '2 pages lost by memory module CPU0_DIMM_A1':
        yield f'it says "{said}"'
    # the worst of them is named; and a name is only a name
    daemon.module_lost('$(touch /tmp/x) %s %n `id` "\\ \033[1m\n' * 4, 7)
    yield from differ(config, daemon.metrics, bad)
    said = answers(config, daemon.metrics)['ModuleLostPages'][1]
    if not said.startswith('7 pages lost by memory module $(touch /tmp/x) %s'):
        yield f'it says "{said}"'


def latched(config, daemon):
    bad = {'MemoryLost': 'NonOK', 'ModuleLostPages': 'NonOK'}
    daemon.latch('db', False)
    daemon.will_be('bezoar_latched{name="db"}', 0)
    yield from differ(config, daemon.metrics, bad)
    daemon.latch('web')
    daemon.will_be('bezoar_latched{name="web"}', 1)
    bad['LatchedAfterLostMemory'] = 'NonOK'
    yield from differ(config, daemon.metrics, bad)
    said = answers(config, daemon.metrics)['LatchedAfterLostMemory'][1]
    if said != '1 latched after lost memory: web':
        yield f'it says "{said}"'


def ended(config, daemon):
    daemon.stop()
    found = answers(config, daemon.metrics)['BezoardDoesNotRun']
    if found != ('NonOK', 'bezoard has been ended'):
        yield f'it is {found}'


def long_ago(config, daemon):
    """A loss is no event for ever."""
    def is_over():
        return answers(dict(config, rules=[rule]),
                       daemon.metrics)['MemoryLost'][0] == 'OK'

    rule = dict(config['rules'][0], args=['lost', '1', METRICS])
    until('the loss is more than a second ago', is_over)
    yield from ()


def put_back(config, daemon):
    """The clock was, by more than the daemon knows of: what is to come was not now."""
    other = os.path.join(daemon.folder, 'back.prom')
    with open(daemon.metrics, encoding='ascii') as file:
        text, n = re.subn(r'^(bezoar_last_loss_timestamp_seconds) .*$',
                          rf'\1 {time.time() + 3600:.3f}', file.read(), flags=re.M)
    if n != 1:
        yield f'{n} times of a loss'
    with open(other, 'w', encoding='ascii') as file:
        file.write(text)
    found = answers(dict(config, rules=config['rules'][:1]), other)
    if found['MemoryLost'][0] != 'OK':
        yield f'it is {found}'


def main():
    with open(CONFIG, encoding='utf-8') as file:
        config = json.load(file)
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix='bezoar-npd-') as folder:
        daemon = Daemon(BEZOARD, folder)
        daemon.start()
        can = run(LOSE, daemon.socket, 'gone', 1)
        daemon.stop()
        for name in os.listdir(folder):
            if name.startswith('records.db'):
                os.unlink(os.path.join(folder, name))
        os.unlink(daemon.metrics)
        tap.case('the configuration is as documented', config_is_well(config))
        if can.returncode == 77:
            tap.skip('the plugin', can.stdout.decode().strip())
            tap.end()
        tap.case('without a file nobody can say', unknown(config, folder))
        daemon.start()
        try:
            for name, case in (('memory was lost', losses),
                               ('a module lost two pages', modules),
                               ('a service is latched', latched),
                               ('a loss of long ago', long_ago),
                               ('a clock that was put back', put_back),
                               ('the daemon has ended', ended)):
                try:
                    findings = list(case(config, daemon))
                except Failed as why:
                    findings = [str(why)]
                tap.case(name, findings)
        finally:
            daemon.stop()
    tap.end()


main()
