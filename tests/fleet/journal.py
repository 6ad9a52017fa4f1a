#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Records leave the machine with its journal: by a file, and by the remote upload.

    journal.py ROOT BEZOARD LOSE BEZOAR

As docs/fleet.md has it. The machine is a network namespace with a /run of its own,
where its own systemd-journald listens; the machine in the middle collects.
"""
import glob
import json
import os
import sys
import tempfile

ROOT, BEZOARD, LOSE, BEZOAR = map(os.path.abspath, sys.argv[1:])
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position
from fleet import (  # noqa: E402 pylint: disable=wrong-import-position
    Daemon, Failed, Process, must, run, until)
from hosts import Fleet  # noqa: E402 pylint: disable=wrong-import-position

LIB = '/lib/systemd'
JOURNALD = f'{LIB}/systemd-journald'
REMOTE = f'{LIB}/systemd-journal-remote'
UPLOAD = f'{LIB}/systemd-journal-upload'
PORT = 19532
BEGIN = f'''
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\n' \\
	>/run/systemd/journald.conf.d/test.conf
exec {JOURNALD}
'''


class Machine:
    """Its journal, a bezoard, and bezoar log that follows it into the journal."""

    def __init__(self, fleet, name, folder):
        self.fleet, self.name, self.folder = fleet, name, folder
        self.processes = []
        self.daemon = None

    def inside(self):
        return ['nsenter', '--mount', '--net', '--target',
                self.processes[0].popen.pid]

    def process(self, what, words):
        process = Process(words, os.path.join(self.folder, what))
        self.processes.append(process)
        return process

    def start(self):
        # ip netns exec has a /sys without control groups, which are looked for
        journald = self.process('journald', [
            'nsenter', f'--net=/run/netns/{self.fleet.space(self.name)}',
            'unshare', '--mount', 'sh', '-ec', BEGIN])

        def listens():
            if journald.has_ended():
                raise Failed(f'systemd-journald: {journald.words()}')
            return not run(*self.inside(), 'test', '-S',
                           '/run/systemd/journal/stdout').returncode
        until('the journal listens', listens)
        self.daemon = Daemon(BEZOARD, os.path.join(self.folder, 'bezoard'),
                             [*self.inside(), 'systemd-cat', '-t', 'bezoard'])
        self.daemon.start()
        self.process('follow', [
            *self.inside(), 'sh', '-c', '"$1" log --follow --json "$2" | '
            'systemd-cat -t bezoar', 'sh', BEZOAR, self.daemon.store])

    def upload(self, url):
        return self.process('upload', [
            *self.inside(), UPLOAD, f'--url={url}',
            f'--save-state={self.folder}/state'])

    def export(self, name='bezoar'):
        return must(*self.inside(), 'journalctl', '-D', '/run/log/journal',
                    '-t', name, '-o', 'export')

    def stop(self):
        if self.daemon:
            self.daemon.stop()
        for process in reversed(self.processes):
            process.stop(kill=True)


def records(*where):
    """What a journal has of them, as it was sent."""
    done = run('journalctl', *where, '-t', 'bezoar', '-o', 'cat', '--no-pager')
    return [json.loads(line) for line in done.stdout.decode().splitlines()
            if line.startswith('{')]


def differ(found, want):
    if [r['id'] for r in found] != want:
        yield f'records {[r["id"] for r in found]}, and not {want}'
    if any('digest' not in r or 'outcome' not in r for r in found):
        yield f'not whole: {found[:1]}'


def by_file(machine, folder):
    done = run(LOSE, machine.daemon.socket, 'restored', 3)
    if done.returncode:
        raise Failed(done.stdout.decode())
    until('three records are in the journal',
          lambda: machine.export().count('MESSAGE={') == 3)
    path = os.path.join(folder, 'carried.journal')
    must(REMOTE, '-o', path, '-', input=machine.export().encode())
    yield from differ(records('--file', path), [1, 2, 3])


def with_fields(machine, _folder):
    """Of the daemon itself, which runs below systemd-cat."""
    until('an entry with fields', lambda: 'BEZOAR_NUMBER=3' in machine.export('bezoard'))
    entries = [e for e in machine.export('bezoard').split('\n\n') if 'BEZOAR_NUMBER=3' in e]
    if len(entries) != 1 or 'MESSAGE_ID=' not in entries[0]:
        yield f'{entries}'
    if 'MESSAGE=record 3: ' not in entries[0]:
        yield f'it says otherwise: {entries[0]}'


def by_upload(machine, folder):
    there = os.path.join(folder, 'collected')
    os.makedirs(there)
    address = f'{machine.fleet.middle_address(machine.name)}:{PORT}'
    remote = Process([*machine.fleet.inside('middle'), REMOTE,
                      f'--listen-http={address}', f'--output={there}'],
                     os.path.join(folder, 'remote'))
    upload = None
    try:
        upload = machine.upload(f'http://{address}')

        def come():
            if remote.has_ended():
                raise Failed(f'systemd-journal-remote: {remote.words()}')
            files = glob.glob(f'{there}/*.journal')
            return files and len(records('--file', files[0])) >= count and files
        count = 3
        files = until('what was there has come', come)
        # and what comes later
        done = run(LOSE, machine.daemon.socket, 'gone', 1)
        if done.returncode:
            raise Failed(done.stdout.decode())
        count = 4
        files = until('what came later has come', come)
        found = records('--file', files[0])
        yield from differ(found, [1, 2, 3, 1])
    except Failed as why:
        yield (f'{why}; upload: {upload.words() if upload else ""}; '
               f'remote: {remote.words()}')
    finally:
        remote.stop(kill=True)


def main():
    tap = Tap()
    fleet = Fleet(['a'])
    with tempfile.TemporaryDirectory(prefix='bezoar-journal-') as folder:
        why = fleet.why_not(('ip', 'nsenter', 'systemd-cat', JOURNALD, REMOTE,
                             UPLOAD))
        if why:
            fleet.end()
            tap.skip('a journal that travels', why)
            tap.end()
        machine = Machine(fleet, 'a', folder)
        try:
            fleet.make()
            machine.start()
            for name, case in (('records travel in a file', by_file),
                               ('entries of the daemon have fields', with_fields),
                               ('and by the journal\'s upload', by_upload)):
                try:
                    findings = list(case(machine, folder))
                except Failed as failed:
                    findings = [str(failed)]
                tap.case(name, findings)
        except Failed as failed:
            tap.case('the machine\'s journal', [str(failed)])
        finally:
            machine.stop()
            fleet.end()
    tap.end()


main()
