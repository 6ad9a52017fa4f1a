# SPDX-License-Identifier: MIT
# Completion of bezoard(8) for bash.

_bezoard()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	if [[ $prev == = ]] && ((COMP_CWORD > 2)); then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $cur == = ]]; then
		cur=''
	fi
	case $prev in
	--socket | -s | --store | -d | --kmsg | -k | --metrics | -M)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--files | -f | --latches | -L)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--max-age | -a | --max-size | -m | --delay | -t | --rate | -r | --clients | -c | \
		--exec | -x | --exec-limit | -l)
		;;
	*)
		mapfile -t COMPREPLY < <(compgen -W '--socket --store --files --max-age
			--max-size --delay --rate --clients --kmsg --no-kmsg
			--exec --exec-limit --metrics --latches --help --usage
			--version' -- "$cur") ;;
	esac
}

complete -F _bezoard bezoard
