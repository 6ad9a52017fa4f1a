#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""What a bezoar run that was killed has left behind.

    users.py PROGRAM VICTIM BEZOARD ROOT [WORD]
"""
import fcntl
import os
import random
import shutil
import socket
import string

from runs import LATCHED, VICTIM, Place, line, main, same, until

NOBODY = 65534
POISON = ('record', '0', '1', '129')


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
            os.mkdir(fresh, 0o700)
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


main((killed, tidied))
