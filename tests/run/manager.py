#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: MIT
"""The drop-in of bezoar unit, and the units of bezoard, under systemd itself: one of its own,
in namespaces where nothing of this machine's is seen or changed.

    manager.py PROGRAM VICTIM BEZOARD ROOT [WORD]
"""
import glob
import os
import re
import shutil
import signal
import subprocess

from runs import (BEZOARD, LATCHED, PATIENCE, PROGRAM, ROOT, VICTIM, Place, expect, main, same,
                  until)

SYSTEMD = '/lib/systemd/systemd'
# What it wants there to be; nothing is in them.
TARGETS = ('sysinit', 'basic', 'sockets', 'shutdown', 'umount', 'final')
OUTER = '''
mount --make-rprivate /
mkdir "$0/cgroup"
mount -t cgroup2 none "$0/cgroup"
mkdir "$0/cgroup/$1"
echo $$ >"$0/cgroup/$1/cgroup.procs"
exec unshare --cgroup --net --pid --fork --kill-child --mount-proc sh -euc "$2" "$0"
'''
# What systemd would set there (fs.file-max, net.unix.max_dgram_qlen) is the machine's.
INNER = '''
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
cp -r "$0/own" /run/own
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=bezoar SYSTEMD_UNIT_PATH=/run/own/units \\
	SYSTEMD_GENERATOR_PATH=/run/own/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/own/none \\
	%s --system --unit=test.target --log-target=null --show-status=no
''' % SYSTEMD
SERVICE = '''[Service]
Type=exec
Environment=LD_LIBRARY_PATH=/run/own BEZOAR_SOCKET=/run/bezoar/socket
ExecStart=/bin/sh -c 'echo run >>/run/own/{name}; {does}'
'''
SERVICES = {'shop': 'exec /run/own/victim record 0 1 129 bus',
            'shell': '/run/own/victim record 0 1 129 bus; exit $$?',
            'other': 'exec /run/own/victim record 0 1 129 exit:1'}


class Manager:
    """It is the first process of its own, and has what is in @p/own."""

    def __init__(self, p):
        self.p = p
        self.group = f'bezoar-manager-{os.getpid()}'
        self.own = p.at('own')
        os.makedirs(self.own + '/units')
        for program in (PROGRAM, VICTIM, BEZOARD):
            shutil.copy(program, self.own)
        top = os.path.dirname(os.path.dirname(PROGRAM))
        for library in glob.glob(top + '/**/libbezoar*.so*', recursive=True):
            if not os.path.isdir(library):
                shutil.copy(library, self.own, follow_symlinks=False)
        for target in TARGETS:
            self.unit(target + '.target', '[Unit]\nDefaultDependencies=no\n')
        self.unit('test.target', '[Unit]\nWants=bezoard.service\nAfter=bezoard.service\n')
        for name, does in SERVICES.items():
            self.unit(name + '.service', SERVICE.format(name=name, does=does))
        for name in ('bezoard.service', 'bezoard.socket'):
            with open(os.path.join(ROOT, 'contrib', 'systemd', name), encoding='utf-8') as f:
                self.unit(name, f.read().replace('ExecStart=bezoard', 'ExecStart=/run/own/bezoard'))
        self.unit('bezoard.service.d/own.conf', '[Service]\nEnvironment=LD_LIBRARY_PATH=/run/own\n')
        self.run = subprocess.Popen(
            ['unshare', '--mount', 'sh', '-euc', OUTER, p.folder, self.group, INNER],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def unit(self, name, text):
        path = os.path.join(self.own, 'units', name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)

    def first(self):
        """Number of its first process, as it is here; 0: it is not there yet."""
        try:
            with open(f'/proc/{self.run.pid}/task/{self.run.pid}/children', encoding='ascii') as f:
                pids = f.read().split()
            with open(f'/proc/{pids[0]}/comm', encoding='ascii') as f:
                return int(pids[0]) if f.read() == 'systemd\n' else 0
        except (OSError, IndexError):
            return 0

    def call(self, *words):
        return self.p.call(['nsenter', '--all', '--target', str(self.first()), 'env',
                            'LD_LIBRARY_PATH=/run/own', *words])

    def says(self, *words):
        return self.call(*words).stdout.decode().strip()

    def begins(self):
        """None: it does; else what it says of why not."""
        def come():
            return self.run.poll() is not None or (
                self.first() and self.says('systemctl', 'is-active', 'bezoard') in (
                    'active', 'failed'))
        try:
            until(come, 'systemd has begun')
        except AssertionError:
            # where it answers it is the daemon that does not begin
            if self.first() and self.says('systemctl', 'is-system-running') not in ('', 'offline'):
                raise
            return 'it does not begin'
        if self.run.poll() is not None:
            return self.run.stdout.read().decode().strip()
        return None

    def runs(self, name):
        return self.says('cat', f'/run/own/{name}').count('run')

    def is_over(self, name):
        """It has ended, and is not to be started again."""
        return self.says('systemctl', 'show', '-P', 'ActiveState', name) in ('failed', 'inactive')

    def end(self):
        if self.run.poll() is None:
            self.run.send_signal(signal.SIGKILL)
        self.run.wait(PATIENCE)
        self.run.stdout.close()
        # all that was in there ends with it, in a moment
        until(lambda: not self.p.call(
            ['unshare', '--mount', 'sh', '-c', 'mkdir -p "$0" && mount -t cgroup2 none "$0" && '
             'if test -d "$0/$1"; then find "$0/$1" -depth -type d -exec rmdir {} +; fi',
             self.p.at('cgroup'), self.group]).returncode, 'its control group is gone')


def course(m):
    for name in SERVICES:
        m.says('mkdir', f'/run/own/units/{name}.service.d')
        m.says('sh', '-c', f'/run/own/bezoar unit --restarts 2 --within 1h {name} '
               f'>/run/own/units/{name}.service.d/bezoar.conf')
    yield from expect(m.call('systemctl', 'daemon-reload'), 0)
    for name, runs, status in (('shop', 3, LATCHED), ('shell', 3, LATCHED), ('other', 1, 0)):
        m.call('systemctl', 'start', name)
        until(lambda name=name: m.is_over(name), f'{name} is over')
        yield from same(name, m.runs(name), runs)
        yield from same(name, m.call('/run/own/bezoar', 'clear', '--check',
                                     f'{name}.service').returncode, status)
    # be there starts left or not: it is skipped, which is no failure
    m.call('systemctl', 'reset-failed', 'shop')
    yield from expect(m.call('systemctl', 'start', 'shop'), 0)
    yield from same('latched: runs', m.runs('shop'), 3)
    # as bezoar-run(1) has it
    yield from expect(m.call('/run/own/bezoar', 'clear', 'shop.service'), 0)
    m.call('systemctl', 'reset-failed', 'shop')
    m.call('systemctl', 'start', 'shop')
    until(lambda: m.is_over('shop'), 'shop is over')
    yield from same('cleared: runs', m.runs('shop'), 6)


def sandbox(m):
    """What the unit takes away the daemon does not want: all came by its socket, was stored,
    and judged; the log of the kernel is open."""
    until(lambda: re.sub(' +', ' ', m.says('/run/own/bezoar', 'log', '--counts')) ==
          'deaths 9\ntaken 10', 'nine deaths, and ten records')
    pid = m.says('systemctl', 'show', '-P', 'MainPID', 'bezoard')
    status = m.says('cat', f'/proc/{pid}/status')
    for line in ('NoNewPrivs:\t1', 'Seccomp:\t2', 'CapBnd:\t0000000400000005'):
        if line not in status:
            yield f'{line} is not so'
    files = m.says('sh', '-c', f'readlink /proc/{pid}/fd/*').split()
    for file in ('/dev/kmsg', '/var/lib/bezoar/records.db'):
        if file not in files:
            yield f'{file} is not open: {files}'


def settings():
    """Of the machine, that a systemd sets when it begins."""
    found = {}
    for name in ('fs/file-max', 'fs/nr_open', 'net/unix/max_dgram_qlen', 'kernel/core_pattern'):
        with open('/proc/sys/' + name, encoding='utf-8') as f:
            found[name] = f.read()
    return found


def manager():
    if os.getuid() or not os.path.exists(SYSTEMD) or not os.path.exists(BEZOARD):
        yield 'skip: root, systemd and bezoard are wanted'
        return
    before = settings()
    with Place() as p:
        m = Manager(p)
        try:
            why = m.begins()
            if why:
                yield f'skip: systemd cannot be run here: {why}'
                return
            yield from course(m)
            yield from sandbox(m)
        finally:
            m.end()
    yield from same('settings of the machine', settings(), before)


main((manager,))
