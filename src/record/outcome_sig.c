/* SPDX-License-Identifier: MIT */
/*
 * The catalogue: what each outcome is called and what to do about it. One
 * table; a test holds it against the header and the manual.
 */
#include <bezoar/bezoar.h>

#include <stddef.h>

struct entry {
	uint16_t outcome;
	const char *name;
	const char *advice;
};

static const struct entry entries[] = {
	{ BEZ_OUTCOME_NONE, "none", "Nothing happened." },
	{ BEZ_OUTCOME_REPLACED, "replaced",
	  "Nothing to do. Plan to exchange the memory if it goes on." },
	{ BEZ_OUTCOME_ALREADY_GOOD, "already good",
	  "Nothing to do: another thread had replaced the page." },
	{ BEZ_OUTCOME_WAITED, "waited",
	  "Nothing to do: another thread was replacing the page." },
	{ BEZ_OUTCOME_ASKED_AGAIN, "asked again",
	  "Nothing to do: the kernel names the address at the next fault." },
	{ BEZ_OUTCOME_NOTED, "noted",
	  "Nothing to do: the worker looks after it, or has left it as it is until "
	  "somebody touches it." },
	{ BEZ_OUTCOME_STALE, "stale",
	  "Nothing to do: the page that was announced is good." },
	{ BEZ_OUTCOME_DROPPED, "dropped",
	  "Nothing to do: the page tells itself when it is touched." },
	{ BEZ_OUTCOME_COPY_SHORT, "copy ended early",
	  "See what the call returned: what lies behind that count is lost." },
	{ BEZ_OUTCOME_UNWOUND, "unwound",
	  "See what the catch of the scope was given; write the memory anew and "
	  "clear it, or do without." },
	{ BEZ_OUTCOME_RELAYED, "relayed",
	  "See what became of it where it was carried to: of the guest, say." },

	{ BEZ_OUTCOME_SHUTDOWN_BEGUN, "shutdown begun",
	  "Wait for the record of its end; if there is none, a hook has ended "
	  "the process." },
	{ BEZ_OUTCOME_SHUTDOWN_LATE, "shutdown, hooks too late",
	  "Start the program again. See what its hooks wait for, or raise "
	  "shutdown_ns." },
	{ BEZ_OUTCOME_SHUTDOWN_HURT, "shutdown, a hook failed",
	  "Start the program again, and do not trust what its hooks have saved." },
	{ BEZ_OUTCOME_SHUTDOWN_BARE, "shutdown, no worker",
	  "Start the program again. Its hooks were not run: they need the "
	  "worker; in a child of fork(2), call bez_thread_attach()." },
	{ BEZ_OUTCOME_SHUTDOWN_WAITS, "shutdown under way",
	  "Nothing to do: another thread ends the process." },

	{ BEZ_OUTCOME_REFUSED_KIND, "refused: kind of memory",
	  "Device memory and the kernel's own mappings cannot be replaced." },
	{ BEZ_OUTCOME_REFUSED_ATTRS, "refused: attribute",
	  "The mapping has an attribute that a fresh page would lose; see "
	  "/proc/PID/smaps, VmFlags." },
	{ BEZ_OUTCOME_REFUSED_MAPS, "refused: mappings",
	  "Raise vm.max_map_count." },
	{ BEZ_OUTCOME_REFUSED_NOMEM, "refused: no memory",
	  "Leave the process some room in its memory cgroup." },
	{ BEZ_OUTCOME_REFUSED_UNMAPPED, "refused: not mapped",
	  "Remove a region before its memory is unmapped." },
	{ BEZ_OUTCOME_REFUSED_RESTART, "refused: no restart",
	  "The region's policy forbids to run the instruction again." },
	{ BEZ_OUTCOME_REFUSED_SYSTEM, "refused: by the kernel",
	  "Look for seccomp filters that forbid madvise, mremap or "
	  "userfaultfd." },
	{ BEZ_OUTCOME_REFUSED_SHARED, "refused: shared",
	  "Others could see a hole in the file: say in policy.shared that you "
	  "use it alone, or that all its users are fenced." },
	{ BEZ_OUTCOME_REFUSED_HUGE, "refused: no huge page",
	  "Raise vm.nr_hugepages (every loss takes one for good), or allow "
	  "base pages." },
	{ BEZ_OUTCOME_REFUSED_FILE, "refused: file",
	  "The file of the mapping cannot be opened again: it was removed, "
	  "replaced or cut, or its descriptor closed." },
	{ BEZ_OUTCOME_REFUSED_DETACH, "refused: not in the file any more",
	  "The file was truncated or cannot be read. Allow the page to become "
	  "this process's own (BEZ_POLICY_DETACH), or mend the file." },

	{ BEZ_OUTCOME_REFUSED_NO_SCOPE, "refused: no scope",
	  "The thread was in no scope, or in one that was lost with the page: "
	  "enter one around what touches the region." },
	{ BEZ_OUTCOME_REFUSED_INVENTORY, "refused: inventory full",
	  "More is lost than can be noted: clear what was written anew, and "
	  "exchange the memory." },
	{ BEZ_OUTCOME_SHUTDOWN_TWICE, "no shutdown: in a hook",
	  "A hook touched a lost page and was ended: let hooks keep to what they "
	  "need, and copy it by bez_copy()." },
	{ BEZ_OUTCOME_SHUTDOWN_INSIDE, "no shutdown: in a source",
	  "A source read lost memory whose loss ends the process; the source has "
	  "failed instead. List another one behind it." },

	{ BEZ_OUTCOME_SOURCE_NONE, "no source",
	  "Give the region a source." },
	{ BEZ_OUTCOME_SOURCE_FAILED, "source failed",
	  "See why the source could not deliver: a closed or shortened file, "
	  "or the callback's own error." },
	{ BEZ_OUTCOME_SOURCE_LOST, "source lost",
	  "The source itself lost a page. Register it, too, or list another "
	  "one behind it." },
	{ BEZ_OUTCOME_SOURCE_DIGEST, "source does not match",
	  "The source's bytes are not what was lost: keep digests and source "
	  "up to date with the memory." },
	{ BEZ_OUTCOME_SOURCE_DEADLINE, "source too late",
	  "The callback missed its deadline: raise it, or see whether it "
	  "waits for a lock that the faulting thread holds." },
	{ BEZ_OUTCOME_SOURCE_WORKER, "no worker",
	  "The worker is not running, or busy with a callback that does not "
	  "return. In a child of fork(2), call bez_thread_attach()." },
	{ BEZ_OUTCOME_SOURCE_STALE, "source is the file itself",
	  "A page that was lost before it was written back is older in its "
	  "file. Give digests, or another source." },

	{ BEZ_OUTCOME_LOOPING, "looping",
	  "The same page was lost again and again: the machine's memory is "
	  "failing fast, or something else raises the faults." },
	{ BEZ_OUTCOME_CLAIM_TIMEOUT, "repairer did not finish",
	  "A source of another thread took too long: see its deadline." },
	{ BEZ_OUTCOME_OWN_CLAIM, "needs itself",
	  "The source of the page reads that same page." },
	{ BEZ_OUTCOME_NESTED, "nested too deep",
	  "Sources of sources were lost, four deep." },

	{ BEZ_OUTCOME_FOREIGN, "foreign",
	  "The memory is in no region: the former action decides." },
	{ BEZ_OUTCOME_DEFAULT, "default",
	  "The page could not be saved: the former action decides, "
	  "which ends the process unless a handler was there." },
	{ BEZ_OUTCOME_DEGRADED, "degraded",
	  "The page is in the inventory of what is lost: write it anew and clear "
	  "it, or do without." },
	{ BEZ_OUTCOME_SHUTDOWN, "shutdown",
	  "Start the program again; its hooks are done. See the record's why: "
	  "what the page lacked to be replaced." },
	{ BEZ_OUTCOME_LEFT, "left lost",
	  "bez_recover() said EFAULT: the page is in no region, or could not "
	  "be replaced. Or bez_lost_add() could not close it: then it is as it "
	  "was." },
};

static const struct entry *find(enum bez_outcome outcome)
{
	size_t i;

	for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (entries[i].outcome == (unsigned int)outcome)
			return &entries[i];
	return NULL;
}

const char *bez_outcome_name(enum bez_outcome outcome)
{
	const struct entry *e = find(outcome);

	return e ? e->name : "unknown";
}

const char *bez_outcome_advice(enum bez_outcome outcome)
{
	const struct entry *e = find(outcome);

	return e ? e->advice :
		   "This library does not know the number: it is older than "
		   "the one that wrote it.";
}

const char *bez_cause_name(enum bez_cause cause)
{
	switch (cause) {
	case BEZ_CAUSE_NONE:
		return "none";
	case BEZ_CAUSE_POISON_AR:
		return "poison, action required";
	case BEZ_CAUSE_POISON_AO:
		return "poison, action optional";
	case BEZ_CAUSE_ADRERR:
		return "nothing behind the address";
	case BEZ_CAUSE_MISSING:
		return "poison without an address";
	case BEZ_CAUSE_SENT:
		return "sent";
	case BEZ_CAUSE_RECOVER:
		return "found by bez_recover()";
	case BEZ_CAUSE_SEGV:
		return "not mapped";
	case BEZ_CAUSE_CUT:
		return "file was truncated";
	case BEZ_CAUSE_UNREADABLE:
		return "file cannot be read";
	case BEZ_CAUSE_HOLE:
		return "hole in shared memory";
	case BEZ_CAUSE_SAID:
		return "said by the owner";
	default:
		return "unknown";
	}
}
