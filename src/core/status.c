/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <unistd.h>

#include "core/action.h"
#include "core/core.h"
#include "core/sized.h"
#include "region/region.h"

#define STRING(x) #x
#define DOTTED(a, b, c) STRING(a) "." STRING(b) "." STRING(c)

const char *bez_version(void)
{
	return DOTTED(BEZ_VERSION_MAJOR, BEZ_VERSION_MINOR, BEZ_VERSION_PATCH);
}

/* It exists exactly where the kernel was built to survive lost pages.
 * prctl(PR_MCE_KILL) succeeds on the others as well. */
static uint32_t memory_failure(void)
{
	return !access("/proc/sys/vm/memory_failure_recovery", F_OK);
}

/* Cut by hand: no stdio in a handler. What comes before it grows with the machine. */
uint64_t bz_status_number(const char *path, const char *word)
{
	long fd = bz_openat(path, O_RDONLY | O_CLOEXEC), r, i;
	uint32_t hit = 0, done = 0;
	uint64_t n = 0;
	char text[256];

	if (fd < 0)
		return 0;
	while (!done && (r = bz_read((int)fd, text, sizeof(text))) > 0)
		for (i = 0; i < r && !done; i++) {
			char c = text[i];

			if (word[hit])
				hit = c == word[hit] ? hit + 1 : c == '\n';
			else if (c >= '0' && c <= '9')
				n = n * 10 + (uint64_t)(c - '0');
			else
				done = c != ' ' && c != '\t' ? 1 : n != 0;
		}
	bz_close((int)fd);
	return n;
}

static void fill(struct bz_mm *mm, struct bez_status *s)
{
	uint32_t i;

	s->started = 1;
	s->installed = (uint32_t)bz_action_installed(SIGBUS);
	s->segv_door = (bz_core.flags & BEZ_START_SEGV_DOOR) &&
		       bz_action_installed(SIGSEGV);
	s->placement = atomic_load(&mm->placement);
	s->early_notice = atomic_load(&mm->early_notice);
	s->worker_tid = atomic_load(&mm->worker_tid);
	s->threads = atomic_load(&mm->threads);
	s->regions = bz_region_total();
	s->lost = (uint32_t)bez_lost_generation();
	for (i = 0; i < BZ_COUNTS; i++)
		s->faults += atomic_load(&mm->counts[i].faults);
	s->foreign = bez_outcome_count(BEZ_OUTCOME_FOREIGN);
	s->records = atomic_load(&mm->records);
	s->records_dropped = atomic_load(&mm->records_dropped);
	s->records_sent = atomic_load(&mm->records_sent);
	s->records_said = atomic_load(&mm->records_said);
	s->kin = bz_core.has_kin && (!atomic_load(&mm->kin_gone) ||
				     atomic_load(&mm->kin_line));
	s->replaced = bez_outcome_count(BEZ_OUTCOME_REPLACED);
	s->not_replaced = bez_outcome_count(BEZ_OUTCOME_DEFAULT);
}

int bez_status(struct bez_status *ret_status)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bez_status s = { .size = sizeof(s) };
	int saved_errno = errno;

	s.memory_failure = memory_failure();
	s.pinned = bz_status_number("/proc/self/status", "\nVmPin:") * 1024;
	if (mm)
		fill(mm, &s);
	errno = saved_errno;
	return bz_sized_out(ret_status, &s, sizeof(s));
}
