/* SPDX-License-Identifier: MIT */
#include "catalogue.h"

#include <bezoar/bezoar.h>

#define OUTCOME(symbol, happened, means, later) \
	{ 'O', BEZ_OUTCOME_##symbol, #symbol, happened, means, NULL, later }
#define CAUSE(symbol, happened, means, now, later) \
	{ 'C', BEZ_CAUSE_##symbol, #symbol, happened, means, now, later }

/* For what happens once and is over. */
#define NOTHING "Nothing."
#define MEMORY "If records of this machine go on, have its memory exchanged."

const struct entry catalogue[] = {
	OUTCOME(NONE, "No outcome was reached.",
		"The number is a place holder.", NOTHING),
	OUTCOME(REPLACED,
		"A page was lost, and a fresh one with the good bytes is in its "
		"place.",
		"The program goes on as if nothing had been. The machine's "
		"memory has one page less.", MEMORY),
	OUTCOME(ALREADY_GOOD,
		"The page was lost when it was touched, and was not any more "
		"when it was looked at.",
		"Another thread or process had replaced it in between.",
		NOTHING),
	OUTCOME(WAITED,
		"Another thread was replacing the page; this one waited until "
		"that was over.",
		"The program goes on.", NOTHING),
	OUTCOME(ASKED_AGAIN,
		"The kernel did not say which address is lost, or said one that "
		"may be another name of it.",
		"The instruction runs again, and the next fault names the "
		"address.",
		"If there are many in a row, look at the kernel's log for "
		"machine checks without an address."),
	OUTCOME(NOTED,
		"The kernel announced a lost page before anybody touched it.",
		"The worker looks after it; a record of what became of it "
		"follows. One with the action \"default\" is that: the page is "
		"lost still, and whoever touches it meets that.", MEMORY),
	OUTCOME(STALE,
		"A lost page was announced, and is good.",
		"It had been replaced, or given back, before the announcement "
		"was read.", NOTHING),
	OUTCOME(DROPPED,
		"A lost page was announced when as many were waiting as the "
		"worker has room for.",
		"It is still lost, and will raise a fault when it is touched.",
		MEMORY),
	OUTCOME(COPY_SHORT,
		"A copy by bez_copy() and its like met a lost page and came "
		"back with the count of bytes up to there.",
		"The program was told; what lies behind that count is lost.",
		"Give the region a source, and the copy goes through."),
	OUTCOME(UNWOUND,
		"A page was lost that could not be replaced, and the thread that "
		"touched it has left by a jump to its scope.",
		"The program was told what is lost, and goes on without it. The "
		"page stays lost until its owner clears it.", MEMORY),
	OUTCOME(RELAYED,
		"A page was lost that could not be replaced, and the owner of its "
		"region has carried that to where it belongs: to the guest whose "
		"memory it is, say.",
		"The thread goes on where it was interrupted. The page stays lost "
		"until its owner clears it.", MEMORY),

	OUTCOME(SHUTDOWN_BEGUN,
		"A page was lost that the program can not do without, and its "
		"orderly end has begun.",
		"The hooks are run; a second record says how that went.",
		NOTHING),
	OUTCOME(SHUTDOWN_LATE,
		"The process has ended because of a lost page, before its hooks "
		"were done.",
		"A hook waited for something that did not come, perhaps a lock of "
		"the thread that met the loss.",
		"Hooks should take no lock that others hold for long."),
	OUTCOME(SHUTDOWN_HURT,
		"The process has ended because of a lost page, and a hook met a "
		"lost page as well.",
		"That hook was ended where it stood; those behind it were run.",
		"Hooks should copy by bez_copy(), which ends with a count."),
	OUTCOME(SHUTDOWN_BARE,
		"The process has ended because of a lost page, without its "
		"hooks.",
		"There was no worker to run them on.",
		"Do not ask for BEZ_START_NO_WORKER in a program with hooks."),
	OUTCOME(SHUTDOWN_WAITS,
		"A thread met a loss while another one was bringing the process "
		"to its end.",
		"It stays where it is until that is done.", NOTHING),

	OUTCOME(REFUSED_KIND,
		"The lost page is of memory that can not be replaced.",
		"It is device memory, the kernel's own mapping, or a huge page "
		"of which the region holds but a part.",
		"Register only ordinary memory, and huge pages as a whole."),
	OUTCOME(REFUSED_ATTRS,
		"The mapping of the lost page has an attribute that a fresh page "
		"can not be given.",
		"To put one in place would have changed the mapping behind the "
		"program's back.",
		"Do without the attribute on memory that is to be replaced."),
	OUTCOME(REFUSED_MAPS,
		"The process has as many mappings as vm.max_map_count allows.",
		"The fresh page would have needed one or two more for a moment.",
		"Look for what splits mappings: protection or advice page by "
		"page."),
	OUTCOME(REFUSED_NOMEM,
		"There was no memory for the fresh page.",
		"The memory cgroup or the machine is full.",
		"Set aside more than the program needs without losses."),
	OUTCOME(REFUSED_UNMAPPED,
		"Nothing is mapped where the page was lost.",
		"The program has unmapped memory of a region that it had not "
		"removed.",
		"Look for an munmap(2) or MAP_FIXED by mistake; the SIGSEGV "
		"door maps such pages again."),
	OUTCOME(REFUSED_RESTART,
		"The instruction has consumed poison, and the region's policy "
		"forbids to run it again.",
		"The program had asked for that (BEZ_POLICY_NO_RESTART).",
		NOTHING),
	OUTCOME(REFUSED_SYSTEM,
		"The kernel refused a system call without which the page can not "
		"be replaced.",
		"Most often a seccomp filter does, or the kernel is an old one.",
		"Compare the filter with the calls that bezoar(7) names."),
	OUTCOME(REFUSED_SHARED,
		"The lost page is shared, and others could have seen it empty "
		"while it is replaced.",
		"The region does not say who else uses the file.",
		"Fence all processes that map the file, see bez_shared(3)."),
	OUTCOME(REFUSED_HUGE,
		"A huge page was lost, and there is no free one for its place.",
		"Every lost huge page leaves the pool for good.",
		"Keep a few more in the pool than the program maps."),
	OUTCOME(REFUSED_FILE,
		"The file behind the mapping can not be opened any more, or was "
		"cut while a page of it was copied.",
		"A fresh private copy of its page can not be made.",
		"Keep mapped files until the mapping is gone."),
	OUTCOME(REFUSED_DETACH,
		"The file does not have the page any more.",
		"It was truncated, or its disk can not read it. This is no "
		"error of the memory.",
		"Look at the disk, or at who truncates the file."),

	OUTCOME(REFUSED_NO_SCOPE,
		"A page was entered as lost, and the thread that touched it had "
		"no scope to leave to.",
		"The next action of the region's ladder was tried. The page stays "
		"lost.",
		"Enter a scope around what touches the region, or name an action "
		"behind it in the ladder."),
	OUTCOME(REFUSED_INVENTORY,
		"A page was lost, and the inventory had no room to note it.",
		"The next action of the region's ladder was tried.", MEMORY),
	OUTCOME(SHUTDOWN_TWICE,
		"A hook of a shutdown met a loss that asks for a shutdown.",
		"There is one already: the hook was ended, the next one run.",
		"Hooks should copy by bez_copy(), which ends with a count."),
	OUTCOME(SHUTDOWN_INSIDE,
		"A source met a loss that asks for a shutdown.",
		"Who reads that memory can do without: the next source was "
		"asked.",
		"Decide what the loss of a mirror's page is to mean, and give "
		"its region that ladder."),

	OUTCOME(SOURCE_NONE,
		"The region has no source.",
		"There was nowhere to get the good bytes from.",
		"A copy, the file it was read from, or a function that computes "
		"it will do."),
	OUTCOME(SOURCE_FAILED,
		"The source did not deliver.",
		"A file was closed or too short, or the function returned an "
		"error.",
		"List a second source behind it."),
	OUTCOME(SOURCE_LOST,
		"The source has lost pages itself.",
		"Two losses met, or the source is the same memory.",
		"Keep the source in other memory than what it is for: another "
		"NUMA node, a file."),
	OUTCOME(SOURCE_DIGEST,
		"The source's bytes do not match the digest of what was lost.",
		"The page was refused instead of coming back wrong: the memory "
		"was changed after the source or the digest was written.",
		"Update digest and source together with the memory."),
	OUTCOME(SOURCE_DEADLINE,
		"The deferred source did not answer in time.",
		"The thread that met the loss was not kept waiting any longer.",
		"Measure the source under load and set its deadline by that."),
	OUTCOME(SOURCE_WORKER,
		"There was no worker to ask the deferred source on.",
		"It was not started, is busy with a call that does not return, "
		"or stayed behind in the parent.",
		"List a source behind it that needs no worker."),
	OUTCOME(SOURCE_STALE,
		"The only source is the file that the lost page belongs to.",
		"What was written to the page and not yet to the disk would have "
		"been taken back.",
		"Digests of the pages tell old from new."),

	OUTCOME(LOOPING,
		"The same page was lost again and again.",
		"What is put in place does not last; the program was not kept in "
		"that circle.", MEMORY),
	OUTCOME(CLAIM_TIMEOUT,
		"Another thread had begun to replace the page and did not finish.",
		"It waits for its source, or is stopped.",
		"Look at the deadlines of the sources, and at claim_wait_ns."),
	OUTCOME(OWN_CLAIM,
		"To replace the page, the page itself was read.",
		"The source and the memory overlap, perhaps by way of other "
		"memory.",
		"Draw where each source lies; none may lead back."),
	OUTCOME(NESTED,
		"Four losses were being served, one inside the other, and a "
		"fifth came.",
		"Sources of sources were lost.", MEMORY),

	OUTCOME(FOREIGN,
		"The signal was about no region, or was sent by a process.",
		"It went to whoever had SIGBUS before bezoar, or killed the "
		"process.",
		"Memory that shall live on is to be registered."),
	OUTCOME(DEFAULT,
		"No action of the region's ladder could help.",
		"The signal went to whoever had SIGBUS before bezoar, or killed "
		"the process. The record's \"why\" has the reason.",
		"See the reason's own entry."),
	OUTCOME(DEGRADED,
		"A page could not be replaced and is entered as lost; nobody had to "
		"leave by a jump.",
		"An early notice was about it, bez_recover() has met it and said "
		"so, or its owner has by bez_lost_add(). It stays lost until its "
		"owner clears it.",
		MEMORY),
	OUTCOME(SHUTDOWN,
		"The process has ended because of a lost page, in good order.",
		"The region's ladder says that the program can not do without "
		"it; all hooks are done.", MEMORY),
	OUTCOME(LEFT,
		"bez_recover() found a lost page that it could not replace; or, "
		"with the cause \"said by the owner\", bez_lost_add() could not "
		"close a page.",
		"The program was told by an error and decides. What could not be "
		"closed is as it was.",
		"Give the memory a region and the region a source."),

	CAUSE(NONE, "No cause is known.", "The number is a place holder.",
	      "Nothing to do.", NOTHING),
	CAUSE(POISON_AR,
	      "A thread touched a page that the kernel had taken away because of "
	      "an uncorrected memory error (BUS_MCEERR_AR).",
	      "What was in the page is gone.",
	      "See the outcome.",
	      "The kernel's log and rasdaemon(1) name the memory module. "
	      MEMORY),
	CAUSE(POISON_AO,
	      "The kernel announced a memory error in a page that nobody has "
	      "touched since (BUS_MCEERR_AO).",
	      "There is time to replace it.",
	      "See the outcome.",
	      "The kernel's log and rasdaemon(1) name the memory module. "
	      MEMORY),
	CAUSE(ADRERR,
	      "A thread touched a mapping that has nothing behind the address "
	      "(BUS_ADRERR).",
	      "A file was cut or can not be read; on a kernel without memory "
	      "failure it may be poison.",
	      "See the outcome.",
	      "Look at the mapped files and their disks."),
	CAUSE(MISSING,
	      "A memory error was reported without its address.",
	      "The kernel could not tell it yet; the next touch does.",
	      "Nothing to do, unless it goes on.", MEMORY),
	CAUSE(SENT,
	      "The signal was sent by a process, a timer or the program itself.",
	      "No memory was lost.",
	      "Nothing to do: it was passed on.",
	      "Who sends SIGBUS on purpose should use another signal."),
	CAUSE(RECOVER,
	      "A system call said EFAULT, and bez_recover() found the lost page "
	      "in its buffer.",
	      "The kernel met the loss instead of the program.",
	      "See the outcome.", MEMORY),
	CAUSE(SEGV,
	      "A page of a region is not mapped any more, or a thread's own "
	      "memory was lost (SIGSEGV).",
	      "Mostly an munmap(2) or MAP_FIXED that went wrong.",
	      "See the outcome.",
	      "Find who unmaps memory that it does not own."),
	CAUSE(CUT,
	      "The file ends before the address.",
	      "Somebody has truncated a file that is mapped.",
	      "See the outcome.",
	      "Replace files by rename(2) instead of truncating them."),
	CAUSE(UNREADABLE,
	      "The page can not be read from its file.",
	      "The disk or the file system has an error there.",
	      "See the outcome, and look at the kernel's log.",
	      "Check the disk."),
	CAUSE(HOLE,
	      "The page of a shared file is empty: somebody began to replace it "
	      "and did not finish.",
	      "A process was killed in the middle of a repair; who comes next "
	      "finishes it.",
	      "See the outcome.", "Look why that process was killed."),
	CAUSE(SAID,
	      "No signal: the program itself said by bez_lost_add() that the page "
	      "is lost.",
	      "It knows that from elsewhere: from a host that its guest came "
	      "from, or from whoever wrote the file.",
	      "See the outcome.", "Look there for what was lost first."),
};

const size_t catalogue_entries = sizeof(catalogue) / sizeof(catalogue[0]);
