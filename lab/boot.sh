#!/bin/sh
# SPDX-License-Identifier: MIT
# boot.sh SERIES KERNEL_DIR INITRAMFS CONSOLE_LOG SECONDS PATIENCE DISK PMEM: run the
# guest; what it reports comes out on standard output. It ends when the guest
# does, or after SECONDS; and with its parent, however that ends. DISK, an
# image, may be empty: then there is none; PMEM: is there persistent memory, two
# modules of it? With CONSOLE_LOG "-" there is no
# report and no limit: the console is where we are, with a prompt on it.
# LAB_ACCEL=kvm in the environment: not in software. LAB_KVM=1: the machine for
# cases that need kvm.
set -eu

series=$1 kernel=$2 initramfs=$3 console=$4 seconds=$5 patience=$6 disk=$7 pmem=${8:-}

# field N: of the series' line in lab/kernels.
field()
{
	awk -F '\t' -v s="$series" -v n="$1" '$1 == s { print $n }' \
		"$(dirname "$0")/kernels"
}
huge=$(field 7)
accel=tcg,thread=multi cpu=$(field 4) processors=$(field 5)
# The processor's maker is the host's there, if nothing is said of it; only
# Intel's tell all processors of a machine check.
[ "${LAB_ACCEL:-tcg}" = tcg ] || accel=kvm cpu=$cpu,vendor=GenuineIntel
# Guests in the guest: the emulation has AMD's way alone, and is the same everywhere. KVM
# changes the code of the scheduler whenever there is a first machine or none, and with
# two processors the emulation runs what was there (an int3, of which nobody knows).
[ -z "${LAB_KVM:-}" ] ||
	accel=tcg,thread=multi cpu=$(field 4),$(field 8) processors=1

# panic=-1 and -no-reboot: a panic ends the guest at once, as does its reboot.
# No watchdogs: on a busy host an emulated CPU may stand still for seconds,
# which says nothing of the guest; a real lock-up meets the case's time limit.
# log_buf_len: the kernel writes a line for each fault on a poisoned page.
# Words with capitals are none of the kernel's: they go into init's environment.
append="console=ttyS0 loglevel=3 panic=-1 mitigations=off nowatchdog \
rcupdate.rcu_cpu_stall_suppress=1 log_buf_len=32M \
hugepagesz=1G hugepages=${huge%,*} hugepagesz=2M hugepages=${huge#*,} \
default_hugepagesz=2M transparent_hugepage=madvise TAP_PATIENCE=$patience \
LAB_MONITOR=/dev/ttyS2"
[ "$console" != - ] || append="$append LAB_SHELL=1"

# Whoever is in the guest may ask for machine checks: monitor.py.
set -- "$(dirname "$0")/monitor.py" qemu-system-x86_64 \
	-nodefaults -no-user-config -no-reboot -display none \
	-accel "$accel" -cpu "$cpu" -smp "$processors" \
	-m "$(field 6)" -kernel "$kernel/vmlinuz" -initrd "$initramfs" \
	-append "$append"
[ -z "$disk" ] ||
	set -- "$@" -drive "if=virtio,format=raw,file=$disk,cache=unsafe"
# Two modules: one for files, and one to be mapped as it is.
if [ -n "$pmem" ]; then
	set -- "$@" -machine pc,nvdimm=on -m "$(field 6),slots=2,maxmem=8G"
	for id in files bare; do
		set -- "$@" -object "memory-backend-ram,id=$id,size=64M" \
			-device "nvdimm,memdev=$id"
	done
fi
if [ "$console" = - ]; then
	exec "$@" \
		-chardev stdio,id=here,signal=off -serial chardev:here
fi

# Two serial lines, so that a kernel message never lands in the middle of a
# result: the first is the console, the second the report.
exec </dev/null
exec setpriv --pdeathsig TERM timeout -s TERM -k 5 "$seconds" \
	setpriv --pdeathsig KILL "$@" \
	-serial "file:$console" \
	-chardev stdio,id=report,signal=off -serial chardev:report
