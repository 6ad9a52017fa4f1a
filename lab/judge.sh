#!/bin/sh
# SPDX-License-Identifier: MIT
# judge.sh CONSOLE_LOG: read the guest's report (guest-init has its grammar)
# on standard input; print each result as it comes and the sum at the end.
# Exit status: 0 all well, 1 a case failed, 3 the guest broke off.
#
# A shell loop, because it shows a line when it arrives: awk may wait for a
# full buffer.
set -eu

console=$1
passed=0 failed=0 skipped=0 point=0
begun='' done='' name='' skips=''

pass() { point=$((point + 1)) passed=$((passed + 1)); echo "ok $point - $1"; }

fail()
{
	point=$((point + 1)) failed=$((failed + 1))
	echo "not ok $point - $*"
}

skip()
{
	point=$((point + 1)) skipped=$((skipped + 1))
	echo "ok $point - $1 # SKIP $2"
	skips="$skips
# skipped: $1: $2"
}

# A line of the program: a point of its TAP, or an explanation. A `not ok` is
# never taken for a skip, whatever follows it.
program_said()
{
	if [ "$answer" = exit ]; then
		echo "#   $1"
		return
	fi
	what="$name: ${1#*ok * - }"
	case $1 in
	1..*)			plan=${1#1..} ;;
	'ok '*' # SKIP '*)	seen=$((seen + 1))
				skip "${what%% # SKIP*}" "${1#* # SKIP }" ;;
	'ok '*)			seen=$((seen + 1)); pass "$what" ;;
	'not ok '*)		seen=$((seen + 1)) bad=$((bad + 1))
				fail "$what" ;;
	'TAP version'*)		;;
	*)			echo "#   ${1#'# '}" ;;
	esac
}

# The case as a whole: what its points cannot say.
case_ended()
{
	[ -z "$complained" ] || fail "$name: the kernel complained: see above"
	case $1 in
	skip*)		skip "$name" "${1#skip }"; return ;;
	missing*)	fail "$name: ${1#missing } is not in --bin"; return ;;
	broken*)	fail "$name: ${1#broken }"; return ;;
	timeout*)	fail "$name: not done after ${1#timeout } s"; return ;;
	esac
	status=${1#status }
	if [ "$answer" = exit ]; then
		if [ "$status" -eq 0 ]; then
			pass "$name"
		else
			fail "$name: exit status $status"
		fi
	elif [ "$seen" -eq 0 ] || [ "$seen" != "$plan" ]; then
		fail "$name: $seen results, '${plan:-no plan}' promised," \
		     "exit status $status"
	elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		fail "$name: exit status $status, though no result is bad"
	fi
}

# The end of the console; from the first bad news on, if there is any.
last_words()
{
	echo "# from its console:"
	tr -d '\r' <"$console" | awk '
		/BUG:|WARNING:|Oops|Kernel panic/ && !found { found = NR }
		{ line[NR] = $0 }
		END {
			first = found ? found : NR - 19
			for (i = first; i <= NR && i < first + 20; i++)
				if (i > 0)
					print "#   " line[i]
		}'
}

cr=$(printf '\r')
while IFS= read -r line || [ -n "$line" ]; do
	line=${line%"$cr"}
	case $line in
	'lab-begin '*)
		begun=${line#lab-begin }
		echo "# Linux ${begun#* }, cases: ${begun% *}" ;;
	'lab-case '*)
		line=${line#lab-case }
		name=${line% *} answer=${line##* } plan='' seen=0 bad=0
		complained='' ;;
	'| '*)
		program_said "${line#| }" ;;
	'lab-klog '*)
		complained=yes
		echo "#   kernel: ${line#lab-klog }" ;;
	'lab-end '*)
		case_ended "${line#"lab-end $name "}"
		name='' ;;
	'lab-done '*)
		done=${line#lab-done } ;;
	*)
		echo "# guest: $line" ;;
	esac
done

status=0
if [ -z "$done" ] || [ "$done" != "${begun% *}" ]; then
	fail "the guest ended${name:+ in case $name}," \
	     "without saying that it was done"
	last_words
	status=3
elif [ "$failed" -ne 0 ]; then
	status=1
elif [ "$passed" -eq 0 ]; then
	fail "nothing has passed: nothing is proved"
	status=1
fi
[ -z "$skips" ] || echo "${skips#?}"
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
