#!/bin/sh
# SPDX-License-Identifier: MIT
# accel.sh WANT SERIES KERNEL_DIR [DEVICE [SECONDS]]: what the machines run
# on, "tcg" or "kvm", on standard output; what was found, a line on standard
# error. WANT is auto, tcg or kvm; with auto KVM is used if a machine boots with
# it, which is tried for so many SECONDS: where this is a machine of somebody's
# itself, it often does not. DEVICE is KVM's. Exit status: 1 if KVM is wanted and
# cannot be had.
set -eu

want=$1 series=$2 kernel=$3 device=${4:-/dev/kvm}
here=$(dirname "$0")
limit=${5:-10}			# a boot takes three

use() { echo "$2" >&2; echo "$1"; exit 0; }

no_kvm()
{
	[ "$want" = auto ] || { echo "lab: no KVM: $1" >&2; exit 1; }
	use tcg "no KVM: $1; software emulation"
}

[ "$want" != tcg ] || use tcg "software emulation, as asked for"
(: <>"$device") 2>/dev/null || no_kvm "$device cannot be opened"

top=$(mktemp -d "${TMPDIR:-/tmp}/bezoar-accel.XXXXXX")
boot=''
# shellcheck disable=SC2317 # the trap calls it
finish()
{
	[ -z "$boot" ] || kill "$boot" 2>/dev/null || :
	rm -rf "$top"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$top/root/bin" "$top/root/dev"
cp "$(command -v busybox)" "$top/root/bin/busybox"
cat >"$top/root/init" <<'END'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
echo lab-boots >/dev/ttyS1
/bin/busybox stty -F /dev/ttyS1 sane
/bin/busybox reboot -f
END
chmod +x "$top/root/init"
(cd "$top/root" && find . | cpio --quiet -o -H newc -R 0:0) >"$top/initramfs"

# In the background and waited for: a shell runs its traps only then.
LAB_ACCEL=kvm "$here/boot.sh" "$series" "$kernel" "$top/initramfs" \
	"$top/console.log" "$limit" 1 '' >"$top/report" 2>"$top/why" &
boot=$!
status=0
wait "$boot" || status=$?
boot=''
! grep -q '^lab-boots' "$top/report" ||
	use kvm "KVM: a machine boots with it"
case $status in
124|137)	no_kvm "a machine does not boot with it in $limit s" ;;
*)		why=$(grep . "$top/why" | tail -n 1 | cut -c 1-200) || :
		no_kvm "a machine does not boot with it${why:+ ($why)}" ;;
esac
