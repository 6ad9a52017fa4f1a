#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""Whom bezoar run hears: its own user, and what comes of it, whatever user that has
become; nobody else. And what one that was killed has left behind.

    users.py PROGRAM VICTIM BEZOARD ROOT [WORD]
"""
import fcntl
import os
import random
import shutil
import socket
import string

from runs import LATCHED, VICTIM, Place, expect, line, main, same, until

NOBODY = 65534
POISON = ('record', '0', '1', '129')
NOT_ROOT = 'skip: only root can become another user'


def becomes():
    """Begun by root, it becomes another user before bez_start(): its record is heard."""
    if os.getuid():
        yield NOT_ROOT
        return
    for i, forks in enumerate(((), ('forks',))):
        with Place() as p:
            r = p.run('--name', 'x', '--restarts', '1', '--', *p.counted(
                VICTIM, *forks, 'becomes', str(NOBODY), 'inject', 'kin'))
            yield from same('runs', p.count(), 2)
            yield from expect(r, LATCHED, 'died of lost memory: 0x[0-9a-f]+, region "the heart", '
                              '.*its record says so')
            yield from same('bytes', os.path.getsize(os.path.join(p.state, 'x.records')) % 384, 0)
            # in words of its own, and as it is acknowledged
            r = p.run('--name', 'y', '--restarts', '0', '--', VICTIM, *forks, 'becomes',
                      str(NOBODY - i), *POISON, 'bus')
            yield from expect(r, LATCHED, 'died of lost memory')


def waited_for():
    """An orphan of another user has ended before anybody looks: it is heard of, and waited
    for then."""
    if os.getuid():
        yield NOT_ROOT
        return
    script = ('kill -STOP $PPID; pid=$("$@"); '
              'until grep -qs "^State:.Z" /proc/$pid/status; do sleep 0.01; done; '
              'kill -CONT $PPID; while test -e /proc/$pid; do sleep 0.01; done; exit 135')
    with Place() as p:
        r = p.run('--restarts', '0', '--', 'sh', '-c', script, 'sh', VICTIM, 'orphan', 'becomes',
                  str(NOBODY), *POISON, 'bus', env={'VICTIM_HURRIES': '1'})
        yield from expect(r, LATCHED, 'died of lost memory')


def tells_bus(p, say):
    """A program that is to end by SIGBUS, and has no record; say(socket) before that."""
    it = p.begin('--name', 'x', '--restarts', '0', '--', 'sh', '-c',
                 'echo $BEZOAR_SOCKET; read x; kill -BUS $$', stdin=-1)
    path = line(it).decode().strip()
    said = say(path)
    it.stdin.write(b'\n')
    it.stdin.close()
    it.wait()
    return said, it


def strangers():
    """Who is another user and none of its own is not heard, even if he knows where."""
    def say(path):
        return p.call([VICTIM, *become, *POISON, 'exit:0'], env={'BEZOAR_SOCKET': path})
    become = () if os.getuid() else ('becomes', str(NOBODY))
    with Place() as p:
        said, it = tells_bus(p, say)
        file = os.path.join(p.state, 'x.records')
        if become:
            yield from expect(said, 99, 'no acknowledgement|send')
            yield from same('status', it.returncode, 135)
            yield from same('records', os.path.exists(file), False)
        else:
            # this user is: he could as well have done all of it himself
            yield from expect(said, 0)
            yield from same('status', it.returncode, LATCHED)


def hidden():
    """The socket of root is found by nobody who was not told; that of others by no other."""
    def say(path):
        folder = os.path.dirname(path)
        yield from same('mode', oct(os.stat(folder).st_mode & 0o777),
                        oct(0o700 if os.getuid() else 0o711))
        with open('/proc/net/unix', encoding='utf-8', errors='replace') as f:
            names = f.read()
        yield from same('known', folder in names, True)
        if os.getuid():
            return
        yield from same('told', path in names, False)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            os.listdir(folder)
            yield f'{folder} can be listed'
        except PermissionError:
            pass
        finally:
            os.seteuid(0)
            os.setegid(0)
    with Place() as p:
        found, it = tells_bus(p, lambda path: list(say(path)))
        yield from found
        yield from same('status', it.returncode, 135)


def ours():
    """Where this user's folders are, and one that looks like them."""
    letters = string.ascii_letters + string.digits
    return '/tmp/bezoar-run-' + ''.join(random.choices(letters, k=6))


def make(folder, mode=0o700, lock=True):
    """As one that was killed has left it. Returns a descriptor of the lock, which is free."""
    os.mkdir(folder, mode)
    os.chmod(folder, mode)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.bind(folder + '/socket')
    if not lock:
        return -1
    return os.open(folder + '/lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def begins(p):
    """The next one, which tidies up. So may those of other tests just now, and one leaves to
    another what that has begun with."""
    if p.run('--name', 'c', '--', 'true').returncode:
        raise AssertionError('it has not begun')


def killed():
    """What one that was killed has left goes when the next begins, of whatever name; not
    that of one that lives."""
    with Place() as p:
        its, folders = [], []
        for name in 'ab':
            it = p.begin('--name', name, '--restarts', '0', '--', 'sh', '-c',
                         'echo $BEZOAR_SOCKET; read x; exec "$@"', 'sh', VICTIM, *POISON, 'bus',
                         stdin=-1)
            its.append(it)
            folders.append(os.path.dirname(line(it).decode().strip()))
        its[0].kill()
        its[0].wait()
        its[0].stdin.close()
        until(lambda: begins(p) or not os.path.exists(folders[0]), 'the first is gone')
        yield from same('the other is there', os.path.exists(folders[1]), True)
        # the other one still hears
        it.stdin.write(b'\n')
        it.stdin.close()
        yield from same('status', it.wait(), LATCHED)
        yield from same('left', os.path.exists(folders[1]), False)


def survives():
    """What one that was killed has started, and has lived on, has no second one beside it."""
    script = 'echo $$; read x; echo over'
    for becomes_another in ((), ('becomes', str(NOBODY))) if not os.getuid() else ((),):
        lives_on = () if becomes_another else ('--live-on',)
        with Place() as p:
            it = p.begin('--name', 'x', *lives_on, '--', *(
                [VICTIM, *becomes_another, 'runs'] if becomes_another else []),
                'sh', '-c', script, stdin=-1)
            pid = int(line(it))
            it.kill()
            it.wait()
            r = p.run('--name', 'x', '--', *p.counted('true'))
            yield from expect(r, 125, fr'process {pid}, which a bezoar run of x had started .*'
                              fr'still runs: end it \(kill {pid}\)', '')
            yield from same('runs', p.count(), 0)
            yield from expect(p.run('--name', 'y', '--', 'true'), 0, '')
            it.stdin.write(b'\n')
            yield from same('last', line(it), b'over\n')
            it.stdin.close()
            until(lambda: not os.path.exists(f'/proc/{pid}'), 'it is gone')
            yield from expect(p.run('--name', 'x', '--', 'true'), 0, '')
            # of one that has ended nothing is left, whoever has its number now
            with open(os.path.join(p.state, 'x.lock'), encoding='ascii') as f:
                yield from same('note', f.read(), '')


def survives_as_a_thread():
    """Its first thread has ended, and it has not."""
    with Place() as p:
        it = p.begin('--name', 'x', '--live-on', '--', VICTIM, 'threads', 'sh', '-c', 'read x',
                     stdin=-1)
        pid = int(line(it))
        state = lambda: open(f'/proc/{pid}/stat', encoding='ascii').read().split(') ')[1][0]
        until(lambda: state() == 'Z', 'its first thread has ended')
        it.kill()
        it.wait()
        yield from expect(p.run('--name', 'x', '--', *p.counted('true')), 125, f'process {pid}, ')
        yield from same('runs', p.count(), 0)
        it.stdin.close()


def tidied():
    """A lock that is held says that one lives, and nothing else does; what is not ours, or
    not quite so, stays."""
    with Place() as p:
        held, fresh = ours(), ours()
        fd = make(p.at('made'))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.rename(p.at('made'), held)
            begins(p)
            yield from same('held', sorted(os.listdir(held)), ['lock', 'socket'])
            os.mkdir(fresh, 0o711)
        finally:
            os.close(fd)
        until(lambda: begins(p) or not (os.path.exists(held) or os.path.exists(fresh)),
              'both are gone')
        for what in ('mode', 'link', 'more', 'no lock', *(() if os.getuid() else ('user',))):
            yield from stays(p, what)


def stays(p, what):
    place, folder, want = ours(), p.at('made'), ['lock', 'socket']
    fd = make(folder, 0o755 if what == 'mode' else 0o700, what != 'no lock')
    if fd >= 0:
        os.close(fd)
    if what == 'user':
        os.chown(folder, NOBODY, NOBODY)
    elif what == 'more':
        want = ['more']
        with open(folder + '/more', 'wb'):
            pass
    elif what == 'no lock':
        want = ['socket']
    if what == 'link':
        os.symlink(folder, place)
    else:
        os.rename(folder, place)
        folder = place
    try:
        begins(p)
        if what == 'more':
            until(lambda: begins(p) or len(os.listdir(folder)) == 1, 'it is alone')
        yield from same(what, os.path.lexists(place), True)
        yield from same(what, sorted(os.listdir(folder)), want)
    finally:
        if what == 'link':
            os.unlink(place)
        # another may be at it, too, where it is empty meanwhile
        shutil.rmtree(folder, ignore_errors=True)


main((becomes, waited_for, strangers, hidden, killed, survives, survives_as_a_thread, tidied))
