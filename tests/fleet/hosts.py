# SPDX-License-Identifier: MIT
"""Simulated machines: a network namespace each, joined to one in the middle."""
import os
import shutil

from fleet import Failed, must, run


class Fleet:
    """@names: of the machines. The middle one reaches each of them, and none of them
    another."""

    def __init__(self, names):
        self.prefix = f'bez{os.getpid()}'
        self.names = names
        self.made = []

    def why_not(self, programs):
        """A reason why it cannot be here, or None."""
        if os.getuid():
            return 'machines in network namespaces are made by root'
        missing = [p for p in programs if not shutil.which(p)]
        if missing:
            return f'{", ".join(missing)}: not installed (make fleet does)'
        probe = run('ip', 'netns', 'exec', self.add('probe'), 'true')
        if probe.returncode:
            return f'no network namespace: {probe.stdout.decode().strip()}'
        return None

    def space(self, name):
        return f'{self.prefix}-{name}'

    def inside(self, name):
        return ['ip', 'netns', 'exec', self.space(name)]

    def add(self, name):
        if run('ip', 'netns', 'add', self.space(name)).returncode == 0:
            self.made.append(self.space(name))
        return self.space(name)

    def address(self, name):
        return f'10.213.{self.names.index(name) + 1}.2'

    def middle_address(self, name):
        return f'10.213.{self.names.index(name) + 1}.1'

    def make(self):
        middle = self.add('middle')
        must('ip', '-n', middle, 'link', 'set', 'lo', 'up')
        for name in self.names:
            space = self.add(name)
            if space not in self.made:
                raise Failed(f'{space} could not be made')
            must('ip', '-n', middle, 'link', 'add', f'to-{name}', 'type',
                 'veth', 'peer', 'name', 'eth0', 'netns', space)
            for where, link, address in (
                    (middle, f'to-{name}', self.middle_address(name)),
                    (space, 'eth0', self.address(name))):
                must('ip', '-n', where, 'address', 'add', f'{address}/24',
                     'dev', link)
                must('ip', '-n', where, 'link', 'set', link, 'up')
            must('ip', '-n', space, 'link', 'set', 'lo', 'up')

    def end(self):
        for space in self.made:
            run('ip', 'netns', 'delete', space)
