#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""bezoar log and explain of a store: what was kept apart, one record whole; and
colour, and other locales, in which nothing is different.

    kept.py BEZOAR STORE ROOT
"""
import json
import os
import pty
import re
import subprocess
import tempfile

from common import (BEZOAR, BILLION, ENV, T0, Place, Tap, bezoar, expect,
                    found_by, line)


def objects(result):
    return [json.loads(l) for l in result.stdout.splitlines()]


def some():
    return Place([line(outcome=129, why=67), line(outcome=1, pid=5),
                  line(kind='forged', comm=b'liar', pid=66),
                  line(kind='other', pid=67)])


def apart():
    with some() as place:
        r = bezoar('log', '--apart', place.store)
        yield from expect(r, 0, r'kept apart as 1: forged, sent by user 1000, '
                          r'process 66\n  digest    [0-9a-f]{16}, 384 bytes\n'
                          r'  it says:\n2026-11-18T11:06:40.000000000Z  '
                          r'replaced \(O1\)\n', '')
        yield from expect(r, 0, r'kept apart as 2: version, .* 67\n  digest .*\n'
                          r'  version   2, which this program cannot read\n$')
        first, second = objects(bezoar('log', '--apart', '-j', place.store))
        if (first['apart']['why'], first['record']['comm']) != ('forged',
                                                                'liar'):
            yield f'{first}'
        if (second['apart']['version'], second['record']) != (2, None):
            yield f'{second}'
        if first['apart']['digest'] != first['record']['digest']:
            yield f'{first}'
        for words, numbers in ((('--pid', '66'), [1]), (('--pid', '67'), [2]),
                               (('--comm', 'liar'), [1]), (('-N', '2'), [2]),
                               (('--digest', second['apart']['digest']), [2]),
                               (('--since', '2026-11-18T11:07'), []),
                               (('--since', '2026-11-18T11:06'), [1, 2])):
            got = [o['apart']['number'] for o in objects(
                bezoar('log', '--apart', '-j', place.store, *words))]
            if got != numbers:
                yield f'{words}: {got}'
        # and nothing of it is anybody's record
        if len(objects(bezoar('log', '-j', place.store))) != 2:
            yield 'it is shown without being asked for'


def one():
    """By its row or by its digest, in a store and in a file."""
    with some() as place:
        records = objects(bezoar('log', '-j', place.store))
        for r in records:
            number, digest = r['stored']['number'], r['digest']
            for words in (('log', '-N', str(number), '-j', place.store),
                          ('log', '-D', digest, '-j', place.store)):
                if objects(bezoar(*words)) != [r]:
                    yield f'{words}'
            for word in (f'R{number}', f'r{number}', digest, digest.upper()):
                got = objects(bezoar('explain', '-j', word, place.store))
                codes = [f'O{r["outcome"]["number"]}',
                         *([f'O{r["why"]["number"]}'] if r['why'] else []),
                         f'C{r["cause"]["number"]}']
                if got[0] != r or [e['code'] for e in got[1:]] != codes:
                    yield f'{word}: {got}'
        yield from expect(bezoar('explain', 'R1', place.store), 0,
                          r'default \(O129\)(.|\n)*O129  BEZ(.|\n)*O67  BEZ'
                          r'(.|\n)*C1  BEZ', '')
        for word in ('R3', 'R99', '0123456789abcdef'):
            yield from expect(bezoar('explain', word, place.store), 1, '',
                              'no such record')
        yield from expect(bezoar('explain', 'O1', place.store), 2, '', 'row')
        yield from expect(bezoar('explain', 'R1', place.path('x')), 2, '',
                          'No such file')
        for word in ('R', 'R1x', 'R0', 'R-1', '99999999999999999999',
                     'R99999999999999999999'):
            yield from expect(bezoar('explain', word), 1, '', 'no such code')
        for words in (('-N', '0'), ('-N', 'x'), ('-N', '9223372036854775808')):
            yield from expect(bezoar('log', *words, place.store), 2, '',
                              'no such number')


def in_a_file():
    """Files have digests, and neither rows nor what was kept apart."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
    golden = os.path.join(root, 'tool', 'corpus', 'golden.rec')
    yield from expect(bezoar('explain', 'c7825a335b08d034', golden), 0,
                      r'O129  BEZ(.|\n)*C8  BEZ', '')
    with open(golden, 'rb') as file:
        yield from expect(bezoar('explain', 'c7825a335b08d034', '-',
                                 stdin=file), 0, 'O129  BEZ', '')
    for words in (('log', '--apart'), ('log', '-N', '1'), ('explain', 'R1')):
        yield from expect(bezoar(*words, golden), 2, '', 'no store')


# ------------------------------------------------------------------ colour

def on_terminal(*words, **env):
    """What comes out where standard output is a terminal."""
    mine, its = pty.openpty()
    with subprocess.Popen([BEZOAR, *words], env={**ENV, **env}, stdout=its):
        os.close(its)
        out = b''
        try:
            while more := os.read(mine, 65536):
                out += more
        except OSError:                 # that is how it ends
            pass
        os.close(mine)
    return out.replace(b'\r\n', b'\n')


def colour():
    """Of the outcome alone, where it is wanted, and it is a word all the same."""
    with some() as place:
        log = ('log', place.store)
        plain = bezoar(*log, env={'TERM': 'xterm'}).stdout
        if b'\x1b' in plain:
            yield 'there is colour in a pipe'
        coloured = on_terminal(*log, TERM='xterm')
        if re.findall(rb'\x1b\[3(\d)m([^\x1b\n]*)\x1b\[0m', coloured) != [
                (b'1', b'default (O129)'), (b'2', b'replaced (O1)')]:
            yield f'{coloured}'
        if re.sub(rb'\x1b\[\d+m', b'', coloured) != plain:
            yield 'without its colours it is not what is in a pipe'
        for words, env in (((), {'TERM': 'xterm', 'NO_COLOR': '1'}),
                           ((), {'TERM': 'dumb'}), ((), {}),
                           (('--color=never',), {'TERM': 'xterm'}),
                           (('--json',), {'TERM': 'xterm'})):
            if b'\x1b' in on_terminal(*log, *words, **env):
                yield f'colour with {words} {env}'
        if b'\x1b' not in on_terminal(*log, TERM='xterm', NO_COLOR=''):
            yield 'an empty NO_COLOR counts'
        always = bezoar(*log, '--color', env={'NO_COLOR': '1'}).stdout
        if always != coloured:
            yield '--color does not overrule'
        yield from expect(bezoar(*log, '--color=red'), 2, '', 'auto, always')


# ------------------------------------------------------------------ locales

def said(place, env):
    """All forms of output; the page but for when it was made."""
    for words in (('log', place.store), ('log', '-j', place.store),
                  ('log', '--apart', place.store), ('explain', 'R1', place.store),
                  ('explain', 'source_digest'), ('explain', 'o67'),
                  ('log', '-o', 'bez_outcome_default', place.store),
                  ('log', '--since', '2026-11-18T11:06', place.store),
                  ('report', '--store', place.store, '-o', '-')):
        r = bezoar(*words, env=env)
        yield (words, r.returncode, re.sub(rb'Made by .*', b'', r.stdout),
               r.stderr)


def turkish(folder):
    """A locale with commas in numbers, and an i of its own; NULL: why not."""
    try:
        r = subprocess.run(['localedef', '--no-archive', '-i', 'tr_TR', '-f',
                            'UTF-8', os.path.join(folder, 'tr_TR.UTF-8')],
                           check=False, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    except FileNotFoundError:
        return None, 'localedef is not installed'
    env = {'LC_ALL': 'tr_TR.UTF-8', 'LOCPATH': folder, 'LANGUAGE': 'tr'}
    point = subprocess.run(['locale', 'decimal_point'], env={**ENV, **env},
                           check=False, stdout=subprocess.PIPE).stdout
    if point != b',\n':
        return None, f'no tr_TR.UTF-8 (package locales): {r.stdout[:200]}'
    return env, None


def locales(env):
    # 1.5 ms, so that there is a fraction to be printed
    with Place([line(outcome=129, why=67), line(took=1500000),
                line(wall=T0 + BILLION // 2)]) as place:
        for a, b in zip(said(place, {}), said(place, env)):
            if a != b:
                yield f'{a}, and in Turkish {b}'
            if a[1]:
                yield f'{a}'


def main():
    tap = Tap()
    for check in (apart, one, in_a_file, colour):
        tap.case(check.__name__, found_by(check))
    with tempfile.TemporaryDirectory() as folder:
        env, why = turkish(folder)
        if why:
            tap.skip('locales', why)
        else:
            tap.case('locales', found_by(locales, env))
    tap.end()


main()
