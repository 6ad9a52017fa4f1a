# SPDX-License-Identifier: MIT
# Completion of bezoard(8) for fish.

complete -c bezoard -f
complete -c bezoard -s s -l socket -rF -d 'listen there'
complete -c bezoard -s d -l store -rF -d 'keep records there'
complete -c bezoard -s f -l files -xa '(__fish_complete_directories)' -d 'take records from the files in there'
complete -c bezoard -s a -l max-age -x -d 'records go after so many days'
complete -c bezoard -s m -l max-size -x -d 'the oldest go where there are more MiB'
complete -c bezoard -s t -l delay -x -d 'how many ms a record may wait'
complete -c bezoard -s r -l rate -x -d 'records a second of each connection'
complete -c bezoard -s c -l clients -x -d connections
complete -c bezoard -s k -l kmsg -rF -d 'read there what the kernel says'
complete -c bezoard -s K -l no-kmsg -d 'read it nowhere'
complete -c bezoard -s x -l exec -x -d 'run this for each record'
complete -c bezoard -s l -l exec-limit -x -d 'and kill it after so many seconds'
complete -c bezoard -s M -l metrics -rF -d 'write numbers there'
complete -c bezoard -s L -l latches -xa '(__fish_complete_directories)' -d 'what supervisors have latched'
complete -c bezoard -s '?' -l help -d 'show how it is called'
complete -c bezoard -l usage -d 'show the options'
complete -c bezoard -s V -l version -d 'show the version'
