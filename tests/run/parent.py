#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""bezoar run as a parent: signals, orphans, descriptors, its own end; and under a
service manager.

    parent.py PROGRAM VICTIM BEZOARD ROOT [WORD]
"""
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys

from runs import (BEZOARD, LATCHED, PROGRAM, VICTIM, Place, children, expect, gone,
                  line, main, same, until)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
           signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH, signal.SIGPIPE,
           signal.SIGRTMIN + 3, signal.SIGRTMAX)

SAYS = [VICTIM, 'says', *(str(int(s)) for s in SIGNALS)]


def signals():
    """Each that is sent to it reaches the program, once."""
    with Place() as p:
        it = p.begin('--', *SAYS)
        line(it)
        for sig in SIGNALS:
            it.send_signal(sig)
            yield from same('told', int(line(it)), int(sig))
        it.send_signal(signal.SIGUSR1)
        yield from same('told', int(line(it)), int(signal.SIGUSR1))
        os.kill(children(it)[0], signal.SIGKILL)
        yield from same('status', it.wait(), 137)
        yield from same('more', it.stdout.read(), b'')


def ignored():
    """What was ignored stays so (nohup); what was blocked stays blocked; the program has
    no other signals than by a shell."""
    with Place() as p:
        def before():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        look = ['grep', '-E', '^Sig(Blk|Ign|Cgt)', '/proc/self/status']
        bare = p.call(look, preexec_fn=before)
        under = p.run('--', *look, preexec_fn=before)
        yield from expect(under, 0, '')
        yield from same('signals', under.stdout, bare.stdout)
        it = p.begin('--', *SAYS, preexec_fn=before)
        line(it)
        it.send_signal(signal.SIGHUP)
        it.send_signal(signal.SIGUSR1)
        yield from same('told', int(line(it)), int(signal.SIGUSR1))


def terminal():
    """What a terminal sends reaches the program by itself, and not once more by us."""
    with Place() as p:
        main_end, end = os.openpty()

        def before():
            os.setsid()
            import fcntl
            import termios
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # one that the terminal reaches, and the program, which it does not reach
        it = p.begin('--', 'sh', '-c', '"$0" says 2 >other & exec "$0" apart "$@"', *SAYS,
                     stdin=end, preexec_fn=before, cwd=p.folder)
        os.close(end)
        line(it)

        def other():
            if not os.path.exists(p.at('other')):
                return ''
            with open(p.at('other'), encoding='ascii') as f:
                return f.read()
        until(lambda: other() == 'up\n', 'the other is up')
        os.write(main_end, b'\x03')
        until(lambda: other() == 'up\n02\n', 'the terminal has said so')
        it.send_signal(signal.SIGUSR1)
        yield from same('told', int(line(it)), int(signal.SIGUSR1))
        # the terminal goes: only the leader of the session is told by the kernel
        os.close(main_end)
        yield from same('told', int(line(it)), int(signal.SIGHUP))


def group():
    """Of a terminal's process group, as if a shell had started it."""
    with Place() as p:
        it = p.begin('--', *SAYS)
        line(it)
        yield from same('group', os.getpgid(children(it)[0]), os.getpgid(it.pid))
        yield from same('session', os.getsid(children(it)[0]), os.getsid(it.pid))


def init():
    """As the first process of a container it waits for orphans, and takes signals."""
    unshare = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child']
    if subprocess.run([*unshare, 'true'], stderr=subprocess.DEVNULL, check=False).returncode:
        yield 'skip: no pid namespace may be made here'
        return
    with Place() as p:
        orphans = ('for i in 1 2 3 4 5; do (sh -c "exit 3" & exit) ; done; '
                   'while grep -qs "^State:.Z" /proc/[0-9]*/status; do :; done; '
                   'kill -USR1 1; while :; do sleep 0.01; done')
        r = p.call([*unshare, *p.run_words('--', 'sh', '-c',
                                           'trap "exit 8" USR1; ' + orphans)])
        yield from expect(r, 8, '')
        # the number that counts is its own, in there
        r = p.call([*unshare, *p.run_words('--restarts', '1', '--name', 'x', '--', *p.counted(
            VICTIM, 'record', '0', '1', '129', 'bus'))])
        yield from expect(r, LATCHED, 'died of lost memory')
        yield from same('runs', p.count(), 2)
        # the program may have made one of its own
        r = p.run('--restarts', '0', '--name', 'y', '--', *unshare, VICTIM, 'record', '0', '1',
                  '129', 'exit:135')
        yield from expect(r, LATCHED, 'died of lost memory')


ASKS = """
import ctypes, os, signal
sig = ctypes.c_int(-1)
ctypes.CDLL(None).prctl(2, ctypes.byref(sig))
print(os.getpid(), sig.value, os.environ['BEZOAR_SOCKET'], flush=True)
signal.pause()
"""


def its_end():
    """If it is killed the program is asked to end, or lives on if that is wished."""
    sockets = []
    with Place() as p:
        for words, want in (((), signal.SIGTERM), (('--live-on',), 0)):
            it = p.begin('--name', 'x', *words, '--', sys.executable, '-c', ASKS)
            pid, sig, path = line(it).split()
            pid = int(pid)
            sockets.append(path)
            yield from same('signal', int(sig), want)
            it.kill()
            it.wait()
            if not want:
                yield from same('has ended', gone(pid), False)
                os.kill(pid, signal.SIGKILL)
            try:
                until(lambda pid=pid: gone(pid), 'it has ended')
            finally:
                if not gone(pid):
                    os.kill(pid, signal.SIGKILL)
            # the name is free again, and what was left behind is taken away
        yield from expect(p.run('--name', 'x', '--', 'true'), 0, '')
        yield from same('left', [s for s in sockets if os.path.exists(os.path.dirname(s))], [])


def left():
    """Who is left of a run does not stand in the way of the next."""
    # two workers that have no parent any more and hold the lock; one will not be asked
    worker = ('sh -c "sh -c \'%s echo x >up; exec sleep 60\' &" >/dev/null 2>&1; '
              'read x <up; ')
    with Place() as p:
        os.mkfifo(p.at('up'))
        r = p.run('--', *p.counted(
            'sh', '-c', 'exec 9>lock; flock -n 9 || exit 77; '
            'test $(wc -l <runs) = 2 && exit 6; ' + worker % '' +
            worker % 'trap \\"\\" TERM;' + f'exec {VICTIM} record 0 1 129 bus'),
            cwd=p.folder)
        yield from expect(r, 6, '2 processes of the last run were ended')
        yield from same('runs', p.count(), 2)


def inherits():
    """Descriptors, environment, and whom a service manager means."""
    with Place() as p:
        a, b = os.pipe()
        env = {'LISTEN_PID': 'us', 'WATCHDOG_PID': '1', 'LISTEN_FDS': '1'}
        r = p.call(['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', *p.run_words(
            '--', 'sh', '-c', f'echo $$ $LISTEN_PID $WATCHDOG_PID $LISTEN_FDS >&{b}; '
            'ls /proc/self/fd >&2; test -S "$BEZOAR_SOCKET"')],
            env=env, pass_fds=(b,))
        os.close(b)
        with os.fdopen(a) as f:
            pid, listen, watchdog, fds = f.read().split()
        yield from same('LISTEN_PID', listen, pid)
        yield from same('WATCHDOG_PID', watchdog, '1')
        yield from same('LISTEN_FDS', fds, '1')
        # 3 is ls's own
        yield from same('descriptors', {int(n) for n in r.stderr.split()} - {0, 1, 2, 3, b},
                        set())
        yield from same('status', r.returncode, 0)


def unit():
    """The drop-in says what systemd understands."""
    with Place() as p:
        r = p.call([PROGRAM, 'unit', '--restarts', '5', '--within', '1h', 'shop'])
        yield from expect(r, 0, '', 'RestartForceExitStatus=SIGBUS 135\n')
        yield from expect(r, 0, '', f'RestartPreventExitStatus={LATCHED}\n')
        yield from expect(r, 0, '', 'StartLimitIntervalSec=3600s\nStartLimitBurst=6\n')
        yield from expect(p.call([PROGRAM, 'unit', 'shop.example']), 0, '',
                          '/shop.example.service.d/')
        yield from expect(p.call([PROGRAM, 'unit', '-w', '10', 'shop']), 2,
                          '--within: 10 is no time', '')
        for bad in ('', 'a/b', 'a b', '%n', '.x', 'x' * 248, 'x\ny', 'shop.socket',
                    'shop@.timer', 'data.mount'):
            yield from expect(p.call([PROGRAM, 'unit', '--', bad]), 2, 'no name of a service', '')
        # as systemd runs it: only one status skips the service
        r = p.call([PROGRAM, 'unit', 'shop'])
        words = [w for w in r.stdout.decode().splitlines() if w.startswith('ExecCondition=+')][0]
        words = shlex.split(words.split('+', 1)[1].replace('$$', '$').replace(
            '%n', f'shop.service --state {p.state}'))
        words[2] = words[2].replace('"$1"', '"$1" "$2" "$3"').replace('--check --', '--check')
        yield from expect(p.call(words), 0)
        p.run('--name', 'shop.service', '--restarts', '0', '--', VICTIM, 'record', '0', '1',
              '129', 'bus')
        yield from expect(p.call(words), 1, 'is latched')
        words[3] = p.at('nothing')
        yield from expect(p.call(words), 0, 'not found')
        if not shutil.which('systemd-analyze'):
            yield 'skip: systemd-analyze is not installed'
            return
        for name in ('shop', 'shop@.service', 'shop@1.service', 'a\\x2db'):
            r = p.call([PROGRAM, 'unit', name])
            yield from expect(r, 0, '')
            full = name if name.endswith('.service') else name + '.service'
            os.makedirs(p.at(full + '.d'))
            with open(p.at(full), 'w', encoding='ascii') as f:
                f.write('[Service]\nExecStart=/bin/true\n')
            with open(p.at(f'{full}.d/bezoar.conf'), 'wb') as f:
                f.write(r.stdout)
            said = p.call(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no',
                           p.at(full)], env={'SYSTEMD_UNIT_PATH': p.folder + ':'})
            yield from same(name, (said.returncode, said.stdout, said.stderr), (0, b'', b''))
        # and it would say so if it did not
        with open(p.at('shop.service.d/bezoar.conf'), 'ab') as f:
            f.write(b'RestartForceExitStatus=SIGNONE\n')
        said = p.call(['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no',
                       p.at('shop.service')], env={'SYSTEMD_UNIT_PATH': p.folder + ':'})
        if b'SIGNONE' not in said.stderr:
            yield f'systemd-analyze does not read drop-ins: {said.stderr}'


GROUP = ('mount -t cgroup2 none "$0" && mkdir -p "$0/$1" && echo $$ >"$0/$1/cgroup.procs" && '
         'shift && exec "$@"')


def in_group(p, group, *words):
    """Words that run others in a control group of their own."""
    os.makedirs(p.at('cgroup'), exist_ok=True)
    return ['unshare', '--mount', 'sh', '-c', GROUP, p.at('cgroup'), group, *words]


def no_group(p, group):
    p.call(['unshare', '--mount', 'sh', '-c', 'mount -t cgroup2 none "$0" && rmdir "$0/$1"',
            p.at('cgroup'), group])


def noted():
    """What ExecStopPost= notes."""
    bus = {'SERVICE_RESULT': 'signal', 'EXIT_CODE': 'killed', 'EXIT_STATUS': 'BUS'}
    with Place() as p:
        note = p.run_words('--note', 'shop.service', '--restarts', '1')
        yield from expect(p.call(note), 125, 'EXIT_CODE')
        yield from expect(p.call(note, env={'SERVICE_RESULT': 'exec-condition'}), 0, '', '')
        yield from expect(p.call(note, env={**bus, 'EXIT_STATUS': 'TERM'}), 0, '', '')
        yield from expect(p.call(note, env=bus), 0, 'not of lost memory')
        yield from same('latched', p.clear('--check', 'shop.service').returncode, 0)


def noted_by_group():
    """The deaths of a service are known by its control group, as the kernel says; each is
    noted once."""
    bus = {'SERVICE_RESULT': 'signal', 'EXIT_CODE': 'killed', 'EXIT_STATUS': 'BUS'}
    ended = {'SERVICE_RESULT': 'success', 'EXIT_CODE': 'exited', 'EXIT_STATUS': '0'}
    shop, other = f'bezoar-shop-{os.getpid()}', f'bezoar-shop-{os.getpid()}9'
    with Place() as p, contextlib.ExitStack() as after:
        for name in (shop, other):
            after.callback(no_group, p, name)
        if p.call(in_group(p, shop, 'true')).returncode:
            yield 'skip: no control group may be made here'
            return
        if not os.path.exists(BEZOARD):
            yield 'skip: bezoard is not built'
            return
        os.mkdir(p.at('files'))
        daemon = subprocess.Popen([BEZOARD, '--socket', p.at('socket'), '--store',
                                   p.at('records.db'), '--files', p.at('files')],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        p.begun_too(daemon)
        until(lambda: os.path.exists(p.at('socket')), 'the daemon listens')

        def note(env, want):
            words = p.run_words('--note', 'shop.service', '--restarts', '4')
            return expect(p.call(in_group(p, shop, *words), env=env), 0, want)

        def dies(group, *words, claims=None):
            env = {'BEZOAR_SOCKET': p.at('socket')}
            if claims:
                env['VICTIM_CGROUP'] = claims
            p.call(in_group(p, group, VICTIM, *words, 'exit:0'), env=env)

        def deaths():
            return len(p.read_state('shop.service.json')['deaths'])
        word = ('record', '0', '1', '129')
        dies(other, *word)
        yield from note(bus, 'not of lost memory')
        dies(shop, *word)
        yield from note(bus, 'died of lost memory')
        yield from note(bus, 'not of lost memory')
        dies(shop, 'record', '0', '8', '129')
        yield from note(bus, 'not of lost memory')
        # another says that it is of there
        dies(other, *word, claims='/' + shop)
        yield from note(bus, 'not of lost memory')
        dies(other, 'file', p.at('files/x.rec'), '0', '1', '131', claims='/' + shop)
        until(lambda: p.call([PROGRAM, '--json', 'log', p.at('records.db')]
                             ).stdout.count(b'\n') == 5, 'the file is read')
        yield from note(ended, '')
        yield from same('deaths', deaths(), 1)
        # one, and behind it one of another thing
        dies(shop, *word)
        dies(shop, 'record', '0', '7', '129')
        yield from note(bus, 'died of lost memory')
        # an orderly end has two records, and is one death
        dies(shop, 'record', '0', '1', '20', 'record', '0', '1', '131')
        yield from note(ended, 'died of lost memory')
        for _ in range(2):
            yield from note(ended, '')
        yield from same('deaths', deaths(), 3)
        # also when it is forgotten
        p.clear('shop.service')
        yield from note(ended, '')
        yield from same('deaths', deaths(), 0)
        yield from expect(p.clear(), 0, 'no death is remembered in ', '')
        for _ in range(5):
            dies(shop, *word)
            yield from note(bus, 'died of lost memory')
        yield from same('latched', p.clear('--check', 'shop.service').returncode, LATCHED)


main((signals, ignored, terminal, group, init, its_end, left, inherits, unit, noted, noted_by_group))
