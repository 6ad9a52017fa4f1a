#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Do the demo and the short example show what they say, and only then?

check.py DEMO PROTECT, two programs. The page table's mark is all that is used
here, whatever else the machine allows: a test that can be run a hundred times
must not cost a hundred times real memory.
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../tests/abi'))
from tap import Tap  # noqa: E402

demo, protect = sys.argv[1:]
tap = Tap()
SHORT = ['--backend', 'uffd', '--seed', '1', '--rate', '50', '--poison', '50']


def finished(*args):
    return subprocess.run(args, capture_output=True, text=True, timeout=100)


def differ(what, is_, must):
    return [] if is_ == must else [f'{what} is {is_!r}, must be {must!r}']


def smoke():
    done = finished(demo, *SHORT, '--size', '16', '--json')
    findings = differ('the exit status', done.returncode, 0)
    if done.returncode not in (0, 1):
        return findings + [done.stderr]
    result = json.loads(done.stdout)
    for name, must in {'ok': True, 'asked': 50, 'made': 50, 'taken': 50,
                       'early': 0, 'refused': 0, 'not_ours': 0,
                       'events_missed': 0, 'wrong_bytes': 0,
                       'wrong_answers': 0, 'backend': 'uffd',
                       'without_bezoar': {'signal': 7, 'exit': -1}}.items():
        findings += differ(name, result[name], must)
    findings += differ('replaced in all', result['from_file'] +
                       result['from_mirror'], 50)
    findings += differ('the outcome', result['outcomes'].get('replaced'), 50)
    return findings


def table():
    done = finished(demo, *SHORT, '--size', '4', '--files', '/usr/share')
    findings = differ('the exit status', done.returncode, 0)
    for part in ('died of signal 7 (Bus error)', '50 of 50', 'all is well'):
        if part not in done.stdout:
            findings.append(f'the table does not say "{part}":\n{done.stdout}')
    return findings


def usage():
    findings = []
    for args in (['--size', 'x'], ['--size', '0'], ['--poison'], ['nonsense'],
                 ['--rate', '5/m'], ['--backend', 'truncate'], ['--nonsense'],
                 ['--files', '/nonexistent']):
        done = finished(demo, *args)
        findings += differ(f'the exit status of {args}', done.returncode, 2)
        if 'demo' not in done.stderr or done.stdout:
            findings.append(f'{args} is not answered on stderr')
    done = finished(demo, '--help')
    findings += differ('the exit status of --help', done.returncode, 0)
    return findings


def with_changed_file(*options):
    """Run the demo on one file that changes when it has been read."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'file')
        with open(path, 'wb') as file:
            file.write(os.urandom(4 << 20))
        with subprocess.Popen([demo, *SHORT, '--json', *options, '--files',
                               folder], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as run:
            said = ''
            for line in run.stderr:
                said += line
                if line.startswith('holding'):
                    with open(path, 'r+b') as file:
                        file.write(os.urandom(4 << 20))
            return run.stdout.read(), said, run.wait(100)


def refused():
    out, said, status = with_changed_file()
    findings = differ('the exit status', status, 1)
    if 'lost for good: source does not match' not in said or out:
        findings.append(f'it is not said why: {said}')
    return findings


def wrong():
    out, said, status = with_changed_file('--no-digests')
    findings = differ('the exit status', status, 1)
    result = json.loads(out)
    findings += differ('ok', result['ok'], False)
    findings += differ('taken', result['taken'], 50)
    if not result['wrong_bytes']:
        findings.append('wrong bytes were not seen')
    return findings


def short_example():
    done = finished(protect)
    return (differ('the exit status', done.returncode, 0) +
            differ('the output', done.stdout, 'all bytes are right\n'))


CASES = {
    'the demo says that all is well': smoke,
    'its table says what happened': table,
    'it refuses what it does not understand': usage,
    'a file that changed is refused by its digest': refused,
    'without digests the wrong bytes are seen': wrong,
    'the short example': short_example,
}
# a directory without files: whether pages can be lost is asked before that
with tempfile.TemporaryDirectory() as empty:
    able = finished(demo, '--backend', 'uffd', '--files', empty).stderr
for name, case in CASES.items():
    if 'cannot lose a page here' in able and case is not usage:
        tap.skip(name, able.strip())
    else:
        tap.case(name, case())
tap.end()
