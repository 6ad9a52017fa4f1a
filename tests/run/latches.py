#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""When a program is not started again, and what is remembered of it.

    latches.py PROGRAM VICTIM BEZOARD ROOT [WORD]
"""
import os
import re
import sqlite3
import subprocess

from runs import (BEZOARD, LATCHED, VICTIM, Place, expect, line, main, plain,
                  same, until)

NO_STORE = 'skip: without SQLite there is no daemon, and no store'

# step 2 of the daemon's schema, as far as it is read here
TABLES = '''
    CREATE TABLE IF NOT EXISTS kernel (number INTEGER PRIMARY KEY AUTOINCREMENT,
        taken INTEGER NOT NULL, boot_id BLOB NOT NULL, seq INTEGER NOT NULL,
        wall_ns INTEGER NOT NULL, kind TEXT NOT NULL, frame INTEGER NOT NULL,
        dimm TEXT NOT NULL, pid INTEGER NOT NULL, text BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS places (record INTEGER PRIMARY KEY,
        frame INTEGER NOT NULL, dimm TEXT NOT NULL);'''


def dies(*words):
    return (VICTIM, 'record', *words, 'bus')


def often():
    """N in T, then not until it is cleared."""
    with Place() as p:
        words = ('--restarts', '2', '--within', '1h', '--name', 'shop', '--',
                 *p.counted(*dies('0', '1', '129')))
        r = p.run(*words)
        yield from same('runs', p.count(), 3)
        yield from expect(r, LATCHED, 'died of lost memory 3 times within 3600 s, '
                          'and may be restarted 2 times')
        yield from expect(r, LATCHED, 'It is restarted: 2 of 2')
        r = p.run(*words)
        yield from same('runs', p.count(), 3)
        yield from expect(r, LATCHED, "shop is latched since .*bezoar clear "
                          f"--state '{re.escape(p.state)}' 'shop'")
        yield from expect(p.clear(), 0, '', 'shop\tlatched since .* 3 times')
        yield from expect(p.clear('--check', 'shop'), LATCHED, 'shop is latched')
        yield from expect(p.clear('--check', 'other'), 0, '', '')
        # no failure of ours is one of the service
        yield from expect(p.clear('--check', '--nonsense', 'shop'), 0, 'nonsense')
        yield from expect(p.clear('--check', 'x' * 256), 0, '1 to 255 bytes')
        yield from expect(p.clear('--check'), 0, 'which name')
        yield from expect(p.clear('other'), 1, 'nothing is remembered of other')
        yield from expect(p.run('--name', 'other', '--', 'true'), 0, '')
        yield from expect(p.clear('shop'), 0, '', '')
        yield from expect(p.clear(), 0, 'no death is remembered in ', '')
        p.run(*words)
        yield from same('runs', p.count(), 6)


def long_ago():
    """Deaths that are older than T do not count; none may be restarted with 0."""
    with Place() as p:
        p.run('--restarts', '0', '--name', 'x', '--', *dies('0', '1', '129'))
        state = p.read_state('x.json')
        state['latched'] = None
        for death in state['deaths']:
            death['boot_ns'] = max(0, death['boot_ns'] - 3600 * 10**9)
            death['boot_id'] = '0' * 32
            death['wall_ns'] -= 3600 * 10**9
        p.write_state('x.json', state)
        r = p.run('--name', 'x', '--restarts', '1', '--', *p.counted(*dies('0', '1', '129')))
        yield from same('runs', p.count(), 2)
        yield from expect(r, LATCHED, '2 times within 600 s')
        yield from same('deaths', len(p.read_state('x.json')['deaths']), 3)


def frame():
    """The same page frame after another boot."""
    with Place() as p:
        words = ('--name', 'x', '--restarts', '9', '--')
        p.run(*words, 'sh', '-c', f'test -e once && exit; >once; exec {VICTIM} '
              'record 0x1234 1 129 bus', cwd=p.folder)
        state = p.read_state('x.json')
        yield from same('frame', state['deaths'][0]['frame'], '0x1234')
        # of this boot: it is only counted
        os.unlink(p.at('once'))
        r = p.run(*words, 'sh', '-c', f'test -e once && exit; >once; exec {VICTIM} '
                  'record 0x1234 1 129 bus', cwd=p.folder)
        yield from expect(r, 0, 'restarted: 2 of 9')
        for death in state['deaths']:
            death['boot_id'] = 'ab' * 16
        p.write_state('x.json', state)
        r = p.run(*words, *p.counted(*dies('0x1235', '1', '129')))
        yield from same('runs', p.count(), 9)
        p.write_state('x.json', state)
        r = p.run(*words, *p.counted(*dies('0x1234', '1', '129')))
        yield from same('runs', p.count(), 10)
        yield from expect(r, LATCHED, 'page frame 0x1234 was lost in another boot')
        yield from same('reason', p.read_state('x.json')['latched']['reason'], 'frame')


def made_store(p, rows):
    db = sqlite3.connect(p.at('records.db'))
    db.executescript('CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;'
                     "INSERT INTO meta VALUES ('schema', 1);" + TABLES)
    db.executemany('INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, frame, '
                   'dimm, pid, text) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)', rows)
    db.commit()
    db.close()


def frame_in_store():
    """Nobody here has died of it, but the kernel has said so before."""
    if not os.path.exists(BEZOARD):
        yield NO_STORE
        return
    with Place() as p:
        made_store(p, [(b'\x01' * 16, 1, 1700000000 * 10**9, 'poison', 0x99, '', 0, b'')])
        r = p.run('--restarts', '9', '--', *dies('0x99', '1', '129'))
        yield from expect(r, LATCHED, r'frame 0x99 was lost in another boot, too '
                          r'\(2023-11-14T')


def module():
    """The same memory module once more: of the kernel's lines about the frame."""
    if not os.path.exists(BEZOARD):
        yield NO_STORE
        return
    with Place() as p:
        made_store(p, [(b'\x01' * 16, i, 1, 'corrected', f, d, 0, b'')
                       for i, f, d in ((1, 0x10, 'DIMM_A1'), (2, 0x11, 'DIMM_B1'),
                                       (3, 0x12, 'DIMM_A1'), (4, 0x13, '\033]x'))])
        script = ('n=$(wc -l <runs); case $n in 1) f=0x10;; 2) f=0x11;; 3) f=0x13;; '
                  f'*) f=0x12;; esac; exec {VICTIM} record $f 1 129 bus')
        r = p.run('--restarts', '9', '--name', 'x', '--',
                  *p.counted('sh', '-c', script), cwd=p.folder)
        yield from same('runs', p.count(), 4)
        yield from expect(r, LATCHED, 'memory module DIMM_A1 has cost it its life before')
        yield from plain(r)
        yield from same('modules', [d['dimm'] for d in p.read_state('x.json')['deaths']],
                        ['DIMM_A1', 'DIMM_B1', '\\x1b]x', 'DIMM_A1'])


def module_later():
    """Which module it was is known later only."""
    if not os.path.exists(BEZOARD):
        yield NO_STORE
        return
    with Place() as p:
        made_store(p, [])
        late = ('import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); '
                'db.executemany("INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, frame, '
                'dimm, pid, text) VALUES (1, \'\', ?, 1, \'corrected\', ?, \'B2\', 0, \'\')", '
                '[(1, 0x10), (2, 0x12)]); db.commit()')
        r = p.run('--restarts', '9', '--name', 'x', '--', *p.counted(
            'sh', '-c', f'test $(wc -l <runs) = 1 && exec {VICTIM} record 0x10 1 129 bus; '
            f'python3 -c "$0" records.db; exec {VICTIM} record 0x12 1 129 bus', late), cwd=p.folder)
        yield from same('runs', p.count(), 2)
        yield from expect(r, LATCHED, 'memory module B2 has cost it its life before')
        yield from same('modules', [d['dimm'] for d in p.read_state('x.json')['deaths']],
                        ['B2', 'B2'])


def by_the_kernel():
    """No record, but the kernel names the process; another of that number before it
    does not count."""
    if not os.path.exists(BEZOARD):
        yield NO_STORE
        return
    if os.stat('/proc/self/ns/pid').st_ino != 4026531836:
        yield 'skip: the numbers of processes are not those of the whole machine'
        return
    with Place() as p:
        boot = bytes.fromhex(open('/proc/sys/kernel/random/boot_id',
                                  encoding='ascii').read().strip().replace('-', ''))
        made_store(p, [])
        insert = ('import sqlite3, sys, time, os, signal; '
                  f'db = sqlite3.connect("{p.at("records.db")}"); '
                  'db.execute("INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, '
                  'frame, dimm, pid, text) VALUES (1, ?, ?, ?, ?, 5, \'\', ?, ?)", '
                  f'(bytes.fromhex("{boot.hex()}"), time.time_ns(), time.time_ns() - int(sys.argv[1]) * 10**9, sys.argv[2], os.getpid(), sys.argv[3])); '
                  'db.commit(); os.kill(os.getpid(), int(sys.argv[4]))')
        sent = 'Memory failure: 0x5: Sending SIGBUS to x:1 due to hardware memory corruption'
        kills = 'Memory failure: 0x5: Killing x:1 due to hardware memory corruption'
        r = p.run('--restarts', '0', '--name', 'x', '--', 'python3', '-c', insert, '0',
                  'killed', sent, '7')
        yield from expect(r, LATCHED, 'page frame 0x5, the kernel says so')
        r = p.run('--restarts', '0', '--name', 'k', '--', 'python3', '-c', insert, '0',
                  'killed', kills, '9')
        yield from expect(r, LATCHED, 'page frame 0x5, the kernel says so')
        # of before it began, or long ago; of somebody else's SIGKILL; no kill
        for words in (('10', 'killed', sent, '7'), ('0', 'killed', sent, '9'),
                      ('0', 'handled', sent, '7'), ('0', 'poison', kills, '9')):
            r = p.run('--restarts', '0', '--name', 'y', '--', 'python3', '-c', insert, *words)
            yield from expect(r, 128 + int(words[3]))


def by_the_daemon():
    """Records go on to the daemon in the name of who has sent them, and it says where
    they were."""
    if os.getuid():
        yield 'skip: only root may send in the name of others'
        return
    if not os.path.exists(BEZOARD):
        yield NO_STORE
        return
    with Place() as p, subprocess.Popen(
            [BEZOARD, '--socket', p.at('socket'), '--store', p.at('records.db')],
            stderr=subprocess.PIPE) as daemon:
        until(lambda: os.path.exists(p.at('socket')), 'the daemon listens')
        db = sqlite3.connect(p.at('records.db'), timeout=20)
        db.executescript(TABLES + 'CREATE TRIGGER knows AFTER INSERT ON records BEGIN '
                         "INSERT INTO places VALUES (NEW.number, 0x4242, 'slot 3'); END;")
        r = p.run('--restarts', '9', '--', *p.counted(*dies('0', '1', '129')))
        yield from same('runs', p.count(), 2)
        yield from expect(r, LATCHED, 'page frame 0x4242, memory module slot 3')
        rows = list(db.execute('SELECT pid, uid FROM records'))
        pids = re.findall(rb'process (\d+)\)', r.stderr)
        yield from same('in the store', rows, [(int(pid), 0) for pid in pids])
        yield from same('forged', list(db.execute('SELECT count(*) FROM apart')), [(0,)])
        db.close()
        daemon.terminate()
        daemon.communicate()


def kept():
    """Who may not send in the name of others keeps them in a file, which is bounded."""
    with Place() as p:
        p.run('--restarts', '1', '--name', 'x', '--', *dies('0x1', '1', '129'))
        file = os.path.join(p.state, 'x.records')
        yield from same('bytes', os.path.getsize(file), 768)
        r = p.call([p.words('log')[0], 'log', '--json', file])
        yield from same('records', len(r.stdout.splitlines()), 2)
        with open(file, 'ab') as more:
            more.truncate(1 << 20)
        p.clear('x')
        p.run('--restarts', '0', '--name', 'x', '--', *dies('0x1', '1', '129'))
        yield from same('bytes', os.path.getsize(file), 384)
        yield from same('old', os.path.getsize(file + '.old'), 1 << 20)


def damaged():
    """A state that cannot be understood is kept, and said; a newer one not touched."""
    good = {'version': 1, 'name': 'x', 'latched': None, 'deaths': []}
    death = {'when': '', 'wall_ns': 1, 'boot_ns': 1, 'boot_id': 'ab' * 16, 'pid': 1,
             'by': 'record', 'frame': None, 'dimm': '', 'digest': '0'}
    for bad in ('', '{', '[]', '"x"', '{"version":1}', 'x' * 70000, '{"version":1,' * 9,
                {**good, 'version': 0}, {**good, 'deaths': 3},
                {**good, 'latched': {'reason': 'mood', 'why': '', 'wall_ns': 1}},
                {**good, 'latched': {'reason': 'dimm', 'why': '\033', 'wall_ns': 1}},
                {**good, 'deaths': [{**death, 'boot_id': 'zz' * 16}]},
                {**good, 'deaths': [{**death, 'wall_ns': -1}]},
                {**good, 'deaths': [{**death, 'dimm': 'x' * 200}]},
                {**good, 'deaths': [{**death, 'frame': 7}]},
                {**good, 'deaths': [{**death, 'pid': 2**40}]}):
        with Place() as p:
            p.write_state('x.json', bad)
            # who only looks changes nothing, and stops nobody
            yield from expect(p.clear('--check', 'x'), 0, r'x\.json cannot be used')
            yield from same('files', os.listdir(p.state), ['x.json'])
            yield from expect(p.run('--name', 'x', '--', 'true'), 0, r'x\.json CANNOT BE '
                              r'USED: .*kept as x\.json\.aside-')
            yield from expect(p.run('--name', 'x', '--', 'true'), 0, '')
            yield from same('files', sum('aside' in f for f in os.listdir(p.state)), 1)
    with Place() as p:
        p.write_state('x.json', {**good, 'deaths': [death] * 100})
        yield from expect(p.run('--name', 'x', '--', 'true'), 0, '')
        p.write_state('x.json', {**good, 'version': 2})
        yield from expect(p.run('--name', 'x', '--', *p.counted('true')), 125, 'newer version')
        yield from same('runs', p.count(), 0)
        yield from same('files', sorted(os.listdir(p.state)), ['.lock', 'x.json', 'x.lock'])


def names():
    """Names can hold any byte; files, terminals and JSON stay well."""
    for name in ('a b', '../../x', '.hidden', '\033]0;x\a', 'l\nine', '"', '\\', '%41',
                 'x' * 255, '\1' * 255, 'it\'s', '\udcff\udcfe', '-x', 'shop@1.service'):
        with Place() as p:
            r = p.run(f'--name={name}', '--restarts', '0', '--', *dies('0', '1', '129'))
            yield from expect(r, LATCHED, 'is latched')
            yield from plain(r)
            files = os.listdir(p.state)
            yield from same('folder', os.listdir(p.folder), ['state'])
            yield from same('hidden', [f for f in files if f[0] == '.'], ['.lock'])
            r = p.clear()
            yield from expect(r, 0, '', 'latched since')
            yield from plain(r)
            # what is said is to be copied to a shell
            said = p.run(f'--name={name}', '--', 'true')
            words = said.stderr.split(b'bezoar clear ')[1].strip()
            shell = p.call(['bash', '-c', b'printf %s\\\\n ' + words])
            dashes = b'--\n' if name[0] == '-' else b''
            yield from same('words', shell.stdout, b'--state\n' + os.fsencode(p.state) +
                            b'\n' + dashes + os.fsencode(name) + b'\n')
            yield from same('lines', len(r.stdout.splitlines()), 1)
            yield from expect(p.clear('--', name), 0, '')
            yield from expect(p.clear(), 0, 'no death is remembered in ', '')


def two():
    """One supervisor for a name; another name is free."""
    with Place() as p:
        first = p.begin('--name', 'x', '--', 'sh', '-c', 'echo up; exec sleep 60')
        line(first)
        yield from expect(p.run('--name', 'x', '--', *p.counted('true')), 125,
                          'another bezoar run has the name x')
        yield from same('runs', p.count(), 0)
        yield from expect(p.run('--name', 'y', '--', 'true'), 0, '')
        first.terminate()
        first.wait()
        yield from same('status', first.returncode, 143)
        yield from expect(p.run('--name', 'x', '--', 'true'), 0, '')


def cleared_meanwhile():
    """What is cleared while it runs is forgotten by who runs it, too."""
    with Place() as p:
        one = ' '.join(p.words('clear', 'x'))
        r = p.run('--name', 'x', '--restarts', '1', '--', *p.counted(
            'sh', '-c', f'n=$(wc -l <runs); test $n -gt 4 && exit 5; test $n = 1 || {one}; '
            f'exec {VICTIM} record 0 1 129 bus'), cwd=p.folder)
        yield from expect(r, 5)
        yield from same('runs', p.count(), 5)


def no_room():
    """Where nothing can be remembered the program runs, and is restarted."""
    with Place() as p:
        words = [w for w in p.run_words('--restarts', '1', '--', *p.counted(
            *dies('0', '1', '129'))) if w not in ('--state', p.state)]
        p.write_state('file', '')
        env = {'HOME': '/nowhere', 'XDG_STATE_HOME': os.path.join(p.state, 'file')}
        if os.getuid():
            r = p.call(words, env=env)
            yield from expect(r, LATCHED, 'remembered only as long as this program runs')
            yield from same('runs', p.count(), 2)
        p.state = os.path.join(p.state, 'file')
        yield from expect(p.run('--', 'true'), 125, 'Not a directory')


def no_folder():
    """Where nobody has made the folder it is said, and which one that is."""
    with Place() as p:
        said = fr'nothing is remembered of shop: there is no folder {re.escape(p.state)}\. .*--state'
        yield from expect(p.clear('shop'), 1, said, '')
        yield from expect(p.clear(), 0, f'there is no folder {re.escape(p.state)}', '')
        words = [p.words('clear')[0], 'clear']
        env = {'HOME': p.folder, 'XDG_STATE_HOME': ''}
        own = os.path.join(p.folder, '.local/state/bezoar')
        user = {}
        if not os.getuid():
            # root's is the whole machine's
            user = {'user': 65534}
            os.chmod(p.folder, 0o755)
            try:
                bad = p.call([*words, '--help'], **user).returncode
            except PermissionError:
                bad = 1
            if bad:
                yield 'skip: another user than root may not run this program'
                return
        yield from expect(p.call([*words, 'shop'], env=env, **user), 1,
                          f'there is no folder {re.escape(own)}', '')
        yield from expect(p.call(words, env=env, **user), 0,
                          f'there is no folder {re.escape(own)}', '')
        yield from expect(p.call(words, env={**env, 'HOME': ''}, **user), 0,
                          'no folder of one\'s own', '')
        yield from expect(p.call([*words, '--check', 'shop'], env=env, **user), 0, '', '')
        yield from expect(p.call([*words, 'shop'], env={**env, 'HOME': ''}, **user), 1,
                          'no folder of one\'s own', '')
        yield from same('made', os.listdir(p.folder), [])


def nowhere():
    """What is remembered nowhere cannot be cleared, and nobody is told to."""
    with Place() as p:
        user = {}
        if not os.getuid():
            # root's is the whole machine's
            user = {'user': 65534}
            os.chmod(p.folder, 0o755)
            try:
                bad = p.call([p.words('clear')[0], 'clear', '--help'], **user).returncode
            except PermissionError:
                bad = 1
            if bad:
                yield 'skip: another user than root may not run this program'
                return
        words = [w for w in p.run_words('--restarts', '1', '--name', 'shop', '--',
                                        *dies('0', '1', '129')) if w not in ('--state', p.state)]
        r = p.call(words, env={'HOME': '', 'XDG_STATE_HOME': ''}, **user)
        yield from expect(r, LATCHED, 'remembered only as long as this program runs')
        yield from expect(r, LATCHED, 'shop is latched since .* is not started: it has died of lost '
                          r'memory 2 times within 600 s, and may be restarted 1 time')
        if b'clear' in r.stderr:
            yield f'{r.stderr}'


main((often, long_ago, frame, frame_in_store, module, module_later, by_the_kernel, by_the_daemon,
      kept, damaged, names, two, cleared_meanwhile, no_room,
      no_folder, nowhere))
