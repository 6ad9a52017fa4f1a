#!/bin/sh
# SPDX-License-Identifier: MIT
# initramfs.sh KERNEL_DIR CASES BIN_DIR FILES_DIR OUT: pack what the guest
# needs into one cpio archive. FILES_DIR may be empty: then no /files.
#
# Not compressed: unpacking is the dear part where every instruction is
# emulated, and the archive only crosses from one process to another.
set -eu

kernel=$1 cases=$2 bin=$3 files=$4 out=$5
here=$(dirname "$0")
files_max=$((48 << 20))
file_max=$((4 << 20))

die() { echo "lab: $*" >&2; exit 1; }

# The guest has no C library.
static()
{
	! readelf -lW "$1" 2>/dev/null | grep -q INTERP
}

# find_bin NAME: its path; nothing if there is none. The guest calls that a
# failure of the case.
find_bin()
{
	found=$(find "$bin" -type f -perm -u+x -name "$1")
	[ "$(echo "$found" | wc -l)" -le 1 ] ||
		die "more than one '$1' below $bin:" "$found"
	[ -z "$found" ] || echo "$found"
}

# Plain files from the front of the sorted list, up to the size above: the
# same ones each time.
add_files()
{
	mkdir "$root/files"
	(
		cd "$files"
		find . -xdev -type f -readable -size "-${file_max}c" \
			! -name '*[[:cntrl:]]*' -printf '%s %p\n' |
			sort -k 2 |
			awk -v max="$files_max" '
				{ sum += $1 } sum > max { exit }
				{ sub(/^[0-9]+ /, ""); print }' |
			cpio --quiet -pd "$root/files"
	)
	[ -n "$(find "$root/files" -type f -print -quit)" ] ||
		die "no readable file below $files: choose another --files"
}

busybox=$(command -v busybox) || die "no busybox: install busybox-static"
static "$busybox" ||
	die "$busybox is not static: install busybox-static"

root=$(mktemp -d "${out%/*}/root.XXXXXX")
chmod 755 "$root"		# the guest's /, for every user
mkdir -p "$root/bin" "$root/sbin" "$root/usr/bin" "$root/usr/sbin" \
	"$root/lab" "$root/modules" "$root/proc" "$root/sys" "$root/dev" \
	"$root/tmp" "$root/run"
cp "$busybox" "$root/bin/busybox"
cp "$here/guest-init" "$root/init"
chmod +x "$root/init"
cp "$cases" "$root/lab/cases"
find "$kernel/modules" -name '*.ko' -exec cp '{}' "$root/modules" ';'
for need in kvm dax; do
	! cut -f 6 "$cases" | grep -qw "$need" ||
		cp -r "$kernel/$need" "$root/$need"
done

# What an argument calls /lab/NAME comes along.
{
	cut -f 2 "$cases"
	cut -f 3 "$cases" | tr ' ' '\n' | sed -n 's|^/lab/||p'
} | sort -u | while read -r name; do
	path=$(find_bin "$name")
	[ -n "$path" ] || continue
	static "$path" ||
		die "$path is not static: build with -Dstatic_tests=true"
	cp "$path" "$root/lab/$name"
done
[ -z "$files" ] || add_files
! cut -f 6 "$cases" | grep -qw kernel || cp "$kernel/vmlinuz" "$root/vmlinuz"

(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$out"
rm -rf "$root"
