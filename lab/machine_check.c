/* SPDX-License-Identifier: MIT */
/*
 * What a process is told when the machine itself finds that a page it uses is
 * lost: real machine checks that require action. The kernel's side only;
 * machine_notice.c has those that require none.
 */
#define _GNU_SOURCE
#include "poison.h"
#include "tap.h"
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int is_lost(const unsigned char *p)
{
	return (pagemap(p) & (PAGEMAP_PRESENT | PAGEMAP_SWAP)) == PAGEMAP_SWAP;
}

/* Every later touch is told the exact byte. */
static void check_stays_lost(unsigned char *p)
{
	unsigned char value;

	CHECK_EQ(peek(p + 78, &value), -1);
	check_ar(p + 78);
	CHECK_EQ(poke(p + 79, 1), -1);
	check_ar(p + 79);
}

/* SIGBUS, and nobody knows where: SI_KERNEL, or on 5.10 an AR without one. */
static void check_no_address(void)
{
	CHECK_EQ(sigbus.code, linux_is(5, 16) ? SI_KERNEL : BUS_MCEERR_AR);
	CHECK_EQ((uintptr_t)sigbus.addr, 0);
}

struct required {
	enum lab_mce_kind kind;
	enum touch touch;
};

/* The page is unmapped, and the thread told its address: one signal. */
static void required(void)
{
	const struct required *want = tap_data();
	struct victim v = { .touch = want->touch, .value = 5 };
	unsigned char *p;
	long kib;

	lab_need_mce();
	take_sigbus();
	if (want->touch == TOUCH_RUN) {
		p = v.at = victim_code();
	} else {
		p = anon(1, MAP_PRIVATE);
		v.at = p + 77;
	}
	kib = corrupted_kib();
	victim_struck(&v, want->kind);
	CHECK_EQ(v.left, -1);
	CHECK_EQ(sigbus.count, 1);
	check_ar(p);
	CHECK(is_lost(p));
	CHECK_EQ(corrupted_kib(), kib + 4);
	check_stays_lost(p);
	CHECK_EQ(sigbus.count, 3);
}

static void neighbours(void)
{
	unsigned char *p;
	struct victim v = { .touch = TOUCH_LOAD };

	lab_need_mce();
	take_sigbus();
	p = anon(3, MAP_PRIVATE);
	v.at = p + PAGE;
	victim_struck(&v, LAB_MCE_LOAD);
	check_ar(p + PAGE);
	CHECK(page_is(p, fill_of(0)));
	CHECK(page_is(p + 2 * PAGE, fill_of(2)));
	CHECK_EQ(sigbus.count, 1);
}

/*
 * The processor does not vouch for the interrupted instruction. Newer kernels
 * say just what they say where it does; older ones say nothing of the page, and
 * leave it where it is.
 */
static void no_restart(void)
{
	struct victim v = { .touch = TOUCH_LOAD };
	unsigned char *p, value = 0;

	lab_need_mce();
	take_sigbus();
	p = anon(1, MAP_PRIVATE);
	v.at = p + 77;
	victim_struck(&v, LAB_MCE_NO_RESTART);
	CHECK_EQ(v.left, -1);
	CHECK_EQ(sigbus.count, 1);
	if (linux_is(6, 12)) {
		check_ar(p);
		check_stays_lost(p);
		return;
	}
	CHECK_EQ(sigbus.code, SI_KERNEL);
	CHECK_EQ((uintptr_t)sigbus.addr, 0);
	CHECK(!is_lost(p));
	CHECK_EQ(peek(p + 77, &value), 0);
	CHECK_EQ(value, fill_of(0));
}

/* A page that is known to be lost already: its user is told the address again,
 * whatever was being touched. */
static void same_page_again(void)
{
	struct victim v = { .touch = TOUCH_LOAD };
	unsigned char *p;
	uint64_t phys;

	lab_need_mce();
	take_sigbus();
	p = anon(2, MAP_PRIVATE);
	phys = lab_phys(p);
	v.at = p;
	victim_struck(&v, LAB_MCE_LOAD);
	CHECK_EQ(sigbus.count, 1);
	v.at = p + PAGE;
	victim_starts(&v);
	victim_meets(&v, LAB_MCE_LOAD, phys);
	victim_ends(&v);
	if (linux_is(5, 14)) {
		CHECK_EQ(v.left, -1);
		CHECK_EQ(sigbus.count, 2);
		check_ar(p);
	} else {
		CHECK_EQ(v.left, 0);
		CHECK_EQ(sigbus.count, 1);
	}
	CHECK(page_is(p + PAGE, fill_of(1)));
}

/* Another process that has the page and asked for early notice is told, too:
 * nothing that it does is to blame. (Linux 5.10 leaves that to its touch.) */
static void other_process(void)
{
	const struct timespec now = { .tv_sec = 0 };
	struct victim v = { .touch = TOUCH_LOAD };
	int status, fds[2], go[2];
	siginfo_t info;
	sigset_t set;
	unsigned char *p;
	pid_t pid;
	char c = 0;

	lab_need_mce();
	take_sigbus();
	p = anon(1, MAP_PRIVATE);
	v.at = p + 77;
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		sigemptyset(&set);
		sigaddset(&set, SIGBUS);
		CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
		CHECK_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_SET,
			       PR_MCE_KILL_EARLY, 0, 0), 0);
		CHECK_EQ(write(fds[1], &c, 1), 1);
		CHECK_EQ(read(go[0], &c, 1), 1);
		if (linux_is(6, 1)) {
			CHECK_EQ(sigtimedwait(&set, &info, &now), SIGBUS);
			CHECK_EQ(info.si_code, BUS_MCEERR_AO);
			CHECK_EQ((uintptr_t)info.si_addr, (uintptr_t)p);
		} else {
			CHECK_EQ(sigtimedwait(&set, &info, &now), -1);
		}
		CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
		check_stays_lost(p);
		_exit(0);
	}
	CHECK_EQ(read(fds[0], &c, 1), 1);
	victim_struck(&v, LAB_MCE_LOAD);
	CHECK_EQ(sigbus.count, 1);
	check_ar(p);
	CHECK_EQ(write(go[1], &c, 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

/* ------------------------------------------------- the kernel's own copies */

enum { COPIED = 4, BAD = 2 };	/* pages, and which of them */

struct copier {
	pthread_t thread;
	ssize_t (*copy)(const unsigned char *from);
	unsigned char *from;
	ssize_t good;		/* what it says when nothing is lost */
	ssize_t said[2];	/* by the call that met it, and by the next */
	unsigned int signals;	/* until the first of them was over */
};

static ssize_t into_file(const unsigned char *from)
{
	static int fd;
	ssize_t r;

	if (!fd)
		fd = memfd_create("copy", MFD_CLOEXEC);
	r = pwrite(fd, from, COPIED * PAGE, 0);
	return r < 0 ? -errno : r;
}

/* The value of an attribute: one copy, all of it or nothing. */
static ssize_t into_attribute(const unsigned char *from)
{
	static int fd;

	if (!fd)
		fd = memfd_create("attribute", MFD_CLOEXEC);
	return fsetxattr(fd, "trusted.lab", from, COPIED * PAGE, 0) ?
	       -errno : 0;
}

static void *copier_thread(void *data)
{
	struct copier *c = data;

	lab_stay_on(THERE);
	do
		c->said[0] = c->copy(c->from);
	while (!is_lost(c->from + BAD * PAGE));
	c->signals = sigbus.count;
	c->said[1] = c->copy(c->from);
	return NULL;
}

/* The page at BAD is lost while the kernel copies from it. */
static void copy_struck(struct copier *c)
{
	struct lab_mce mce = { .kind = LAB_MCE_LOAD, .cpu = THERE };
	unsigned char *p;

	lab_need_mce();
	take_sigbus();
	c->from = anon(COPIED, MAP_PRIVATE);
	c->good = c->copy(c->from);
	p = c->from + BAD * PAGE;
	mce.phys = lab_phys(p);
	mce.from = (uintptr_t)p;
	mce.to = mce.from + PAGE;
	lab_copy_range(&mce.low, &mce.high);
	lab_stay_on(HERE);
	CHECK_EQ(pthread_create(&c->thread, NULL, copier_thread, c), 0);
	CHECK_EQ(lab_mce(&mce), 0);
	CHECK_EQ(pthread_join(c->thread, NULL), 0);
	/* nothing of the program's was at it; 5.10 blames it all the same */
	if (linux_is(5, 16)) {
		CHECK_EQ(sigbus.count, 0);
	} else {
		CHECK_EQ(c->signals, 1);
		CHECK_EQ(sigbus.count, 1);
		CHECK_EQ(sigbus.code, BUS_MCEERR_AR);
		CHECK((uintptr_t)sigbus.addr >= mce.from &&
		      (uintptr_t)sigbus.addr < mce.to);
		sigbus.count = 0;
	}
	check_stays_lost(p);
	CHECK_EQ(sigbus.count, 2);
	CHECK(page_is(p - PAGE, fill_of(BAD - 1)));
	CHECK(page_is(p + PAGE, fill_of(BAD + 1)));
}

/*
 * The kernel meets it while it copies from the program. The page is taken away,
 * the next call ends before it, and who touches it is told. The call that met
 * it is carried on: the file tries once more where a copy was short, and here
 * the memory is good.
 */
static void copy_in(void)
{
	struct copier c = { .copy = into_file };

	copy_struck(&c);
	CHECK_EQ(c.good, COPIED * PAGE);
	CHECK_EQ(c.said[0], COPIED * PAGE);
	CHECK_EQ(c.said[1], BAD * PAGE);
}

/* What tries nothing twice fails at once. (5.10 pretends that all is well, as
 * the signal tells. Since 6.4 a copy by words is tried once more byte by byte,
 * and the memory is good here.) */
static void copy_in_once(void)
{
	struct copier c = { .copy = into_attribute };

	copy_struck(&c);
	CHECK_EQ(c.good, 0);
	if (c.said[0] || !linux_is(6, 4))
		CHECK_EQ(c.said[0], linux_is(5, 16) ? -EFAULT : 0);
	CHECK_EQ(c.said[1], -EFAULT);
}

/* ------------------------------------------- pages that can not be unmapped */

/* A page of a huge page that a pipe holds: the huge page can not be split, and
 * all of it stays mapped. */
static void pinned_huge(void)
{
	struct victim v = { .touch = TOUCH_LOAD };
	struct iovec one;
	unsigned char *p, *bad;
	int fds[2];

	lab_need_mce();
	take_sigbus();
	p = anon_huge();
	bad = p + 7 * PAGE;
	one = (struct iovec){ .iov_base = bad, .iov_len = PAGE };
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(vmsplice(fds[1], &one, 1, 0), PAGE);
	v.at = bad + 77;
	victim_struck(&v, LAB_MCE_LOAD);
	CHECK_EQ(v.left, -1);
	CHECK_EQ(sigbus.count, 1);
	if (linux_is(6, 11)) {
		CHECK_EQ(sigbus.code, BUS_MCEERR_AR);
		CHECK_EQ((uintptr_t)sigbus.addr, (uintptr_t)bad);
		CHECK_EQ(sigbus.width_bits, 21);
	} else {
		check_no_address();
	}
	CHECK(is_huge(p));
	CHECK(page_is(bad, fill_of(7)));
	CHECK_EQ(sigbus.count, 1);
	victim_struck(&v, LAB_MCE_LOAD);
	if (!linux_is(5, 14)) {
		/* nothing at all: it runs into it for ever */
		CHECK_EQ(v.left, 0);
		CHECK_EQ(sigbus.count, 1);
		return;
	}
	CHECK_EQ(v.left, -1);
	CHECK_EQ(sigbus.count, 2);
	check_ar(bad);
	CHECK(page_is(bad, fill_of(7)));
	victim_struck(&v, LAB_MCE_LOAD);
	CHECK_EQ(v.left, -1);
	CHECK_EQ(sigbus.count, 3);
	check_ar(bad);
}

/* Does the kernel hold it for bad (KPF_HWPOISON)? */
static int is_marked(uint64_t phys)
{
	uint64_t flags = 0;
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &flags, sizeof(flags),
		       (off_t)(phys / PAGE * sizeof(flags))), sizeof(flags));
	close(fd);
	return (int)(flags >> 19 & 1);
}

/*
 * The page of zeros that all memory shares which was only read yet. The first
 * time it is said to be bad marks it until the next boot, and says nothing of
 * where. Then it is a page that is known to be bad: as long as it stays mapped,
 * its address is told (5.14); before that its user goes on.
 */
static void zero_page(void)
{
	struct victim v = { .touch = TOUCH_LOAD };
	unsigned char *p, value = 1;
	int i, count = 0;

	lab_need_mce();
	take_sigbus();
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(peek(p, &value), 0);
	CHECK_EQ(value, 0);
	v.at = p + 77;
	for (i = 0; i < 2; i++) {
		int marked = is_marked(lab_phys(p));

		CHECK(marked || !i);
		victim_struck(&v, LAB_MCE_LOAD);
		if (marked && !linux_is(5, 14)) {
			CHECK_EQ(v.left, 0);
		} else {
			CHECK_EQ(v.left, -1);
			count++;
			if (marked)
				check_ar(p);
			else
				check_no_address();
		}
		CHECK_EQ(sigbus.count, count);
		CHECK(!is_lost(p));
		CHECK_EQ(peek(p, &value), 0);
	}
	CHECK_EQ(poke(p, 9), 0);
	CHECK_EQ(sigbus.count, count);
}

static const struct required variants[] = {
	{ LAB_MCE_LOAD, TOUCH_LOAD },
	{ LAB_MCE_LOCAL, TOUCH_LOAD },
	{ LAB_MCE_LOAD, TOUCH_STORE },
	{ LAB_MCE_FETCH, TOUCH_RUN },
};

/* The last two leave more behind than one lost page. */
static const struct tap_case cases[] = {
	{ .name = "load", .run = required, .data = &variants[0] },
	{ .name = "load, one processor", .run = required,
	  .data = &variants[1] },
	{ .name = "store", .run = required, .data = &variants[2] },
	{ .name = "instruction", .run = required, .data = &variants[3] },
	{ .name = "neighbours", .run = neighbours },
	{ .name = "no restart", .run = no_restart },
	{ .name = "the same page again", .run = same_page_again },
	{ .name = "another process", .run = other_process },
	{ .name = "copy in", .run = copy_in },
	{ .name = "copy in, one try", .run = copy_in_once },
	{ .name = "pinned huge page", .run = pinned_huge },
	{ .name = "zero page", .run = zero_page },
};
TAP_MAIN(cases)
