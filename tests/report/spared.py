#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""What bezoar report does not write over: stores and records, by whatever name.

    spared.py BEZOAR STORE ROOT
"""
import os
import sqlite3
import subprocess

from common import BEZOAR, ENV, Place, Tap, bezoar, expect, found_by, line


def contents(folder):
    """{name: bytes, or where a link leads}"""
    found = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.islink(path):
            found[name] = os.readlink(path)
        elif os.path.isfile(path):
            with open(path, 'rb') as file:
                found[name] = file.read()
    return found


def spared():
    """No page takes the place of a store, of its files, of other records."""
    with Place([line()]) as place, Place([line()]) as other:
        folder = place.folder.name
        os.link(place.store, place.path('hard'))
        for link, to in (('soft', 'records.db'), ('softer', 'soft'),
                         ('lock', 'records.db.lock'), ('wal', f'{folder}/records.db-wal'),
                         ('up', folder)):
            os.symlink(to, place.path(link))
        db = sqlite3.connect(other.store)
        db.execute('PRAGMA journal_mode = WAL')
        db.close()
        with open(place.path('shop.rec'), 'wb') as file:
            file.write(b'\x8fbezrec\n' + bytes(376))
        for kind in ('absent', 'there'):
            if kind == 'there':
                for end in ('-wal', '-shm', '.lock'):
                    with open(place.store + end, 'wb'):
                        pass
                os.link(place.store + '.lock', place.path('hard.lock'))
            before = contents(folder), contents(other.folder.name)
            for store in (place.store, place.path('softer')):
                for out in ('records.db', 'hard', 'soft', 'softer', 'lock', 'wal',
                            '../x/records.db'.replace('x', os.path.basename(folder)),
                            'up/records.db', 'records.db-wal', 'records.db-shm',
                            'records.db.lock', 'up/records.db.lock', 'hard.lock',
                            'shop.rec', other.store):
                    if (kind, out) == ('absent', 'hard.lock'):
                        continue
                    r = bezoar('report', '-d', store, '-o', place.path(out))
                    yield from (f'{kind}, {out}: {w}' for w in expect(
                        r, 2, '', 'Nothing was written; --output'))
            yield from in_its_folder(place, kind)
            if before != (contents(folder), contents(other.folder.name)):
                yield f'{kind}: something was written over'
        # the daemon's lock is beside the name that it was given
        yield from expect(bezoar('report', '-d', place.path('soft'), '-o',
                                 place.path('soft.lock')), 2, '', "of the store's")
        yield from expect(bezoar('report', '-d', place.store, '-o',
                                 place.path('records.db.html')), 0, '', '')


def in_its_folder(place, kind):
    """By names without a folder; and what standard output is."""
    for store, out in (('records.db', 'records.db'), ('records.db', './records.db.lock'),
                       ('./records.db', 'records.db-wal')):
        r = bezoar('report', '-d', store, '-o', out, cwd=place.folder.name)
        yield from (f'{kind}, {out}: {w}' for w in expect(r, 2, '', 'Nothing was written'))
    with open(place.store, 'r+b') as file:
        for out in ('-', '/dev/stdout'):
            r = subprocess.run([BEZOAR, 'report', '-d', place.store, '-o', out], env=ENV,
                               check=False, stdout=file, stderr=subprocess.PIPE)
            if r.returncode != 2 or b'the store itself' not in r.stderr:
                yield f'{out}: {r.returncode}, {r.stderr}'


def main():
    tap = Tap()
    tap.case(spared.__name__, found_by(spared))
    tap.end()


main()
