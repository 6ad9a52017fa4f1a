/* SPDX-License-Identifier: MIT */
/*
 * Files on a real disk, really lost. What the disk has, the kernel reads again by
 * itself; what a program has written into its own copy comes back from its
 * source; and what was lost before it was written back is never taken from
 * the disk, which has older bytes, unless a digest says that they are the right
 * ones. BEZOAR_DISK names a folder on a disk.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"
#include "uapi.h"

#define LOST	2		/* this page of the file */
#define page	live_page()
#define lost_at	(memory.at + LOST * page)

static struct kinds_memory memory;

static void on_disk(struct kinds_memory *m)
{
	const char *folder = getenv("BEZOAR_DISK");

	if (!folder)
		tap_skip("BEZOAR_DISK names no folder on a disk");
	if (!live_is_real())
		tap_skip("no poison marker for a file on a disk: it takes root "
			 "and a kernel with memory failure");
	snprintf(m->path, sizeof(m->path), "%s/bezoar-disk-XXXXXX", folder);
	m->fd = mkostemp(m->path, O_CLOEXEC);
	if (m->fd < 0)
		tap_skip("no file in %s: %s", folder, strerror(errno));
}

static const struct kinds_kind clean = { "disk, clean", on_disk, 0, 0, 1, 0 },
	copied = { "disk, copied", on_disk, 0, 1, 1, 0 };

/* Of this machine, in kB: what counts as lost. */
static unsigned long corrupted(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long kb = 0;
	char line[128];
	int found = 0;

	CHECK(f);
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "HardwareCorrupted: %lu kB", &kb) == 1;
	fclose(f);
	CHECK(found);
	return kb;
}

/*
 * The file's page at LOST goes bad. By a child, which maps the same one; unlike
 * live_poison() nothing is written to it, and it need not stay lost. If that
 * makes a difference to a mapping of it, the child is told.
 */
static void lose(void)
{
	unsigned long before = corrupted();

	live_read(lost_at);
	live_poison_file(lost_at);
	CHECK_EQ(corrupted(), before + page / 1024);
}

/* How many bytes of the lost page are not @seed's: by pread(2), from the disk
 * itself if @flags say O_DIRECT. */
static size_t wrong_in_file(unsigned int seed, int flags)
{
	unsigned char *now = mmap(NULL, page, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open(memory.path, O_RDONLY | O_CLOEXEC | flags);
	size_t i, wrong = 0;
	ssize_t got;

	CHECK(now != MAP_FAILED);
	CHECKF(fd >= 0, "open: %s", strerror(errno));
	/* the kernel says once that what was to be written back is lost */
	got = pread(fd, now, page, (off_t)(LOST * page));
	if (got < 0 && errno == EIO)
		got = pread(fd, now, page, (off_t)(LOST * page));
	CHECK_EQ(got, page);
	close(fd);
	for (i = 0; i < page; i++)
		wrong += now[i] != live_byte(LOST * page + i, seed);
	CHECK_EQ(munmap(now, page), 0);
	return wrong;
}

static void end(bez_region_t region)
{
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(munmap(memory.at, memory.len), 0);
	kinds_unlink(&memory);
	close(memory.fd);
}

/* ----------------------------------------------------------------- it heals */

/* The kernel reads it again, and nobody is told. */
static void heals(bez_region_t region)
{
	struct bez_status status = { .size = sizeof(status) };

	lose();
	CHECK(!kinds_wrong(&memory, 0, memory.len));
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(status.faults, 0);
	CHECK_EQ(wrong_in_file(0, 0), 0);
	CHECK_EQ(wrong_in_file(0, O_DIRECT), 0);
	end(region);
}

static void private_clean(void)
{
	struct bez_source from = bez_source_mirror(kinds_bytes(1));

	kinds_make(&clean, &memory);
	CHECK_EQ(fsync(memory.fd), 0);
	see_install();
	see_start(0);
	heals(live_region(memory.at, memory.len, &from, "private, clean"));
}

/* ------------------------------------------------------------ a private copy */

static bez_region_t protect_copy(void)
{
	struct bez_source from = bez_source_mirror(kinds_bytes(0));

	kinds_make(&copied, &memory);
	CHECK_EQ(fsync(memory.fd), 0);
	see_install();
	see_start(*(const uint32_t *)tap_data());
	return live_region(memory.at, memory.len, &from, "private, copied");
}

static void private_copied(void)
{
	bez_region_t region = protect_copy();
	struct kinds_seen before, after;

	CHECK_EQ(madvise(memory.at, memory.len, MADV_DONTDUMP), 0);
	kinds_see(lost_at, &before);
	CHECK(before.ino);
	kinds_lose(&memory, LOST * page);
	CHECK_EQ(live_read(lost_at), live_byte(LOST * page, 0));
	CHECK_EQ(see_event(lost_at).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(lost_at).cause, BEZ_CAUSE_POISON_AR);
	CHECK(!kinds_wrong(&memory, 0, memory.len));
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	kinds_see(lost_at, &after);
	kinds_alike(&before, &after, 0, "private, copied");
	CHECK_EQ(wrong_in_file(KINDS_FILE, 0), 0);
	/* the page is still a copy of the file's: what is discarded is read
	 * from there */
	CHECK_EQ(madvise(lost_at, page, MADV_DONTNEED), 0);
	CHECK_EQ(live_read(lost_at), live_byte(LOST * page, KINDS_FILE));
	end(region);
}

/* Without a name it cannot be opened again. */
static void private_unlinked(void)
{
	bez_region_t region = protect_copy();

	kinds_unlink(&memory);
	kinds_lose(&memory, LOST * page);
	see_refused(lost_at, BEZ_OUTCOME_REFUSED_FILE);
	CHECK(!kinds_wrong(&memory, 0, LOST * page));
	end(region);
}

/* ------------------------------------------------------------------- shared */

enum from { ITSELF, MIRROR };

/* The disk has the bytes of seed 0. Digests are of those of seed @digested, or
 * there are none: -1. */
static bez_region_t protect_shared(enum from what, uint32_t flags, int digested)
{
	static uint64_t digests[KINDS_PAGES];
	const unsigned char *was;
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;
	size_t i;

	kinds_make(&clean, &memory);
	CHECK_EQ(fsync(memory.fd), 0);
	CHECK(mmap(memory.at, memory.len, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, memory.fd, 0) == memory.at);
	see_install();
	if (tap_data())
		live_start(0);
	else
		see_start(0);
	from = what == ITSELF ? bez_source_file(memory.fd, 0) :
				bez_source_mirror(kinds_bytes(1));
	shared.fd = memory.fd;
	shared.flags = flags;
	policy.shared = &shared;
	policy.source = &from;
	if (digested >= 0) {
		was = kinds_bytes((unsigned int)digested);
		for (i = 0; i < KINDS_PAGES; i++)
			digests[i] = bez_digest(was + i * page, page);
		policy.digests = digests;
	}
	CHECK_EQ(bez_region_add(memory.at, memory.len, &policy, &region), 0);
	return region;
}

/* Lost for good; or the worker has been told, and may have replaced it. */
static int is_lost(void)
{
	struct bez_status status = { .size = sizeof(status) };
	int lost = live_lost(lost_at);

	CHECK_EQ(bez_status(&status), 0);
	return lost || status.faults;
}

/* Written, and lost at once. The kernel writes back when it likes: if it has just
 * done so, the page has healed, and all begins anew. */
static void write_and_lose(unsigned int seed)
{
	int tries;

	for (tries = 0; tries < 20; tries++) {
		memcpy(lost_at, kinds_bytes(0) + LOST * page, page);
		CHECK_EQ(fsync(memory.fd), 0);
		memcpy(lost_at, kinds_bytes(seed) + LOST * page, page);
		lose();
		if (is_lost())
			return;
	}
	CHECKF(0, "it is written back each time");
}

static void refused(bez_region_t region, enum bez_outcome why)
{
	see_refused(lost_at, why);
	/* nobody has given it the one thing for the other */
	CHECK_EQ(wrong_in_file(0, O_DIRECT), 0);
	CHECK(!kinds_wrong(&memory, 0, LOST * page));
	CHECK(!kinds_wrong(&memory, (LOST + 1) * page, memory.len));
	end(region);
}

static void shared_clean(void)
{
	bez_region_t region = protect_shared(MIRROR, BEZ_SHARED_EXCLUSIVE, -1);

	/* written to, and back */
	memcpy(lost_at, kinds_bytes(0) + LOST * page, page);
	CHECK_EQ(fsync(memory.fd), 0);
	heals(region);
}

static void shared_stale(void)
{
	bez_region_t region = protect_shared(ITSELF, 0, -1);

	write_and_lose(1);
	refused(region, BEZ_OUTCOME_SOURCE_STALE);
}

static void shared_digest(void)
{
	bez_region_t region = protect_shared(ITSELF, 0, 1);

	write_and_lose(1);
	refused(region, BEZ_OUTCOME_SOURCE_DIGEST);
}

static void shared_alone(void)
{
	bez_region_t region = protect_shared(MIRROR, 0, -1);

	write_and_lose(1);
	refused(region, BEZ_OUTCOME_REFUSED_SHARED);
}

/* Written with what it had: a loss for the kernel, but the disk has it. */
static void shared_reread(void)
{
	bez_region_t region = protect_shared(ITSELF, 0, 0);
	struct bez_event e;

	write_and_lose(0);
	CHECK_EQ(live_read(lost_at), live_byte(LOST * page, 0));
	e = see_event(lost_at);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(e.source, BEZ_SOURCE_FILE);
	CHECK(!kinds_wrong(&memory, 0, memory.len));
	end(region);
}

static void shared_mirror(void)
{
	bez_region_t region = protect_shared(MIRROR, BEZ_SHARED_EXCLUSIVE, 1);
	struct kinds_seen before, after;
	size_t i, wrong = 0;

	CHECK_EQ(madvise(memory.at, memory.len, MADV_DONTDUMP), 0);
	kinds_see(lost_at, &before);
	write_and_lose(1);
	/* the worker is told, and need not wait for a touch */
	while (tap_data() && !bez_outcome_count(BEZ_OUTCOME_REPLACED))
		sched_yield();
	for (i = LOST * page; i < (LOST + 1) * page; i++)
		wrong += live_read(memory.at + i) != live_byte(i, 1);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(see_event(lost_at).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(lost_at).source, BEZ_SOURCE_MIRROR);
	CHECK_EQ(see_event(lost_at).cause, tap_data() ? BEZ_CAUSE_POISON_AO :
							BEZ_CAUSE_POISON_AR);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	kinds_see(lost_at, &after);
	kinds_alike(&before, &after, 0, "shared, mirror");
	CHECK_EQ(wrong_in_file(1, 0), 0);
	/* that is said here, too */
	CHECK(fsync(memory.fd) && errno == EIO);
	CHECK_EQ(fsync(memory.fd), 0);
	CHECK_EQ(wrong_in_file(1, O_DIRECT), 0);
	CHECK(!kinds_wrong(&memory, 0, LOST * page));
	CHECK(!kinds_wrong(&memory, (LOST + 1) * page, memory.len));
	end(region);
}

static const uint32_t by_uffd, by_mremap = BEZ_START_NO_UFFD, early;

static const struct tap_case cases[] = {
	{ .name = "private, clean: heals", .run = private_clean },
	{ .name = "private, copied, userfaultfd", .run = private_copied,
	  .data = &by_uffd },
	{ .name = "private, copied, mremap", .run = private_copied,
	  .data = &by_mremap },
	{ .name = "private, copied, unlinked, userfaultfd",
	  .run = private_unlinked, .data = &by_uffd },
	{ .name = "private, copied, unlinked, mremap",
	  .run = private_unlinked, .data = &by_mremap },
	{ .name = "shared, clean: heals", .run = shared_clean },
	{ .name = "shared, not written back, no digest", .run = shared_stale },
	{ .name = "shared, not written back, digest of what was lost",
	  .run = shared_digest },
	{ .name = "shared, not written back, digest of what the disk has",
	  .run = shared_reread },
	{ .name = "shared, not written back, mirror, exclusive",
	  .run = shared_mirror },
	{ .name = "shared, not written back, mirror, exclusive, early notice",
	  .run = shared_mirror, .data = &early },
	{ .name = "shared, not written back, mirror, not exclusive",
	  .run = shared_alone },
};
TAP_MAIN(cases)
