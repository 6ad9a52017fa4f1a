/* SPDX-License-Identifier: MIT */
/*
 * Persistent memory that is mapped as it is: by way of a file (fs-DAX), in pages of
 * 4 KiB, or bare (device-DAX), in pages of 2 MiB. No other page can take the place of
 * a lost one, so the kernel tells of the loss and maps it again; what it keeps is the
 * device's list of bad blocks, which a machine check goes into and MADV_HWPOISON
 * does not.
 */
#define _GNU_SOURCE
#include "huge.h"
#include "live.h"
#include "poison.h"
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BAD = 2, OFFSET = 123 };

struct pmem {
	unsigned char *at;
	size_t len, unit;		/* what one report is about */
	int fd, bare;
	long corrupted, bad;		/* before */
	uint64_t frame;			/* of the page that is lost */
};

static const int in_file, bare = 1;
static int detach;

static void fill(unsigned char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len / PAGE; i++)
		memset(at + i * PAGE, fill_of(i), PAGE);
}

static void make(struct pmem *p)
{
	const char *folder = getenv("BEZOAR_PMEM"), *dev = getenv("BEZOAR_DEVDAX");
	char path[128];

	p->bare = *(const int *)tap_data();
	CHECK(folder && dev);
	snprintf(path, sizeof(path), "%s/lab-%d", folder, (int)getpid());
	p->fd = open(p->bare ? dev : path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECKF(p->fd >= 0, "open: %s", strerror(errno));
	p->unit = p->bare ? HUGE_PAGE : PAGE;
	p->len = p->bare ? 2 * HUGE_PAGE : 8 * PAGE;
	if (!p->bare)
		CHECK_EQ(posix_fallocate(p->fd, 0, (off_t)p->len), 0);
	p->at = mmap(NULL, p->len, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	CHECKF(p->at != MAP_FAILED, "mmap: %s", strerror(errno));
	fill(p->at, p->len);
	p->corrupted = corrupted_kib();
	p->bad = bad_sectors();
	p->frame = pagemap(p->at + BAD * PAGE) & PAGEMAP_PFN;
}

static void check_all(const struct pmem *p)
{
	size_t i;

	for (i = 0; i < p->len / PAGE; i++)
		CHECK(page_is(p->at + i * PAGE, fill_of(i)));
}

/* The report that comes at once, on every kernel: the page, or of a bare one all
 * that is mapped as one, since Linux 6.1 where that begins. */
static void check_report(const struct pmem *p)
{
	size_t where = p->bare && linux_is(6, 1) ? 0 : BAD * PAGE;

	CHECK_EQ(sigbus.count, 1);
	CHECK_EQ(sigbus.code, BUS_MCEERR_AR);
	CHECK_EQ(sigbus.addr - p->at, where);
	CHECK_EQ(sigbus.width_bits, p->bare ? 21 : 12);
	/* not counted before Linux 6.1 */
	CHECK_EQ(corrupted_kib(), p->corrupted + (linux_is(6, 1) ? 4 : 0));
}

/* ----------------------------------------------------------------- marked as bad */

/* Who does it is told, and then the page is as it was. */
static void poisoned(void)
{
	struct pmem p;

	take_sigbus();
	make(&p);
	CHECK_EQ(madvise(p.at + BAD * PAGE, PAGE, MADV_HWPOISON), 0);
	check_report(&p);
	check_all(&p);
	CHECK_EQ(pagemap(p.at + BAD * PAGE) & PAGEMAP_PFN, p.frame);
	CHECK_EQ(sigbus.count, 1);
}

/* Another does it, by the frame: nobody is told. */
static void by_another(void)
{
	struct pmem p;
	int status;
	pid_t pid;

	take_sigbus();
	make(&p);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		munmap(p.at, p.len);
		_exit(inject_pfn("corrupt-pfn", p.frame) ? 1 : 0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	check_all(&p);
	CHECK_EQ(sigbus.count, 0);
}

/* ------------------------------------------------------------------- the library */

static struct bez_event last_event(void)
{
	struct bez_event e = { .seq = 0 };
	uint64_t seq = 0;

	while (bez_events(&seq, &e, 1) == 1)
		tap_diag("%s: %s (%s), %llu bytes", bez_cause_name(e.cause),
			 bez_outcome_name(e.outcome), bez_outcome_name(e.why),
			 (unsigned long long)e.width);
	return e;
}

/* With a mirror. A device has no file that could be fenced, and is no memory that
 * only one has: so it is never replaced. */
static void protect(struct pmem *p)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_shared shared = BEZ_SHARED_INIT;
	unsigned char *mirror = mmap(NULL, p->len, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct bez_source from;
	bez_region_t region;

	CHECK(mirror != MAP_FAILED);
	fill(mirror, p->len);
	live_start(BEZ_START_NO_EARLY_KILL);
	from = bez_source_mirror(mirror);
	policy.source = &from;
	policy.flags = detach ? BEZ_POLICY_DETACH : 0;
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = p->fd;
	policy.shared = &shared;
	if (p->bare) {
		CHECK_EQ(bez_region_add(p->at, p->len, &policy, &region),
			 -EINVAL);
		policy.shared = NULL;
	}
	CHECK_EQ(bez_region_add(p->at, p->len, &policy, &region), 0);
}

static void saved(void)
{
	struct bez_event e;
	struct pmem p;

	take_sigbus();
	make(&p);
	protect(&p);
	CHECK_EQ(madvise(p.at + BAD * PAGE, PAGE, MADV_HWPOISON), 0);
	e = last_event();
	CHECK_EQ(e.cause, BEZ_CAUSE_POISON_AR);
	CHECK_EQ(e.width, p.unit);
	if (p.bare) {
		CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
		CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_SHARED);
		check_report(&p);
	} else {
		CHECK_EQ(e.outcome, BEZ_OUTCOME_ALREADY_GOOD);
		CHECK_EQ(sigbus.count, 0);
	}
	check_all(&p);
}

/* ----------------------------------------------------------------- machine checks */

/*
 * The thread that is struck goes on if it can. Some time later the block is a bad one, of
 * which whoever has mapped it again by then learns nothing, so it is taken out; and a bare
 * device does not care.
 */
static void struck(struct pmem *p, int (*first)(void))
{
	struct victim v = { .touch = TOUCH_LOAD, .begin = first,
			    .at = p->at + BAD * PAGE + OFFSET };

	victim_struck(&v, LAB_MCE_LOAD);
	if (p->bare)
		return;
	wait_bad_sectors(p->bad);
	if ((pagemap(v.at) & PAGEMAP_PFN) == p->frame)
		CHECK_EQ(madvise(p->at + BAD * PAGE, PAGE, MADV_DONTNEED), 0);
}

/* A touch of the file's page finds a bad block, which is poison as any since Linux
 * 6.5, and a file that cannot be read before. */
static void check_stays_lost(unsigned char *at)
{
	unsigned char value;

	sigbus.count = 0;
	CHECK_EQ(peek(at, &value), -1);
	CHECK_EQ(sigbus.count, 1);
	CHECK_EQ((uintptr_t)sigbus.addr, (uintptr_t)at);
	CHECK_EQ(sigbus.code, linux_is(6, 5) ? BUS_MCEERR_AR : BUS_ADRERR);
	if (linux_is(6, 5))
		CHECK_EQ(sigbus.width_bits, 12);
}

/* It can not be read, nor, as this device can not mend a block, written; the file
 * gets another block when it has been punched out. */
static void machine_check(void)
{
	unsigned char page[PAGE], *at;
	struct pmem p;

	lab_need_mce();
	take_sigbus();
	make(&p);
	at = p.at + BAD * PAGE;
	struck(&p, NULL);
	check_report(&p);
	if (p.bare) {
		check_all(&p);		/* the good memory of this machine */
		CHECK_EQ(sigbus.count, 1);
		return;
	}
	check_stays_lost(at + OFFSET);
	CHECK_EQ(pread(p.fd, page, PAGE, BAD * PAGE), -1);
	CHECK_EQ(errno, EIO);
	CHECK_EQ(pread(p.fd, page, PAGE, (BAD + 1) * PAGE), PAGE);
	CHECK(page_is(page, fill_of(BAD + 1)));
	memset(page, fill_of(BAD), PAGE);
	CHECK_EQ(pwrite(p.fd, page, PAGE, BAD * PAGE), -1);
	CHECK(errno == EIO || errno == EFAULT);
	check_stays_lost(at + OFFSET + 1);
	CHECK_EQ(fallocate(p.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   BAD * PAGE, PAGE), 0);
	CHECK_EQ(pwrite(p.fd, page, PAGE, BAD * PAGE), PAGE);
	check_all(&p);
}

/* It is refused by name, and no byte of it is wrong. */
static void machine_check_saved(void)
{
	struct bez_event e;
	struct pmem p;
	size_t i;

	lab_need_mce();
	take_sigbus();
	make(&p);
	protect(&p);
	struck(&p, bez_thread_attach);
	/* before the block is a bad one, the page can be read */
	if (!p.bare)
		check_stays_lost(p.at + BAD * PAGE + OFFSET);
	CHECK_EQ(sigbus.count, 1);
	e = last_event();
	CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(e.width, p.unit);
	if (p.bare) {
		CHECK_EQ(e.cause, BEZ_CAUSE_POISON_AR);
		CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_SHARED);
		return;
	}
	for (i = 0; i < p.len / PAGE; i++)
		if (i != BAD)
			CHECK(page_is(p.at + i * PAGE, fill_of(i)));
	if (linux_is(6, 5))
		CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_SYSTEM);
	else
		CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_DETACH);
}

static void check_good_byte(unsigned char *at)
{
	unsigned char value = 0;

	CHECK_EQ(peek(at, &value), 0);
	CHECK_EQ(value, fill_of(BAD));
}

/* What can not be read of the file any more may become this process's own memory, if that
 * is allowed; of poison, which it is since Linux 6.5, that is not said. */
static void machine_check_detached(void)
{
	struct bez_event e;
	struct pmem p;

	detach = 1;
	lab_need_mce();
	take_sigbus();
	make(&p);
	protect(&p);
	struck(&p, bez_thread_attach);
	if (linux_is(6, 5)) {
		check_stays_lost(p.at + BAD * PAGE + OFFSET);
		e = last_event();
		CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
		CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_SYSTEM);
		return;
	}
	check_good_byte(p.at + BAD * PAGE + OFFSET);
	e = last_event();
	CHECK_EQ(e.cause, BEZ_CAUSE_UNREADABLE);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(sigbus.count, 0);
	check_all(&p);
}

static const struct tap_case cases[] = {
	{ .name = "poison, file", .run = poisoned, .data = &in_file },
	{ .name = "poison, bare", .run = poisoned, .data = &bare },
	{ .name = "poison by another, file", .run = by_another, .data = &in_file },
	{ .name = "poison by another, bare", .run = by_another, .data = &bare },
	{ .name = "poison of a region, file", .run = saved, .data = &in_file },
	{ .name = "poison of a region, bare", .run = saved, .data = &bare },
	{ .name = "machine check of a region, file", .run = machine_check_saved,
	  .data = &in_file },
	{ .name = "machine check of a region, file, detached",
	  .run = machine_check_detached, .data = &in_file },
	{ .name = "machine check of a region, bare", .run = machine_check_saved,
	  .data = &bare },
	{ .name = "machine check, bare", .run = machine_check, .data = &bare },
	/* it sets the bad block free, for another file to meet: last */
	{ .name = "machine check, file", .run = machine_check, .data = &in_file },
};
TAP_MAIN(cases)
