# SPDX-License-Identifier: MIT
"""What the tests of bezoar run share: a folder, the program, who dies in it."""
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

PROGRAM, VICTIM, BEZOARD, ROOT = map(os.path.abspath, sys.argv[1:5])
ONLY = sys.argv[5:]
sys.path.insert(0, os.path.join(ROOT, 'tests', 'abi'))
from tap import Tap  # noqa: E402 pylint: disable=wrong-import-position

PATIENCE = 20 * int(os.environ.get('TAP_PATIENCE', '1'))
LATCHED = 195


class Place:
    """A folder of its own, and "bezoar run" in it."""

    def __init__(self):
        self.keeper = tempfile.TemporaryDirectory(prefix='bezoar-runs-')
        self.folder = self.keeper.name
        self.state = self.at('state')
        self.env = {k: v for k, v in os.environ.items()
                    if k not in ('BEZOAR_SOCKET', 'NOTIFY_SOCKET')}
        self.env['LC_ALL'] = 'C'
        self.begun = []
        self.others = []

    def at(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        return self

    def begun_too(self, it):
        """Another program, which ends with the place."""
        self.others.append(it)

    def __exit__(self, *_):
        for it in self.others:
            it.kill()
            it.wait(PATIENCE)
        for it in self.begun:
            for child in children(it):
                os.kill(child, signal.SIGKILL)
            it.send_signal(signal.SIGCONT)
            it.wait(PATIENCE)
            it.stdout.close()
            if it.stderr:
                it.stderr.close()
        self.keeper.cleanup()

    def words(self, *words):
        return [PROGRAM, words[0], '--state', self.state, *words[1:]]

    def run_words(self, *words):
        return self.words('run', '--store', self.at('records.db'), '--socket',
                          self.at('socket'), *words)

    def call(self, words, **more):
        return subprocess.run(words, env={**self.env, **more.pop('env', {})},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, check=False,
                              timeout=PATIENCE, **more)

    def run(self, *words, **more):
        return self.call(self.run_words(*words), **more)

    def clear(self, *words):
        return self.call(self.words('clear', *words))

    def begin(self, *words, **more):
        """It runs on, until the place is left at the latest."""
        it = subprocess.Popen(self.run_words(*words), env=self.env, bufsize=0,
                              stdout=subprocess.PIPE,
                              **{'stdin': subprocess.DEVNULL,
                                 'stderr': subprocess.PIPE, **more})
        self.begun.append(it)
        return it

    def begin_with(self, stderr, *words):
        return self.begin(*words, stderr=stderr)

    def counted(self, *words):
        """A command that writes a line each time it is run."""
        return ['sh', '-c', f'echo run >>{self.at("runs")}; exec "$@"', 'sh',
                *words]

    def count(self):
        try:
            with open(self.at('runs'), encoding='ascii') as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0

    def read_state(self, file):
        with open(os.path.join(self.state, file), encoding='utf-8') as f:
            return json.load(f)

    def write_state(self, file, state):
        os.makedirs(self.state, exist_ok=True)
        with open(os.path.join(self.state, file), 'w', encoding='utf-8') as f:
            f.write(state if isinstance(state, str) else json.dumps(state))


def children(it):
    try:
        with open(f'/proc/{it.pid}/task/{it.pid}/children', encoding='ascii') as f:
            return [int(pid) for pid in f.read().split()]
    except FileNotFoundError:
        return []


def gone(pid):
    """It has ended, if it is waited for or not."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as f:
            return f.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


def line(it):
    """The next one that it says."""
    if not select.select([it.stdout], [], [], PATIENCE)[0]:
        raise AssertionError('nothing is said')
    return it.stdout.readline()


def until(what, why):
    """Wait until @what() is true, and return it."""
    end = time.monotonic() + PATIENCE
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f'it did not come true: {why}')
        time.sleep(0.005)


def expect(result, status, err=None, out=None):
    """@err, @out: what has to be in there; '': nothing may be."""
    if result.returncode != status:
        yield f'status {result.returncode}, not {status}: {result.stderr}'
    for got, want in ((result.stdout, out), (result.stderr, err)):
        if want == '' and got:
            yield f'something was printed: {got[:300]}'
        elif want and not re.search(want.encode(), got):
            yield f'{want} is not in {got[:900]}'


def same(what, got, want):
    if got != want:
        yield f'{what}: {got}, not {want}'


def plain(result):
    """Nothing that a terminal would act on."""
    for stream in (result.stdout, result.stderr):
        bad = [c for c in stream if c not in (9, 10) and not 32 <= c <= 126]
        if bad:
            yield f'bytes {bad[:8]} in {stream[:200]}'


def main(checks):
    tap = Tap()
    for check in checks:
        name = check.__name__
        if ONLY and not any(word in name for word in ONLY):
            continue
        try:
            findings = list(check())
        except (AssertionError, OSError, subprocess.TimeoutExpired) as e:
            findings = [f'{type(e).__name__}: {e}']
        if findings and findings[0].startswith('skip: '):
            tap.skip(name, findings[0][6:])
        else:
            tap.case(name, findings)
    tap.end()
