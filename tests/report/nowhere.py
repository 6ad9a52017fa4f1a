#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Standard output that takes nothing: the reason is said, the right one, and once.

    nowhere.py BEZOAR STORE ROOT
"""
import sqlite3
import subprocess

from common import BEZOAR, BILLION, ENV, T0, Place, Tap, found_by, line

REASON = b'bezoar: standard output: No space left on device\n'


def full(words):
    with open('/dev/full', 'wb') as out:
        return subprocess.run([BEZOAR, *words], env=ENV, check=False, stdout=out,
                              stderr=subprocess.PIPE)


def once(words):
    r = full(words)
    if r.returncode != 2 or r.stderr != REASON:
        yield f'{words}: {r.returncode}, {r.stderr}'


def of_a_store():
    """As the daemon has it, of which SQLite has more to close than of others."""
    for count in (1, 4, 500):
        with Place([line(wall=T0 + i * BILLION) for i in range(count)] +
                   [line(kind='forged')]) as place:
            place.change("INSERT INTO counts VALUES ('records', 1)")
            db = sqlite3.connect(place.store)
            db.execute('PRAGMA journal_mode = WAL')
            db.close()
            for words in (('log',), ('log', '-j'), ('log', '-n'), ('log', '-nj'),
                          ('log', '-a'), ('log', '-aj'), ('log', '-f'), ('log', '-fj'),
                          ('explain', 'R1'), ('explain', '-j', 'R1'),
                          ('report', '-o', '-', '-d'), ('report', '-o', '/dev/stdout', '-d')):
                yield from once((*words, place.store))


def of_others():
    for words in (('explain',), ('explain', '-j'), ('explain', 'O1'), ('check', '--deadline', '60'),
                  ('check', '-j', '--deadline', '60'), ('unit', 'shop.service')):
        yield from once(words)


def main():
    tap = Tap()
    for check in (of_a_store, of_others):
        tap.case(check.__name__, found_by(check))
    tap.end()


main()
