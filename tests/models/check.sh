#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Check a Promela model in all its cases; TAP on standard output.
#
#	check.sh MODEL			all cases of MODEL.cases
#	check.sh MODEL holds		those where it must find no error
#	check.sh MODEL faults		those where it must find an error
#	check.sh MODEL NAME		one, as in: check.sh claims no-probe
#
# MODEL.cases has a line for each case: what the search must say, how it is
# done, a name, and the settings of MODEL.pml (a macro each).
#
#	ok		no error, and nothing left unsearched
#	assert:TEXT	an assertion fails whose text contains TEXT
#	deadlock	a run ends before its processes do
#	livelock	a run goes on for ever			(cycles)
#	starvation	a property never comes true		(fair)
#
# A faulty variant that passes is a failure: so is one with another error than
# it was made for.
#
# SPIN and CC name the programs; what CC makes must run here.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
model=${1:?usage: check.sh MODEL [holds | faults | NAME]}
only=${2-all}
spin=${SPIN:-spin}
cc=${CC:-cc}
# Of one search. Each needs less than half of either.
memory_mib=1500
seconds=120

for program in "$spin" "$cc"; do
	if ! command -v "$program" >/dev/null; then
		echo "1..0 # SKIP $program is not installed"
		exit 0
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work"

# search HOW MACRO...: leave what pan said in ./said
search()
{
	how=$1
	shift
	rm -f said ./*.trail
	case $how in
	safety)	build=-DSAFETY flags= ;;
	cycles)	build=-DNP flags=-l ;;
	fair)	build=-DNFAIR=3 flags='-a -f' ;;
	*)	echo "unknown kind of search: $how" >said; return ;;
	esac
	macros=
	for macro in "$@"; do
		if ! grep -qw "${macro%%=*}" "$here/$model.pml"; then
			echo "$model.pml knows no ${macro%%=*}" >said
			return
		fi
		macros="$macros -D$macro"
	done
	# shellcheck disable=SC2086 # words, on purpose
	if ! "$spin" -a $macros "$here/$model.pml" >said 2>&1 ||
	   ! "$cc" -O1 -w "$build" -DMEMLIM="$memory_mib" \
		-o pan pan.c >>said 2>&1; then
		return
	fi
	# shellcheck disable=SC2086
	timeout "$seconds" ./pan -m20000 $flags >said 2>&1 ||
		echo "pan: exit status $?" >>said
}

# as_wanted WANT: does ./said say so?
as_wanted()
{
	error=$(sed -n 's/^pan:1: //p' said)
	case $1 in
	ok)
		grep -q 'errors: 0$' said &&
		! grep -q -e 'Search not completed' -e 'too small' \
			-e 'out of memory' -e 'exit status' said
		return ;;
	assert:*)	pattern="assertion violated*${1#assert:}*" ;;
	deadlock)	pattern='invalid end state*' ;;
	livelock)	pattern='non-progress cycle*' ;;
	starvation)	pattern='acceptance cycle*' ;;
	*)		return 1 ;;
	esac
	# the text is no pattern: [ is an index
	pattern=$(echo "$pattern" | sed 's/\[/\\[/g')
	# shellcheck disable=SC2254 # a pattern, on purpose
	case $error in
	$pattern) return 0 ;;
	esac
	return 1
}

explain()
{
	echo "# wanted: $1; settings: $2; the search said:"
	sed 's/^/#   /' said
	if [ -e "$model.pml.trail" ]; then
		echo '# the end of the run that it found:'
		# shellcheck disable=SC2086
		"$spin" -p -k "$model.pml.trail" $macros "$here/$model.pml" \
			2>&1 | tail -n 80 | sed 's/^/#   /'
	fi
}

awk -v only="$only" '
	/^#/ || NF == 0	{ next }
	only == "all" || only == $3 ||
	only == ($1 == "ok" ? "holds" : "faults")
	' "$here/$model.cases" >cases
count=$(wc -l <cases)
if [ "$count" -eq 0 ]; then
	echo "Bail out! $model.cases has no case for $only"
	exit 1
fi

echo 'TAP version 13'
echo "1..$count"
number=0
bad=0
while read -r want how name settings; do
	number=$((number + 1))
	# shellcheck disable=SC2086
	search "$how" $settings </dev/null
	if as_wanted "$want"; then
		echo "ok $number - $name: $want"
		sed -n 's/^ *\([0-9]*\) states, stored.*/# \1 states/p' said
	else
		echo "not ok $number - $name: $want"
		explain "$want" "$settings"
		bad=1
	fi
done <cases

# meson reads the plan; it calls a non-zero exit an error of its own
[ "$bad" -eq 0 ] || [ -n "${MESON_TEST_ITERATION-}" ]
