/* SPDX-License-Identifier: MIT */
/* Which clauses have an experiment, and what its result means for who asks. */
#include "probe.h"

#include "check.h"

#include <string.h>

#define NO_BEZOAR "bezoar can not help where this is so: use another kernel."

const struct probe probes[] = {
	{ "S1.1", s1_address, 1,
	  "A handler can rely on the code, the address and the width.",
	  "A handler of one's own can not rely on the code, the address or the width.",
	  NULL },
	{ "S1.2", s1_huge, 1,
	  "With huge pages a program loses no more than without.",
	  "A loss can take more with it than the page that is bad.",
	  "a page inside of a transparent huge page" },
	{ "S1.3", s1_fork, 1,
	  "Children see what their parent has lost, and repair their own.",
	  "Do not rely on memory that was lost before a fork.",
	  NULL },
	{ "S1.4", s1_early, 1,
	  "What the machine finds can be replaced before it is touched.",
	  "A loss is told when it is touched, and not before.",
	  NULL },
	{ "S2.1", s2_resumes, 4,
	  "Private memory that has a source can be lost.",
	  NO_BEZOAR,
	  "a page of private memory that has a source" },
	{ "S2.2", s2_no_wrong_byte, 8,
	  "Threads may go on while a page is replaced.",
	  "Replaced memory can not be trusted while others read it.",
	  NULL },
	{ "S2.3", s2_attributes, 4,
	  "Protection and advice outlive a loss.",
	  "Check protection and advice of memory that was replaced.",
	  NULL },
	{ "S2.11", s2_own_stack, 8,
	  "A thread that is attached survives the loss of its stack.",
	  "Whoever loses a page of a stack dies.",
	  "a page of a thread's own stack" },
	{ "S2.12", s2_announced, 1,
	  "The worker replaces what was announced, before it is touched.",
	  "Announced pages are replaced when they are touched only.",
	  NULL },
	{ "S2.15", s2_kinds, 3,
	  "Locked memory can be lost, and what else is not named above.",
	  "Keep what matters in plain private memory.",
	  "locked memory" },
	{ "S2.16", s2_shared, 1,
	  "Shared memory that this process uses alone can be lost.",
	  "Keep what matters in private memory.",
	  "shared memory of a single process" },
	{ "S3.1", s3_told, 1,
	  "What has no source can be left by a jump to a scope.",
	  "BEZ_ACTION_DEGRADE does not help here.",
	  "memory without a source, by a jump to a scope" },
	{ "S3.2", s3_stays_lost, 1,
	  "Nobody takes what is lost for data, until its owner clears it.",
	  "What was lost can be taken for data.",
	  NULL },
	{ "S3.3", s3_state, 1,
	  "Code goes on after the jump as if it had never been there.",
	  "Code that has left by a jump is not as it was before.",
	  NULL },
	{ "S4.1", s4_record, 1,
	  "A supervisor finds out what a program died of.",
	  "Records of a loss can not be relied upon.",
	  NULL },
	{ "S4.2", s4_hooks, 2,
	  "What may not be missing can end in order.",
	  "BEZ_ACTION_SHUTDOWN can not be relied upon.",
	  NULL },
	{ "S5.2", s5_same_death, 1,
	  "What bezoar can not help dies as it would without.",
	  "Supervisors see another death than without bezoar.",
	  NULL },
	{ "S5.5", s5_blocked, 1,
	  "As promised: leave SIGBUS open in threads that are to survive.",
	  "A thread that blocks SIGBUS runs on with a page that is lost.",
	  NULL },
	{ "S7.1", s7_next_touch, 1,
	  "A loss that nobody was told of is told at the next touch.",
	  "Losses can go unnoticed: " NO_BEZOAR,
	  NULL },
	{ "S9.1", s9_no_signal, 1,
	  "A system call with a lost buffer can be repeated.",
	  "A system call with a lost buffer is answered by a signal.",
	  "the buffer of a system call" },
	{ "S9.2", s9_copy, 1,
	  "bez_copy() and its like can be used on any memory.",
	  "bez_copy() and its like can not be relied upon.",
	  NULL },
	{ "S9.4", s9_recover, 1,
	  "bez_recover() makes the buffer of a system call good.",
	  "After EFAULT a program has to get its data anew by itself.",
	  NULL },
};
const size_t probes_count = sizeof(probes) / sizeof(probes[0]);

const struct clause *clause_of(const char *id)
{
	size_t i;

	for (i = 0; i < clauses_count; i++)
		if (!strcmp(clauses[i].id, id))
			return &clauses[i];
	return NULL;
}

const char *verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_HOLDS:
		return "holds";
	case VERDICT_BROKEN:
		return "broken";
	case VERDICT_UNTESTED:
		return "cannot be tested here";
	case VERDICT_NONE:
	default:
		return "nothing";
	}
}
