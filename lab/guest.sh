#!/bin/sh
# SPDX-License-Identifier: MIT
# guest.sh SERIES KERNEL_DIR WORK BIN FILES PATIENCE: one machine, from the
# cases in WORK/cases to their results in WORK/results. With WORK/shell there
# is a prompt in it, and nothing is run. Otherwise it gives a token, a line, back
# on descriptor 8 when it ends. Exit status: judge.sh's, or 2.
set -eu

series=$1 kernel=$2 work=$3 bin=$4 files=$5 patience=$6
here=$(dirname "$0")
boot=''

die() { echo "lab: $*" >&2; exit 2; }

# However this ends, the guest ends with it.
# shellcheck disable=SC2317 # the trap calls it
finish()
{
	[ -z "$boot" ] || kill "$boot" 2>/dev/null || :
	[ -z "$boot" ] || wait "$boot" 2>/dev/null || :
	rm -f "$work/initramfs" "$work/pipe" "$work/disk"
	[ -e "$work/shell" ] || echo >&8
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

needed() { cut -f 6 "$work/cases" | grep -qw "$1"; }

needed files || files=''
disk=''
if needed disk; then
	disk=$work/disk
	truncate -s 32M "$disk"
	mke2fs -q -F -t ext4 "$disk" || die "mke2fs made no disk"
fi
# In the background and waited for: a shell runs its traps only then.
"$here/initramfs.sh" "$kernel" "$work/cases" "$bin" "$files" \
	"$work/initramfs" &
boot=$!
wait "$boot" || exit 2
boot=''

pmem=''
! needed dax || pmem=yes
if [ -e "$work/shell" ]; then
	"$here/boot.sh" "$series" "$kernel" "$work/initramfs" - 0 "$patience" \
		"$disk" "$pmem"
	exit
fi
# The limits of all cases, and two minutes to boot on a busy machine.
seconds=$(awk -F '\t' '{ s += $4 } END { print s + 120 }' "$work/cases")
mkfifo "$work/pipe"
: >"$work/console.log"

# Emulated processors patch their own code while they boot, and now and then one
# runs what is half patched. That is before any case, and says nothing of them:
# such a machine is booted once more, and its second word counts.
for LAB_AGAIN in yes ''; do
	export LAB_AGAIN
	"$here/boot.sh" "$series" "$kernel" "$work/initramfs" \
		"$work/console.log" "$seconds" "$patience" "$disk" \
		"$pmem" \
		>"$work/pipe" &
	boot=$!
	tee "$work/report.log" <"$work/pipe" |
		"$here/judge.sh" "$series" "$work" &
	status=0
	wait $! || status=$?
	[ "$status" = 4 ] || break
	wait "$boot" || :
	# two in a row would be seen; of one only this is left
	cp "$work/console.log" "$work/first-console.log"
	boot=''
done
exit "$status"
