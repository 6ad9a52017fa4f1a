# SPDX-License-Identifier: MIT
"""What the tests of this folder share: processes, a daemon, its file."""
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import time

PATIENCE = 60 * int(os.environ.get('TAP_PATIENCE', '1'))
ENV = dict(os.environ, LC_ALL='C', TZ='UTC')
MODULES = ('CREATE TABLE IF NOT EXISTS places (record INTEGER PRIMARY KEY, '
           'frame INTEGER NOT NULL, dimm TEXT NOT NULL)')


class Failed(Exception):
    """Something did not become true."""


def until(what, true):
    """Wait for @true(), which returns something that counts as true."""
    end = time.monotonic() + PATIENCE
    while True:
        is_so = true()
        if is_so:
            return is_so
        if time.monotonic() > end:
            raise Failed(f'not within {PATIENCE} s: {what}')
        time.sleep(0.05)


def run(*words, **more):
    more.setdefault('timeout', PATIENCE)
    return subprocess.run([str(word) for word in words], env=ENV, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more)


def must(*words, **more):
    result = run(*words, **more)
    if result.returncode:
        raise Failed(f'{" ".join(map(str, words))}: status '
                     f'{result.returncode}: {result.stdout.decode()[-600:]}')
    return result.stdout.decode()


class Process:
    """One that is killed at the end, whatever happens."""

    def __init__(self, words, said, **more):
        self.said = said
        with open(said, 'ab') as file:
            self.popen = subprocess.Popen(
                [str(word) for word in words], env=ENV, stdin=subprocess.DEVNULL,
                stdout=file, stderr=file, start_new_session=True, **more)

    def words(self):
        with open(self.said, encoding='utf-8', errors='replace') as file:
            return file.read()

    def has_ended(self):
        return self.popen.poll() is not None

    def stop(self, kill=False):
        if kill:
            # what a shell has started, too, which may have ended before
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
        elif self.popen.poll() is None:
            self.popen.terminate()
        return self.popen.wait(PATIENCE)


class Daemon:
    """A bezoard with a metrics file, in @folder; @inside: words before it."""

    def __init__(self, program, folder, inside=()):
        self.program, self.folder, self.inside = program, folder, inside
        self.collected = os.path.join(folder, 'collected')
        self.latches = os.path.join(folder, 'run')
        self.metrics = os.path.join(self.collected, 'bezoar.prom')
        self.socket = os.path.join(folder, 'socket')
        self.store = os.path.join(folder, 'records.db')
        self.process = None
        os.makedirs(self.collected)

    def start(self):
        self.process = Process(
            [*self.inside, self.program, '--socket', self.socket, '--store',
             self.store, '--metrics', self.metrics, '--latches', self.latches],
            os.path.join(self.folder, 'said'))

        def runs():
            if self.process.has_ended():
                raise Failed(f'the daemon has ended: {self.process.words()}')
            return self.value('bezoar_up') == 1
        until('the daemon runs', runs)

    def stop(self, kill=False):
        if self.process:
            self.process.stop(kill)
        self.process = None

    def value(self, series):
        """-1: it is not there."""
        try:
            with open(self.metrics, encoding='ascii') as file:
                text = file.read()
        except FileNotFoundError:
            return -1
        found = re.search(f'^{re.escape(series)} (.*)$', text, re.M)
        return float(found[1]) if found else -1

    def will_be(self, series, value):
        until(f'{series} is {value}', lambda: self.value(series) == value)

    def latch(self, name, is_latched=True):
        fresh = os.path.join(self.latches, 'fresh')
        with open(fresh, 'w', encoding='ascii') as file:
            file.write('{"latched": %s}' % str(is_latched).lower())
        os.rename(fresh, os.path.join(self.latches, f'{name}.json'))

    def module_lost(self, module, pages):
        """As if the kernel had told so. The daemon starts anew."""
        self.stop()
        with sqlite3.connect(self.store) as store:
            store.execute(MODULES)
            store.execute('INSERT OR REPLACE INTO meta VALUES (?, ?)',
                          (f'sum dimm {module}', pages))
        store.close()
        self.start()
