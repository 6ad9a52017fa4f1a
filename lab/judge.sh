#!/bin/sh
# SPDX-License-Identifier: MIT
# judge.sh SERIES WORK: read the guest's report (guest-init has its grammar) on
# standard input and print each result as it comes. WORK has console.log and
# errata (the lines of lab/errata for this kernel, without it); the results are
# added to WORK/results, the seconds that each case took to WORK/times, the
# kernel's version is left in WORK/version.
# Exit status: 0 all well, 1 a case failed, 3 the guest broke off, 4 it ended
# before its first case and LAB_AGAIN is set: nothing has been said of it.
#
# A shell loop, because it shows a line when it arrives: awk may wait for a
# full buffer.
set -eu

series=$1 work=$2
passed=0 failed=0 skipped=0 point=0 ended=0
begun='' done=''
name='' answer='' plan='' seen=0 bad=0 said='' complained=''
tab=$(printf '\t')

# cell POINT: the page type, injection, trigger and action of a point of the
# matrix, which its name is made of; of others there are none.
cell()
{
	case $name,$1 in
	matrix*,*[!a-z0-9/-]*) ;;
	matrix*,*/*/*/*/*) ;;
	matrix*,?*/?*/?*/?*)
		echo "$1" | tr / '\t'
		return ;;
	esac
	printf '%s\t%s\t%s\t%s\n' - - - -
}

# result POINT RESULT REASON GOT: a line of WORK/results; report.py says what
# its fields are. What a program says may have tabs in it.
result()
{
	fields=$*
	case $fields in
	*"$tab"*)
		result "$(echo "$1" | tr '\t' ' ')" "$2" \
			"$(echo "$3" | tr '\t' ' ')" \
			"$(echo "$4" | tr '\t' ' ')"
		return ;;
	esac
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$series" \
		"${name:--}" "$1" "$(cell "$1")" "$2" "$3" "$4" \
		>>"$work/results"
}

# known POINT [GOT]: does an erratum say that it fails on this kernel, with GOT if
# it says with what? The reason is left in $why.
known()
{
	while IFS=$tab read -r e_case e_point expected why; do
		case $expected in
		fail)	;;
		fail=*)	# shellcheck disable=SC2254
			case ${2-any} in
			${expected#*=}) ;;
			*) [ $# = 1 ] || continue ;;
			esac ;;
		*)	continue ;;
		esac
		# shellcheck disable=SC2254 # both are patterns
		case ${name:--} in
		$e_case) ;;
		*) continue ;;
		esac
		# A pattern is not meant for what is seen of the whole case.
		case $1 in
		'kernel log'|program|needs|time|results|'exit status')
			[ "$e_point" = "$1" ] || continue
			return 0 ;;
		esac
		# shellcheck disable=SC2254
		case $1 in
		$e_point) return 0 ;;
		esac
	done <"$work/errata"
	return 1
}

full() { echo "$series ${name:--}${1:+: $1}"; }

pass()
{
	if known "${1:--}"; then
		bad_point "$1" "passed, but lab/errata says: $why"
		return
	fi
	point=$((point + 1)) passed=$((passed + 1))
	echo "ok $point - $(full "$1")"
	result "${1:--}" pass - -
}

# skip POINT RESULT REASON GOT
skip()
{
	point=$((point + 1)) skipped=$((skipped + 1))
	echo "ok $point - $(full "$1") # SKIP $3"
	result "${1:--}" "$2" "$3" "$4"
}

bad_point()
{
	point=$((point + 1)) failed=$((failed + 1))
	echo "not ok $point - $(full "$1")${2:+ ($2)}"
	result "${1:--}" fail - "${2:--}"
}

fail()
{
	if known "$1" "$2"; then
		skip "$1" skip "erratum: $why" "$2"
	else
		bad_point "$1" "$2"
	fi
}

# held POINT: one of the whole case is good, which is no result of its own; but
# an erratum of just that name is to go.
held()
{
	if known "$1"; then
		bad_point "$1" "passed, but lab/errata says: $why"
	fi
}

# A line of the program: a point of its TAP, or an explanation, of which the
# first before a point is kept. A skip of what nobody could try is a why-not. A `not ok` is never taken for a skip, whatever
# follows it.
program_said()
{
	if [ "$answer" = exit ]; then
		echo "#   $series: $1"
		return
	fi
	what=${1#*ok * - }
	case $1 in
	1..*)			plan=${1#1..} ;;
	'ok '*' # SKIP why-not: '*) seen=$((seen + 1))
				skip "${what%% # SKIP*}" why-not \
					"${1#* # SKIP why-not: }" - ;;
	'ok '*' # SKIP '*)	seen=$((seen + 1))
				skip "${what%% # SKIP*}" skip \
					"${1#* # SKIP }" - ;;
	'ok '*)			seen=$((seen + 1)); pass "$what" ;;
	'not ok '*)		seen=$((seen + 1)) bad=$((bad + 1))
				fail "$what" "$said" ;;
	'TAP version'*)		;;
	*)			echo "#   $series: ${1#'# '}"
				said=${said:-${1#'# '}}
				return ;;
	esac
	said=''
}

# The case as a whole: what its points cannot say. Each has a name, by which
# an erratum can expect it.
case_ended()
{
	ended=$((ended + 1))
	[ -z "$complained" ] || fail 'kernel log' "$complained"
	case $1 in
	skip*)		skip '' why-not "${1#skip }" -; return ;;
	missing*)	fail program "${1#missing } is not in --bin"; return ;;
	broken*)	fail needs "${1#broken }"; return ;;
	timeout*)	fail time "not done after ${1#timeout } s"; return ;;
	esac
	[ -n "$complained" ] || held 'kernel log'
	for good in program needs time; do
		held "$good"
	done
	if [ "$answer" = exit ]; then
		:
	elif [ "$seen" -eq 0 ] || [ "$seen" != "$plan" ]; then
		fail results "$seen, '${plan:-no plan}' promised, $1"
	else
		held results
	fi
	# 1 says no more than that a result is bad; anything else is a death
	# of its own.
	status=${1#status }
	case $answer,$bad,$status in
	*,*,|*,*,*[!0-9]*)
		fail 'exit status' "none, but '$1'" ;;
	exit,*,0)
		held 'exit status'
		pass '' ;;
	tap,0,0)
		held 'exit status' ;;
	tap,0,*|exit,*)
		fail 'exit status' "$status" ;;
	tap,*,1)
		held 'exit status' ;;
	*)
		fail 'exit status' "$status, and $bad results are bad" ;;
	esac
}

# The end of the console; from the first bad news on, if there is any.
last_words()
{
	echo "# from the console of $series:"
	tr -d '\r' <"$work/console.log" | awk '
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
		echo "# Linux ${begun#* }, cases: ${begun% *}"
		echo "${begun#* }" >"$work/version" ;;
	'lab-case '*)
		[ -z "$name" ] || bad_point end "the next case began before it"
		line=${line#lab-case }
		name=${line% *} answer=${line##* } plan='' seen=0 bad=0
		complained='' said='' ;;
	'| '*)
		program_said "${line#| }" ;;
	'lab-klog '*)
		echo "#   kernel $series: ${line#lab-klog }"
		if [ -n "$name" ]; then
			complained=${complained:-${line#lab-klog }}
		else
			bad_point 'kernel log' "${line#lab-klog }"
		fi ;;
	'lab-time '*)
		line=${line#lab-time }
		printf '%s\t%s\n' "${line% *}" "${line##* }" >>"$work/times" ;;
	'lab-end '*)
		case_ended "${line#"lab-end $name "}"
		name='' ;;
	'lab-done '*)
		done=${line#lab-done } ;;
	*)
		echo "# guest $series: $line" ;;
	esac
done

if [ -z "$begun" ] && [ -n "${LAB_AGAIN:-}" ]; then
	echo "# $series: ended before its first case; it is booted once more"
	last_words
	exit 4
fi
status=0
lost=''
if [ -z "$done" ] || [ "$done" != "${begun% *}" ]; then
	lost="ended without having said that it was done"
elif [ "$ended" != "$done" ]; then
	lost="said that $done cases were run, and the end of $ended"
fi
if [ -n "$lost" ]; then
	bad_point guest "$lost"
	last_words
	status=3
elif [ "$failed" -ne 0 ]; then
	status=1
fi
echo "# $series: $passed passed, $failed failed, $skipped skipped"
exit "$status"
