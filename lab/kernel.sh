#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel.sh CACHE: get the newest Debian kernel of the series that the cases
# were written for; print the directory that holds
#
#	vmlinuz  config		the kernel
#	modules/NN-NAME.ko	the modules to load, in that order
#
# The package is asked for by apt, so its signature is checked by apt.
set -eu

series=6.12
wanted='hwpoison-inject virtio_blk crc32c_generic ext4'
cache=$1

say() { echo "lab: $*" >&2; }

# The signed image if there is one. Names only differ in their numbers, so
# the version sort finds the newest; -cloud and -rt do not match.
newest()
{
	re="^linux-image-$(echo "$series" | sed 's/\./\\./g')\\.[0-9.]+"
	re="$re\\+deb[0-9]+-amd64"
	for end in '$' '-unsigned$'; do
		apt-cache search --names-only "$re$end" | cut -d' ' -f1 |
			sort -V | tail -n 1
	done | grep . | head -n 1
}

# What a module says it needs, one name per line.
needs()
{
	tr '\0' '\n' <"$1" | sed -n 's/^depends=//p' | tr ',' '\n' | grep . || :
}

# module DIR NAME: take it out of the package, and first what it needs.
module()
{
	[ -z "$(find "$1/modules" -name "*-$2.ko")" ] || return 0
	# File names may have '-' where the module's own name has '_'.
	like=$(echo "$2" | sed 's/[-_]/[-_]/g')
	rm -rf "$1/one"
	mkdir "$1/one"
	dpkg-deb --fsys-tarfile "$1/package.deb" |
		tar -x -C "$1/one" --wildcards --wildcards-match-slash \
			"*/kernel/*/$like.ko*"
	find "$1/one" -name '*.xz' -exec xz -d '{}' +
	find "$1/one" -name '*.zst' -exec zstd -q -d --rm '{}' +
	find "$1/one" -name '*.ko' -exec mv '{}' "$1/$2.ko" ';'
	for n in $(needs "$1/$2.ko"); do
		module "$1" "$n"
	done
	count=$(find "$1/modules" -name '*.ko' | wc -l)
	mv "$1/$2.ko" "$1/modules/$(printf '%02d' "$count")-$2.ko"
}

# fetch PACKAGE DIR: DIR appears complete or not at all.
fetch()
{
	tmp=$(mktemp -d "$cache/.fetch.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 143' INT TERM HUP
	mkdir "$tmp/modules"
	# No sandbox user: it could not write into a home directory.
	if ! (cd "$tmp" && apt-get -q -o APT::Sandbox::User=root \
		download "$1" >&2); then
		say "$1 could not be downloaded; is the network there?"
		return 1
	fi
	mv "$tmp"/*.deb "$tmp/package.deb"
	say "unpacking $1"
	dpkg-deb --fsys-tarfile "$tmp/package.deb" |
		tar -x -C "$tmp" --wildcards './boot/vmlinuz-*' \
			'./boot/config-*'
	mv "$tmp"/boot/vmlinuz-* "$tmp/vmlinuz"
	mv "$tmp"/boot/config-* "$tmp/config"
	for m in $wanted; do
		module "$tmp" "$m"
	done
	rm -rf "${tmp:?}/one" "${tmp:?}/boot" "$tmp/package.deb"
	mv -T "$tmp" "$2" 2>/dev/null || [ -s "$2/vmlinuz" ]
}

mkdir -p "$cache"
if ! command -v apt-cache >/dev/null; then
	say "no apt-cache: the lab takes its kernel from Debian's archive"
	exit 1
fi
package=$(newest || :)
if [ -z "$package" ]; then
	say "apt knows no Linux $series; asking for its lists again"
	apt-get -q update >&2 || :
	package=$(newest || :)
fi
if [ -z "$package" ]; then
	say "apt offers no linux-image-$series.*-amd64:" \
	    "on Debian 12 add bookworm-security or bookworm-backports to" \
	    "its sources and run 'apt-get update' as root"
	exit 1
fi

# With other modules it is another directory: a run may be in the old one.
dir=$cache/$package-$(echo "$wanted" | cksum | cut -d' ' -f1)
[ -s "$dir/vmlinuz" ] || fetch "$package" "$dir"
for option in MEMORY_FAILURE=y USERFAULTFD=y DEVTMPFS=y DEBUG_FS=y; do
	grep -q "^CONFIG_$option" "$dir/config" || {
		say "$package is built without CONFIG_$option"
		exit 1
	}
done
echo "$dir"
