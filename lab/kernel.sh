#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel.sh CACHE SERIES SUITES: get the newest Debian kernel of the series;
# print the directory that holds
#
#	vmlinuz  config		the kernel
#	version			its package's version
#	modules/NN-NAME.ko	the modules to load, in that order
#	kvm/NN-NAME.ko		those of KVM, for a machine that is to have it
#	dax/NN-NAME.ko		those of persistent memory, likewise
#
# SUITES is the third field of lab/kernels. Lists and packages are fetched by
# apt, which checks them with the key of Debian's archive; its sources, lists
# and state lie in CACHE, so that the host's apt knows nothing of it. If
# that fails, a kernel that was fetched before will do. The last line on
# standard error says why there is none.
set -eu

cache=$1 series=$2 suites=$3
mirror=${BEZOAR_LAB_MIRROR:-http://deb.debian.org}
keyring=${BEZOAR_LAB_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
wanted='hwpoison-inject virtio_pci virtio_blk crc32c_generic ext4'
kvm='kvm-amd'
dax='nfit nd_pmem dax_pmem device_dax'

say() { echo "lab: Linux $series: $*" >&2; }

# apt_for ARCHIVE SUITE: an apt of our own. Of the host's settings it only has
# those about the way to the network, and none of its hooks.
apt_for()
{
	state=$cache/apt/$2
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	: >"$state/status"
	echo "deb [arch=amd64 signed-by=$keyring] $mirror/$1 $2 main" \
		>"$state/sources.list"
	{
		apt-config dump | grep -E '^Acquire::(https?|Retries)' || :
		cat <<-END
		Dir::State "$state";
		Dir::State::status "$state/status";
		Dir::Cache "$state";
		Dir::Etc::Parts "/dev/null";
		Dir::Etc::Main "/dev/null";
		Dir::Etc::SourceList "$state/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::http::Timeout "20";
		END
	} >"$state/apt.conf"
	export APT_CONFIG="$state/apt.conf"
}

# The lists of this suite, not older than a day.
lists()
{
	[ -z "$(find "$state/updated" -mmin -1440 2>/dev/null)" ] || return 0
	say "asking for the lists of ${state##*/}"
	apt-get -q update -o APT::Update::Error-Mode=any >&2 || return 1
	touch "$state/updated"
}

# The newest image: names only differ in their numbers, so the version sort
# finds it; -cloud and -rt do not match.
newest()
{
	re="^linux-image-$(echo "$series" | sed 's/\./\\./g')\\.[0-9.]+"
	apt-cache search --names-only "$re(-[0-9]+|\\+deb[0-9.]+)-amd64\$" |
		cut -d' ' -f1 | sort -V | tail -n 1
}

# Image and modules may be packages of their own, which the image names.
parts()
{
	echo "$1"
	apt-cache depends --important "$1" | sed -n \
		's/^ *Depends: \(linux-\(base\|binary\|modules\)-[0-9].*\)/\1/p'
}

# What a module says it needs, one name per line.
needs()
{
	tr '\0' '\n' <"$1" | sed -n 's/^depends=//p' | tr ',' '\n' | grep . || :
}

# module DIR NAME FOLDER: put it there, and first what it needs. It ends
# with 1 if there is none, 2 if it could not be had. (No set -e here, nor in
# what calls it: that is asked for its status.)
module()
{
	[ -z "$(find "$1/$3" -name "*-$2.ko")" ] || return 0
	# File names may have '-' where the module's own name has '_'.
	like=$(echo "$2" | sed 's/[-_]/[-_]/g')
	found=$(find "$1/root" -path '*/kernel/*' -name "$like.ko*")
	[ -n "$found" ] || return 1
	case $found in
	*.xz)	xz -d <"$found" ;;
	*.zst)	zstd -q -d <"$found" ;;
	*)	cat "$found" ;;
	esac >"$1/$2.ko" || {
		say "${found##*/} could not be unpacked"
		return 2
	}
	for n in $(needs "$1/$2.ko"); do
		module "$1" "$n" "$3" || {
			say "what $2 needs could not be had"
			return 2
		}
	done
	count=$(find "$1/$3" -name '*.ko' | wc -l)
	mv "$1/$2.ko" "$1/$3/$(printf '%02d' "$count")-$2.ko" || return 2
}

# modules DIR: those that are wanted. One that the kernel was configured to
# have as a module, and that is not there, was lost on the way.
modules()
{
	for m in $wanted $kvm $dax; do
		had=0 to=modules
		[ "$m" != "$kvm" ] || to=kvm
		case " $dax " in
		*" $m "*) to=dax ;;
		esac
		module "$1" "$m" $to || had=$?
		[ "$had" != 2 ] || return 1
		[ "$had" = 1 ] || continue
		case $m in
		hwpoison-inject) option=HWPOISON_INJECT ;;
		ext4)		 option=EXT4_FS ;;
		nfit)		 option=ACPI_NFIT ;;
		nd_pmem)	 option=BLK_DEV_PMEM ;;
		dax_pmem)	 option=DEV_DAX_PMEM ;;
		device_dax)	 option=DEV_DAX ;;
		virtio_*|kvm-*)	 option=$(echo "$m" | tr '[:lower:]-' '[:upper:]_') ;;
		*)		 option='' ;;
		esac
		if [ -n "$option" ] &&
		   grep -q "^CONFIG_$option=m" "$1/config"; then
			say "CONFIG_$option is m, and there is no $m"
			return 1
		fi
		say "has no module $m: built in, or none"
	done
}

# fetch PACKAGE VERSION DIR: DIR appears complete or not at all.
fetch()
{
	tmp=$(mktemp -d "$cache/.fetch.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 143' INT TERM HUP
	mkdir "$tmp/modules" "$tmp/kvm" "$tmp/dax" "$tmp/root"
	for part in $(parts "$1"); do
		(cd "$tmp" && apt-get -q download "$part" >&2) || return 1
		say "unpacking $part"
		{ dpkg-deb --fsys-tarfile "$tmp"/*.deb || touch "$tmp/cut"; } |
			tar -x -C "$tmp/root" \
			--wildcards --exclude='*/System.map*' \
			--exclude='*/drivers/gpu/*' --exclude='*/sound/*' ||
			touch "$tmp/cut"
		if [ -e "$tmp/cut" ]; then
			say "$part could not be unpacked"
			return 1
		fi
		rm "$tmp"/*.deb || return 1
	done
	find "$tmp/root" -name 'vmlinuz*' -type f -exec mv '{}' \
		"$tmp/vmlinuz" ';'
	find "$tmp/root" -regex '.*/\(boot/config-.*\|modules/[^/]*/config\)' \
		-exec mv '{}' "$tmp/config" ';'
	if ! [ -s "$tmp/vmlinuz" ] || ! [ -s "$tmp/config" ]; then
		say "$1 holds no kernel where it was looked for"
		return 1
	fi
	modules "$tmp" || return 1
	echo "$2" >"$tmp/version" || return 1
	rm -rf "${tmp:?}/root" || return 1
	mv -T "$tmp" "$3" 2>/dev/null || [ -s "$3/vmlinuz" ]
}

# from ARCHIVE SUITE: the kernel of that suite; its directory is left in $dir.
from()
{
	apt_for "$1" "$2"
	# One run at a time; who waited finds it done.
	exec 9>"$state/lock"
	flock 9
	lists || { why="the lists of $2 could not be fetched"; return 1; }
	package=$(newest)
	[ -n "$package" ] || { why="$2 has none"; return 1; }
	version=$(apt-cache show --no-all-versions "$package" |
		sed -n 's/^Version: //p')
	# With other modules it is another directory: a run may be in the old.
	dir=$cache/linux-$series-$version-$sum
	[ -s "$dir/vmlinuz" ] || fetch "$package" "$version" "$dir" || {
		why="$package could not be fetched"
		return 1
	}
}

for tool in apt-get apt-cache apt-config dpkg-deb; do
	command -v "$tool" >/dev/null || {
		say "no $tool: the lab takes its kernels from Debian's archive"
		exit 1
	}
done
[ -r "$keyring" ] || {
	say "no $keyring: install debian-archive-keyring"
	exit 1
}
mkdir -p "$cache"
sum=$(echo "$wanted / $kvm / $dax" | cksum | cut -d' ' -f1)
dir='' why=''
for suite in $(echo "$suites" | tr , ' '); do
	! from "${suite%:*}" "${suite#*:}" || break
	say "$why"
	dir=''
done
if [ -z "$dir" ]; then
	dir=$(find "$cache" -maxdepth 1 -name "linux-$series-*-$sum" |
		sort -V | tail -n 1)
	[ -n "$dir" ] || { say "no kernel: $why"; exit 1; }
	say "taking the one of before, $(cat "$dir/version")"
fi
for option in MEMORY_FAILURE=y USERFAULTFD=y DEVTMPFS=y DEBUG_FS=y; do
	grep -q "^CONFIG_$option" "$dir/config" || {
		say "built without CONFIG_$option"
		exit 1
	}
done
echo "$dir"
