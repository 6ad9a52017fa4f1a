# SPDX-License-Identifier: MIT
# Completion of bezoar(1) for fish. Codes are asked of the program.

# __bezoar_codes KIND: O, C, or [OC]; codes and symbols, each with its name
function __bezoar_codes
    set -l program (commandline -opc)[1]
    $program explain 2>/dev/null | string match -r "^$argv[1].*" |
        string replace -r '^(\S+)\s+(\S+)\s+(.*)$' '$1\t$3\n$2\t$3'
end

function __bezoar_in
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test "$words[2]" = $argv[1]
end

# the code is the first word behind "explain" that is no option
function __bezoar_code_wanted
    __bezoar_in explain; and test (count (string match -v -- '-*' (commandline -opc))) -eq 2
end

complete -c bezoar -f
complete -c bezoar -s '?' -l help -d 'show how it is called'
complete -c bezoar -l usage -d 'show the options'
complete -c bezoar -s V -l version -d 'show the version'

complete -c bezoar -n __fish_use_subcommand -a log -d 'show records'
complete -c bezoar -n __fish_use_subcommand -a explain -d 'say what a code means'
complete -c bezoar -n __fish_use_subcommand -a report -d 'draw what became of lost pages'
complete -c bezoar -n __fish_use_subcommand -a check -d 'say what this machine can survive'
complete -c bezoar -n __fish_use_subcommand -a run -d 'start again what dies of lost memory'
complete -c bezoar -n __fish_use_subcommand -a clear -d 'let a latched name be started again'
complete -c bezoar -n __fish_use_subcommand -a unit -d 'print a drop-in for systemd'

complete -c bezoar -n '__bezoar_in log' -F
complete -c bezoar -n '__bezoar_in log' -s j -l json -d 'JSON, one object a line'
complete -c bezoar -n '__bezoar_in log' -l color -xa 'auto always never' -d 'of outcomes'
complete -c bezoar -n '__bezoar_in log' -s S -l since -x -d 'from then on'
complete -c bezoar -n '__bezoar_in log' -s i -l id -x -d 'of this number in its process'
complete -c bezoar -n '__bezoar_in log' -s D -l digest -x -d 'the one with this digest'
complete -c bezoar -n '__bezoar_in log' -s N -l number -x -d 'of a store: the one in this row'
complete -c bezoar -n '__bezoar_in log' -s p -l pid -xa '(__fish_complete_pids)' -d 'of this process'
complete -c bezoar -n '__bezoar_in log' -s c -l comm -x -d 'of processes of this name'
complete -c bezoar -n '__bezoar_in log' -s R -l region -x -d 'of regions of this name'
complete -c bezoar -n '__bezoar_in log' -s o -l outcome -xa '(__bezoar_codes O)' -d 'with this outcome'
complete -c bezoar -n '__bezoar_in log' -s C -l cause -xa '(__bezoar_codes C)' -d 'with this cause'
complete -c bezoar -n '__bezoar_in log' -s f -l follow -d 'wait for more'
complete -c bezoar -n '__bezoar_in log' -s n -l counts -d 'of a store: what was counted'
complete -c bezoar -n '__bezoar_in log' -s a -l apart -d 'of a store: what was not believed'

complete -c bezoar -n '__bezoar_in explain' -s j -l json -d 'JSON, one object a line'
complete -c bezoar -n __bezoar_code_wanted -a "(__bezoar_codes '[OC]')"
complete -c bezoar -n '__bezoar_in explain; and not __bezoar_code_wanted' -F

complete -c bezoar -n '__bezoar_in report' -s o -l output -rF -d 'write the page there'
complete -c bezoar -n '__bezoar_in report' -s S -l since -x -d 'from then on'
complete -c bezoar -n '__bezoar_in report' -s d -l store -rF -d 'of this store'

complete -c bezoar -n '__bezoar_in check' -s j -l json -d JSON
complete -c bezoar -n '__bezoar_in check' -s q -l quiet -d 'only what does not hold'
complete -c bezoar -n '__bezoar_in check' -s r -l real -d 'lose real pages'
complete -c bezoar -n '__bezoar_in check' -s y -l yes -d 'do not ask'
complete -c bezoar -n '__bezoar_in check' -s s -l strict -d 'what cannot be tested is as if broken'
complete -c bezoar -n '__bezoar_in check' -s d -l deadline -x -d 'for each experiment'

complete -c bezoar -n '__bezoar_in run' -F
complete -c bezoar -n '__bezoar_in run' -l live-on -d 'it lives on if this is killed'
complete -c bezoar -n '__bezoar_in run' -l note -x -d 'how this service has ended'
complete -c bezoar -n '__bezoar_in run' -s n -l name -x -d 'what it is remembered by'
complete -c bezoar -n '__bezoar_in run' -l record -rF -d 'where it writes its records'
complete -c bezoar -n '__bezoar_in run' -s r -l restarts -x -d 'as many at most'
complete -c bezoar -n '__bezoar_in run' -l socket -rF -d 'of bezoard'
complete -c bezoar -n '__bezoar_in run' -l state -rF -d 'deaths are remembered there'
complete -c bezoar -n '__bezoar_in run' -l store -rF -d 'of bezoard'
complete -c bezoar -n '__bezoar_in run' -l termination-log -rF -d 'the reason goes there'
complete -c bezoar -n '__bezoar_in run' -s w -l within -x -d 'in so long'

complete -c bezoar -n '__bezoar_in clear' -l check -d 'may it be started?'
complete -c bezoar -n '__bezoar_in clear' -l state -rF -d 'deaths are remembered there'

complete -c bezoar -n '__bezoar_in unit' -s r -l restarts -x -d 'as many at most'
complete -c bezoar -n '__bezoar_in unit' -s w -l within -x -d 'in so long'
