#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does tinyvm's guest live on, and is it seen if it does not?

check.py TINYVM. The page table's mark is all that is used here.
"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../tests/abi'))
from tap import Tap  # noqa: E402

tinyvm, = sys.argv[1:]
tap = Tap()
CANNOT = 77
PATIENCE = int(os.environ.get('TAP_PATIENCE') or 1)
SHORT = ['--seed', '1', '--poison', '60', '--seconds', str(60 * PATIENCE)]


def finished(*args):
    return subprocess.run([tinyvm, *args], capture_output=True, text=True,
                          timeout=100 * PATIENCE)


def differ(what, is_, must):
    return [] if is_ == must else [f'{what} is {is_!r}, must be {must!r}']


def run(*args):
    """What a run has found, and what is wrong with any."""
    done = finished(*SHORT, *args, '--json')
    findings = differ('the exit status', done.returncode, 0)
    if done.returncode not in (0, 1):
        return None, findings + [done.stderr]
    result = json.loads(done.stdout)
    if findings:
        findings += [done.stderr, *result['findings']]
    for name, must in {'ok': True, 'asked': 60, 'lost': 60, 'told': 60,
                       'told_good': 0, 'out': 60, 'listed': 60,
                       'read_refused': 60, 'backend': 'uffd',
                       'findings': []}.items():
        findings += differ(name, result[name], must)
    for name, must in {'wrong_bytes': 0, 'nonsense': 0, 'dropped': 60}.items():
        findings += differ(name, result['guest'][name], must)
    return result, findings


def at_least(result, **least):
    return [f'{name}: {result["guest"][name]}, of which some must be'
            for name, n in least.items() if result['guest'][name] < n]


def intel():
    result, findings = run('--vendor', 'intel')
    if not result:
        return findings
    guest = result['guest']
    findings += differ('the vendor', result['vendor'], 'intel')
    # each goes to the other CPU, too, as long as that one runs
    told = guest['srar'] + guest['srao']
    findings += differ('machine checks', guest['machine_checks'],
                       told + guest['broadcast'])
    return findings + at_least(result, srar=5, srao=1, repaired=5, killed=5,
                               steps=5, broadcast=told * 3 // 4)


def amd():
    result, findings = run('--vendor', 'amd')
    if not result:
        return findings
    guest = result['guest']
    findings += differ('the vendor', result['vendor'], 'amd')
    findings += differ('broadcasts', guest['broadcast'], 0)
    findings += differ('signalled, and not required', guest['srao'], 0)
    findings += differ('machine checks', guest['machine_checks'], guest['srar'])
    return findings + at_least(result, srar=5, deferred=1, repaired=5, killed=5,
                               steps=5)


def one():
    result, findings = run('--vcpus', '1', '--vendor', 'intel')
    if not result:
        return findings
    findings += differ('broadcasts', result['guest']['broadcast'], 0)
    return findings + at_least(result, srar=5, srao=1, repaired=5, killed=5)


def many():
    result, findings = run('--vcpus', '4', '--memory', '16')
    return findings + at_least(result, srar=5) if result else findings


def table():
    done = finished(*SHORT)
    some = r'[1-9]\d*'
    findings = differ('the exit status', done.returncode, 0)
    for line in (r'pages +60 of 60, in \d+\.\d s',
                 r'of these the guest was told +60',
                 f'machine checks +{some}', f'action required +{some}',
                 f'pages made anew for their task +{some}',
                 f'tasks killed +{some}', 'wrong bytes +0', 'nonsense +0',
                 f'delivered: action required +{some}', 'all is well'):
        if not re.search(f'^ *{line}$', done.stdout, re.M):
            findings.append(f'no line is like "{line}" in:\n{done.stdout}')
    return findings


def broken_off():
    """More than can be lost in that time: said, counted, and no success."""
    done = finished('--poison', '30000', '--memory', '256', '--seconds', '1',
                    '--json')
    findings = differ('the exit status', done.returncode, 1)
    result = json.loads(done.stdout)
    findings += differ('ok', result['ok'], False)
    if 'broken off: out of time' not in result['findings']:
        findings.append(f'it is not said why: {result["findings"]}')
    for name, must in {'wrong_bytes': 0, 'nonsense': 0}.items():
        findings += differ(name, result['guest'][name], must)
    return findings


BAD = [['--poison', '0'], ['--poison', 'x'], ['--poison'], ['--vcpus', '0'],
       ['--vcpus', '9'], ['--vendor', 'via'], ['--memory', '7'],
       ['--memory', '257'], ['--memory', '8', '--poison', '2000'],
       ['--seconds', '-1'], ['--seed', ''], ['--json=yes'], ['--nonsense'],
       ['nonsense']]


NO_KERNEL = {'/no/such/kernel': 'No such file', '/': 'Is a directory', '/dev/null': 'is empty'}


def usage():
    findings = []
    for args in BAD:
        done = finished(*args)
        findings += differ(f'the exit status of {args}', done.returncode, 2)
        if 'tinyvm' not in done.stderr or done.stdout:
            findings.append(f'{args} is not answered on stderr')
    for kernel, why in NO_KERNEL.items():
        done = finished('--linux', kernel, '--init', kernel)
        if able.returncode != CANNOT:
            findings += differ(f'the exit status of {kernel}', done.returncode, 1)
            if f'{kernel}: {why}' not in done.stderr:
                findings.append(f'{kernel} is said to be: {done.stderr.strip()}')
    done = finished('--help')
    findings += differ('the exit status of --help', done.returncode, 0)
    return findings


CASES = {
    'it refuses what it does not understand': usage,
    'Intel: both CPUs take part in each, and go on': intel,
    'AMD: who meets it is told, the rest is found': amd,
    'one CPU': one,
    'four CPUs in little memory': many,
    'its table says what happened': table,
    'a run that is broken off is no success': broken_off,
}
able = finished(*SHORT, '--poison', '1', '--vcpus', '1')
for name, case in CASES.items():
    if able.returncode == CANNOT and case is not usage:
        tap.skip(name, able.stderr.strip())
    else:
        tap.case(name, case())
tap.end()
