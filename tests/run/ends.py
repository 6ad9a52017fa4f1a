#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""How a program has ended, and what bezoar run makes of it.

    ends.py PROGRAM VICTIM BEZOARD ROOT [WORD]
"""
import os
import re
import resource
import signal
import sys

from runs import (LATCHED, PATIENCE, VICTIM, Place, children, expect, gone, main, plain,
                  same, until)


def statuses():
    """Those of the program, as a shell has them; none of them starts it again."""
    with Place() as p:
        for words, status in ((('true',), 0), (('sh', '-c', 'exit 7'), 7),
                              (('sh', '-c', 'kill -TERM $$'), 143),
                              (('sh', '-c', 'kill -SEGV $$'), 139),
                              (('sh', '-c', 'kill -9 $$'), 137)):
            yield from expect(p.run('--name', 'x', '--', *p.counted(*words)),
                              status, '')
        yield from same('runs', p.count(), 5)
        yield from expect(p.run('--', p.at('none')), 127, 'No such file')
        yield from expect(p.run('--', p.folder), 126, 'ermission denied')
        yield from expect(p.run(), 125, 'which command')
        yield from expect(p.run('--restarts', '51', '--', 'true'), 125,
                          'number from 0 to 50')
        yield from expect(p.run('--within', '0s', '--', 'true'), 125, 'no time')
        yield from expect(p.run('--name', 'x' * 256, '--', 'true'), 125,
                          '1 to 255 bytes')
        # what follows the command is the command's
        yield from expect(p.run('sh', '-c', 'exit $#', '--', '--name', 'b'), 2)


def ordinary():
    """SIGBUS, and nobody says that memory was lost."""
    with Place() as p:
        said = 'died of SIGBUS, and not of lost memory'
        for words in (('truncated', p.at('file')), ('bus',),
                      ('inject', 'alone'),
                      # its records are of other things: a file that was cut
                      ('record', '0', '8', '129', 'bus'),
                      # it was replaced
                      ('record', '0', '1', '1', 'bus'),
                      # lost, survived by the program itself; then a cut file
                      ('record', '0', '1', '128', 'record', '0', '8', '128',
                       'bus'),
                      # what names another process
                      ('forged', '1', 'bus'), ('forged', str(os.getpid()), 'bus')):
            r = p.run('--', *p.counted(VICTIM, *words))
            yield from expect(r, 135, said)
            yield from plain(r)
        yield from same('runs', p.count(), 8)
        yield from expect(p.clear(), 0, 'no death is remembered in ', '')
        # SIGBUS that is none, after a loss that the program survived
        yield from expect(p.run('--', VICTIM, 'record', '0', '1', '128',
                                'exit:3'), 3, '')


def poison():
    """A page is really lost, under the library."""
    for how, words in (('protected', 'its record says so'),
                       ('exits', 'an orderly end')):
        with Place() as p:
            r = p.run('--restarts', '1', '--', *p.counted(VICTIM, 'inject', how))
            yield from same(f'{how}: runs', p.count(), 2)
            yield from expect(r, LATCHED, 'died of lost memory: 0x[0-9a-f]+, '
                              f'region "the heart", .*{words}')


def recorded():
    """The record alone counts; who sends it need not wait."""
    for cause in ('1', '2', '4', '6'):
        with Place() as p:
            r = p.run('--restarts', '1', '--', *p.counted(
                VICTIM, 'record', '0x77', cause, '129', 'bus'),
                env={'VICTIM_HURRIES': '1'})
            yield from same(f'cause {cause}: runs', p.count(), 2)
            yield from expect(r, LATCHED, r'region "the \\x1btable", page frame '
                              fr'0x77, .*\(C{cause}\), digest [0-9a-f]+')
            yield from plain(r)
    # nothing of it was read when it ended
    with Place() as p:
        it = p.begin('--restarts', '0', '--', 'sh', '-c', 'kill -STOP $PPID; '
                     f'VICTIM_HURRIES=1 exec {VICTIM} record 0x77 1 129 bus')
        child = until(lambda: children(it), 'it is there')[0]
        until(lambda: gone(child), 'it has ended')
        it.send_signal(signal.SIGCONT)
        yield from same('status', it.wait(PATIENCE), LATCHED)
    # an end by the library, whatever the status
    for outcome in ('20', '21', '22', '23', '131'):
        with Place() as p:
            r = p.run('--restarts', '0', '--', *p.counted(
                VICTIM, 'record', '0', '1', outcome, 'exit:0'))
            yield from expect(r, LATCHED, 'an orderly end')
            yield from same('runs', p.count(), 1)


def once():
    """It dies once, and goes on after that."""
    with Place() as p:
        r = p.run('--', *p.counted('sh', '-c', 'test -e once && exit 4; '
                                   f'>once; exec {VICTIM} record 0 1 129 bus'),
                  cwd=p.folder)
        yield from expect(r, 4, 'It is restarted: 1 of 3 within 600 s')
        yield from same('runs', p.count(), 2)


def by_a_shell():
    """A shell says 135 of a child of its; that one's record counts."""
    with Place() as p:
        r = p.run('--restarts', '1', '--', *p.counted(
            'sh', '-c', f'{VICTIM} record 0 1 129 bus; exit $?'))
        yield from same('runs', p.count(), 2)
        yield from expect(r, LATCHED, 'died of lost memory')
        r = p.run('--name', 'y', '--', 'sh', '-c', f'{VICTIM} record 0 1 129 bus; exit 1')
        yield from expect(r, 1)


def by_a_file():
    """Records that the program writes to a file by itself."""
    with Place() as p:
        file = p.at('own.rec')
        r = p.run('--record', file, '--restarts', '1', '--', *p.counted(
            VICTIM, 'file', file, '0', '1', '129', 'bus'))
        yield from same('runs', p.count(), 2)
        yield from expect(r, LATCHED, 'its record says so')
        # what another process has left there says nothing of this one
        yield from expect(p.run('--name', 'y', '--record', file, '--', VICTIM,
                                'bus'), 135, 'not of lost memory')
        r = p.run('--name', 'z', '--record', file, '--', 'sh', '-c',
                  f'{VICTIM} file {file} 0 1 129 exit:0; kill -BUS $$')
        yield from expect(r, 135, 'not of lost memory')


def last_words():
    """For who manages containers: one line, with the reason."""
    with Place() as p:
        log = p.at('termination-log')
        p.run('--termination-log', log, '--restarts', '0', '--', VICTIM,
              'record', '0', '1', '129', 'bus')
        with open(log, encoding='ascii') as file:
            text = file.read()
        if not re.fullmatch(r'victim \(process \d+\) has died of lost memory: '
                            r".* bezoar clear --state '.*' 'victim'\n", text):
            yield f'{text}'
        if len(text) > 4096:
            yield f'{len(text)} bytes'
        # nor is it started the next time, which has that reason
        p.run('--termination-log', log, '--', VICTIM, 'exit:0')
        with open(log, encoding='ascii') as file:
            text = file.read()
        if not re.fullmatch(r'victim is latched since .* and is not started: .*\n', text):
            yield f'{text}'
        p.run('--name', 'y', '--termination-log', log, '--', VICTIM, 'bus')
        with open(log, encoding='ascii') as file:
            if 'SIGBUS' not in file.read():
                yield 'the second reason is not there'
        # whose end has no reason of ours keeps its own words
        p.run('--name', 'z', '--termination-log', log, '--', 'sh', '-c',
              f'echo mine >{log}; exit 1')
        with open(log, encoding='ascii') as file:
            yield from same('words', file.read(), 'mine\n')


def asked_to_end():
    """Who was asked to end is not started again."""
    with Place() as p:
        r = p.run('--', *p.counted('sh', '-c', 'trap "got=1" TERM; kill -TERM $PPID; '
                                   'until test "$got"; do sleep 0.01; done; '
                                   f'exec {VICTIM} record 0 1 129 bus'))
        yield from expect(r, 128 + signal.SIGBUS, 'to end, and not restarted')
        yield from same('runs', p.count(), 1)


def wrapped():
    """Who ends by SIGBUS itself, as its child has; a worker that was waited for at once."""
    with Place() as p:
        for i, words in enumerate((('timeout', '20'), ('unshare', '--fork'),
                                   ('sh', '-c', '"$@"; kill -BUS $$', 'sh'))):
            r = p.run('--name', str(i), '--restarts', '0', '--', *words, VICTIM, 'record', '0',
                      '1', '129', 'bus')
            yield from expect(r, LATCHED, 'died of lost memory')
        r = p.run('--name', 'w', '--restarts', '0', '--', 'sh', '-c',
                  f'for i in 1 2 3 4 5 6 7 8; do {VICTIM} record 0 1 129 bus; done; exit 135',
                  env={'VICTIM_HURRIES': '1'})
        yield from expect(r, LATCHED, 'died of lost memory')
        yield from same('records', os.path.getsize(os.path.join(p.state, 'w.records')), 8 * 384)


def outlived():
    """What a program has lived on with for longer is no reason; nor what lives."""
    with Place() as p:
        one = f'{VICTIM} record 0 1 129 '
        r = p.run('--', 'sh', '-c', f'VICTIM_AGO=11 {one} bus; {VICTIM} bus; exit $?')
        yield from expect(r, 135, 'not of lost memory')
        os.mkfifo(p.at('up'))
        r = p.run('--name', 'y', '--', 'sh', '-c', f'{one} says 15 >up 2>&1 & '
                  f'echo $!; read x <up; {VICTIM} bus; exit $?', cwd=p.folder)
        yield from expect(r, 135, 'not of lost memory')
        os.kill(int(r.stdout.split()[0]), signal.SIGKILL)


def between():
    """A signal that ends comes when there is no program."""
    for sig in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        with Place() as p:
            # the one that is left says that it is asked to end, and does not
            r = p.run('--termination-log', p.at('log'), '--', *p.counted(
                'sh', '-c', 'test $(wc -l <runs) = 1 || exit 9; '
                f'sh -c "trap \'kill -{int(sig)} $PPID; exit\' TERM; echo >up; '
                f'while :; do sleep 0.01; done" & read x <up; exec {VICTIM} record 0 1 129 bus'),
                cwd=p.folder, preexec_fn=lambda: os.mkfifo('up'))
            yield from expect(r, 128 + sig, f'sh is not started again: signal {int(sig)}')
            yield from same('runs', p.count(), 1)
            with open(p.at('log'), encoding='ascii') as file:
                yield from same('words', 'not started again' in file.read(), True)


def full():
    """Who does not read what is said holds up nothing; nor does a disk that is full."""
    with Place() as p:
        a, b = os.pipe()
        os.set_blocking(b, False)
        try:
            while True:
                os.write(b, b'x' * 4096)
        except BlockingIOError:
            os.set_blocking(b, True)
        it = p.begin_with(b, '--restarts', '1', '--', *p.counted(
            VICTIM, 'record', '0', '1', '129', 'bus'))
        yield from same('status', it.wait(20), LATCHED)
        yield from same('runs', p.count(), 2)
        os.close(a)
        os.close(b)
        # an end is answered, though it could not be kept
        os.mkdir(os.path.join(p.state, 'x.records'))
        r = p.run('--name', 'x', '--restarts', '0', '--', VICTIM, 'record', '0', '1', '129',
                  'bus')
        yield from expect(r, LATCHED, 'died of lost memory')


def many():
    """As many connections as there may be, and one more."""
    with Place() as p:
        script = ('import os, resource, socket, sys; '
                  'print(resource.getrlimit(resource.RLIMIT_NOFILE)[0]); '
                  'a = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(700)]; '
                  '[s.connect(os.environ["BEZOAR_SOCKET"]) for s in a]; '
                  f'os.spawnv(os.P_WAIT, "{VICTIM}", ["victim", "record", "0", "1", "129", "bus"]); '
                  'os._exit(135)')
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        r = p.run('--restarts', '0', '--', sys.executable, '-c', script)
        yield from expect(r, LATCHED, 'died of lost memory')
        yield from same('files', int(r.stdout), most[0])
        # where descriptors are few
        r = p.run('--name', 'y', '--restarts', '0', '--', 'sh', '-c', 'ulimit -n 1000; exec "$@"',
                  'sh', sys.executable, '-c', script, preexec_fn=lambda: resource.setrlimit(
                      resource.RLIMIT_NOFILE, (100, most[1])))
        yield from expect(r, LATCHED, 'died of lost memory')


main((wrapped, outlived, between, full, many, statuses, ordinary, poison, recorded, once, by_a_shell, by_a_file,
      last_words, asked_to_end))
