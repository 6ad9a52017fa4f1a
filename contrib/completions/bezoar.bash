# SPDX-License-Identifier: MIT
# Completion of bezoar(1) for bash. Needs nothing of bash-completion; what the program
# knows itself, it is asked for.

# "O67 SOURCE_DIGEST ...": codes and symbols, a word each
__bezoar_codes()
{
	local kind=$1 code symbol rest

	"${COMP_WORDS[0]}" explain 2>/dev/null | while read -r code symbol rest; do
		[[ $code == $kind* ]] && echo "$code $symbol"
	done
}

_bezoar()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' options='' words='' i args=0
	local common='--help --usage --version'

	COMPREPLY=()
	# "--since=x" comes as three words
	if [[ $prev == = ]] && ((COMP_CWORD > 2)); then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $cur == = ]]; then
		cur=''
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-* | =) ;;
		*)
			if [[ -z $command ]]; then
				command=${COMP_WORDS[i]}
			else
				args=$((args + 1))
			fi ;;
		esac
	done
	case $command in
	log)
		options="--json --color --since --id --digest --number --pid --comm
			--region --outcome --cause --follow --counts --apart" ;;
	explain)
		options='--json' ;;
	report)
		options='--output --since --store' ;;
	check)
		options='--json --quiet --real --yes --strict --deadline' ;;
	run)
		options='--live-on --note --name --record --restarts --socket --state --store
			--termination-log --within' ;;
	clear)
		options='--check --state' ;;
	unit)
		options='--restarts --within' ;;
	esac
	case "$command $prev" in
	*' --store' | *' --output' | 'report -o' | 'report -d' | *' --record' | *' --socket' | \
		*' --state' | *' --termination-log')
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	*' --outcome' | 'log -o')
		words=$(__bezoar_codes O) ;;
	*' --cause' | 'log -C')
		words=$(__bezoar_codes C) ;;
	*' --color')
		words='auto always never' ;;
	# a letter is of its command: elsewhere it may have no argument
	*' --since' | *' --id' | *' --digest' | *' --number' | *' --pid' | *' --comm' | \
		*' --region' | *' --deadline' | *' --note' | *' --name' | *' --restarts' | \
		*' --within' | 'log -'[SiDNpcR] | 'report -S' | 'check -d' | 'run -'[nrw] | \
		'unit -'[rw])
		return ;;
	*)
		if [[ $cur == -* ]]; then
			words="$options $common"
		elif [[ -z $command ]]; then
			words='log explain report check run clear unit'
		elif [[ $command == explain && $args == 0 ]]; then
			words=$(__bezoar_codes '[OC]')
		elif [[ $command == log || $command == explain || $command == run ]]; then
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
		fi ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _bezoar bezoar
