/* SPDX-License-Identifier: MIT */
/*
 * Shared memory and what happens to a process: it forks, with the libc and
 * without, it closes descriptors that are not its own, it removes the region and
 * stops the library. Whoever has no fence gets a clear answer and no zeros.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/core.h"
#include "live.h"
#include "lost.h"
#include "replace_see.h"

#define PAGES	4
#define LOST	1

static unsigned char *copy;
static bez_region_t region;

static int memory_file(void)
{
	int fd = memfd_create("life", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)(PAGES * live_page())), 0);
	return fd;
}

static unsigned char *map(int fd)
{
	unsigned char *at = mmap(NULL, PAGES * live_page(),
				 PROT_READ | PROT_WRITE,
				 fd < 0 ? MAP_SHARED | MAP_ANONYMOUS :
					  MAP_SHARED, fd, 0);

	CHECK(at != MAP_FAILED);
	live_fill(at, PAGES * live_page(), 0);
	return at;
}

static void add(unsigned char *at, int fd, uint32_t flags)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = bez_source_mirror(copy);

	shared.fd = fd;
	shared.flags = flags;
	policy.shared = &shared;
	policy.source = &from;
	policy.max_repeats = 4095;
	CHECK_EQ(bez_region_add(at, PAGES * live_page(), &policy, &region), 0);
}

static unsigned char *protect(int fd, uint32_t flags)
{
	unsigned char *at = map(fd);

	see_install();
	copy = live_pages(PAGES);
	see_start(BEZ_START_NO_WORKER);
	add(at, fd, flags);
	lost_begin(fd, at, live_page());
	return at;
}

static size_t lost_page(void)
{
	return LOST * live_page();
}

/* What a hole is for who has no fence. Under no lock: nobody else is there. */
static void punch(int fd)
{
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)lost_page(), (off_t)live_page()), 0);
}

static int status_of(pid_t pid)
{
	int status = 0;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* ------------------------------------------------------------------- holes */

/* A second registration is refused, and the fence around the first one stands. */
static void added_again(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t other;

	shared.fd = fd;
	shared.flags = BEZ_SHARED_FENCED;
	policy.shared = &shared;
	CHECK_EQ(bez_region_add(at, PAGES * live_page(), &policy, &other),
		 -EEXIST);
	shared.offset = live_page();
	CHECK_EQ(bez_region_add(at + live_page(), live_page(), &policy, &other),
		 -EEXIST);
	punch(fd);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

/* What one that died has left; and what it is called. */
static void hole(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);

	punch(fd);
	CHECK_EQ(live_read(at + lost_page() + 3), live_byte(lost_page() + 3, 0));
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(see_event(at + lost_page()).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(atomic_load(&lost->fills), 1);
	CHECK_EQ(see_event(at + lost_page()).cause, BEZ_CAUSE_HOLE);
	CHECK_EQ(atomic_load(&lost->punches), 0);
}

/* A system call of the process itself meets the hole by way of the mapping. */
static void system_call(void)
{
	int fd = memory_file(), pipes[2];
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);

	CHECK_EQ(pipe(pipes), 0);
	punch(fd);
	CHECK_EQ(write(pipes[1], at + lost_page(), 16), -1);
	CHECK_EQ(errno, EFAULT);
	live_read(at + lost_page());
	CHECK_EQ(write(pipes[1], at + lost_page(), 16), 16);
}

/* The lock is another's who never lets go: a clear end, in time. */
static void lock_is_held(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			      .l_len = (off_t)(PAGES * live_page()) };
	int fd = memory_file();
	unsigned char *at = map(fd);
	double began;

	see_install();
	copy = live_pages(PAGES);
	options.claim_wait_ns = 100000000;
	options.flags = BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL;
	CHECK_EQ(bez_start(&options), 0);
	add(at, fd, BEZ_SHARED_FENCED);
	lost_begin(fd, at, live_page());
	CHECK_EQ(fcntl(fd, F_OFD_SETLK, &lock), 0);
	punch(fd);
	began = see_seconds();
	see_refused(at + lost_page(), BEZ_OUTCOME_CLAIM_TIMEOUT);
	CHECK(see_seconds() - began < 30);
	lock.l_type = F_UNLCK;
	CHECK_EQ(fcntl(fd, F_OFD_SETLK, &lock), 0);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
}

/* -------------------------------------------------------------------- fork */

static struct {
	_Atomic uint32_t ready, round, done;
	_Atomic uint32_t steps[2];	/* of each, to get the lock or beyond */
} *pair;
static int is_second;

static void until(_Atomic uint32_t *word, uint32_t is)
{
	while (atomic_load(word) != is)
		sched_yield();
}

#define ROUNDS 300

/* Who is about to empty the page waits until the other has tried for the lock, and
 * not got it; or has got it as well. */
static void meet(long nr, const long arg[6])
{
	const struct flock *lock = (struct flock *)arg[2];

	if ((nr == SYS_fcntl && arg[1] == F_OFD_SETLK &&
	     lock->l_type == F_WRLCK) ||
	    (nr == SYS_madvise && arg[2] == MADV_POPULATE_READ))
		atomic_fetch_add(&pair->steps[is_second], 1);
	if (nr == SYS_fallocate)
		while (atomic_load(&pair->steps[!is_second]) < 2)
			sched_yield();
}

static void both_touch(unsigned char *at, int is_child)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t *number = (uint64_t *)(at + lost_page());
	uint32_t i;

	for (i = 1; i <= ROUNDS; i++) {
		memset(mm->repeats, 0, sizeof(mm->repeats));
		lost_mark(lost_page());
		atomic_store(&pair->steps[is_child], 0);
		atomic_fetch_add(&pair->ready, 1);
		if (!is_child) {
			until(&pair->ready, 2 * i);
			lose_at(lost_page());
			atomic_store(&pair->round, i);
		}
		until(&pair->round, i);
		__atomic_fetch_add(number, 1, __ATOMIC_RELAXED);
		atomic_fetch_add(&pair->done, 1);
		until(&pair->done, 2 * i);
		CHECK_EQ(*number, 2);
	}
}

/* Each is a user of its own: the second fill would take back what the first one
 * counted. */
static void forked(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);
	pid_t pid;

	memset(copy + lost_page(), 0, 8);
	pair = mmap(NULL, live_page(), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(pair != MAP_FAILED);
	pid = fork();
	CHECK(pid >= 0);
	is_second = !pid;
	lost_before = meet;
	both_touch(at, !pid);
	if (!pid)
		_exit(0);
	CHECK_EQ(status_of(pid), 0);
	CHECK_EQ(atomic_load(&lost->fills), ROUNDS);
	/* an old kernel takes what is lost out of the file by itself */
	if (live_linux(5, 16))
		CHECK_EQ(atomic_load(&lost->punches), ROUNDS);
}

/* A child that the library was not told of repairs nothing. */
static void bare_fork(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);
	pid_t pid;

	lose_at(lost_page());
	pid = _Fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (!live_is_real())
			lost_mark(lost_page());
		see_refused(at + lost_page(), BEZ_OUTCOME_REFUSED_SHARED);
		/* not even when it has a fence around something else */
		add(map(memory_file()), -1, BEZ_SHARED_EXCLUSIVE);
		if (!live_is_real())
			lost_mark(lost_page());
		see_refused(at + lost_page(), BEZ_OUTCOME_REFUSED_SHARED);
		_exit(0);
	}
	CHECK_EQ(status_of(pid), 0);
	CHECK_EQ(atomic_load(&lost->punches), 0);
	lost_mark(lost_page());
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(atomic_load(&lost->fills), 1);
}

/* No descriptor to be had: what the child cannot fence it cannot read. */
static void fork_without_fence(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);
	struct rlimit none = { 0, 0 };
	pid_t pid;
	int status;

	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(live_read(at + lost_page()));
	}
	status = status_of(pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
	       "status %#x", (unsigned int)status);
	/* the parent has lost nothing by it */
	punch(fd);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
}

/* The number of our descriptor is the program's by now. */
static void fork_other_file(void)
{
	int fd = memory_file(), other = memfd_create("other", 0), n, flags;
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);
	pid_t pid;

	CHECK(other >= 0);
	CHECK_EQ(lseek(other, 7, SEEK_SET), 7);
	/* the highest is the file's or the fence's: take all of ours */
	for (n = 1000; n < 1010; n++)
		if (fcntl(n, F_GETFD) >= 0)
			CHECK_EQ(dup2(other, n), n);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct stat a, b;

		CHECK_EQ(fstat(other, &a), 0);
		for (n = 1000, flags = 0; n < 1010; n++) {
			if (fstat(n, &b) || a.st_ino != b.st_ino)
				continue;
			flags++;
			/* not opened anew, which begins at 0 */
			CHECK_EQ(lseek(n, 0, SEEK_CUR), 7);
		}
		CHECK(flags >= 2);
		punch(fd);
		see_refused(at + lost_page(), BEZ_OUTCOME_REFUSED_FILE);
		_exit(0);
	}
	CHECK_EQ(status_of(pid), 0);
}

/* ------------------------------------------------------------- descriptors */

static void close_all(void)
{
	CHECK_EQ(syscall(SYS_close_range, 3u, ~0u, 0), 0);
}

/* After exec(2) nothing of it is there. */
static void close_on_exec(void)
{
	int fd = memory_file(), n, ours = 0, flags;
	char was[2000] = { 0 };
	size_t before;

	for (n = 3; n < 2000; n++)
		was[n] = fcntl(n, F_GETFD) >= 0;
	before = see_fds();
	protect(fd, BEZ_SHARED_FENCED);
	for (n = 3; n < 2000; n++) {
		flags = fcntl(n, F_GETFD);
		if (flags < 0 || was[n])
			continue;
		ours++;
		CHECKF(flags & FD_CLOEXEC, "descriptor %d", n);
	}
	/* a file and a fence; and a userfaultfd of the library's */
	CHECK(ours >= 2);
	CHECK_EQ(see_fds(), before + (size_t)ours);
}

/* It said that it uses the file, and has closed ours. */
static void closed_file(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_FENCED);

	lose_at(lost_page());
	lost_mark(lost_page());
	close_all();
	see_refused(at + lost_page(), BEZ_OUTCOME_REFUSED_FILE);
	CHECK_EQ(atomic_load(&lost->punches), 0);
}

/* The fence around each region is raised again before its page is emptied. */
static void closed_fence(void)
{
	unsigned char *one = protect(-1, BEZ_SHARED_EXCLUSIVE), *two = map(-1);

	add(two, -1, BEZ_SHARED_EXCLUSIVE);
	lose_at(lost_page());
	lost_mark(lost_page());
	lost_is_at(two);
	lost_mark(lost_page());
	close_all();
	lost_is_at(one);
	CHECK_EQ(live_wrong(one, PAGES * live_page(), 0), 0);
	lost_is_at(two);
	lose_at(lost_page());
	CHECK_EQ(live_wrong(two, PAGES * live_page(), 0), 0);
	CHECK_EQ(atomic_load(&lost->fills), 2);
	/* and it stands: what is emptied now is filled */
	CHECK_EQ(madvise(two + lost_page(), live_page(), MADV_REMOVE), 0);
	CHECK_EQ(live_wrong(two, PAGES * live_page(), 0), 0);
	CHECK_EQ(atomic_load(&lost->fills), 3);
}

static uint32_t closed;

static void close_before_copy(long nr, const long arg[6])
{
	if (nr != SYS_ioctl || (unsigned long)arg[1] != UFFDIO_COPY || closed)
		return;
	closed = 1;
	close((int)arg[0]);
	/* another process, or thread, comes first: without a fence, zeros */
	live_read((void *)(uintptr_t)((struct uffdio_copy *)arg[2])->dst);
}

/* Closed between the hole and the page: what came in meanwhile goes. */
static void closed_meanwhile(void)
{
	int fd = memory_file();
	unsigned char *at = protect(fd, BEZ_SHARED_EXCLUSIVE);

	lose_at(lost_page());
	lost_mark(lost_page());
	lost_before = close_before_copy;
	CHECK_EQ(live_read(at + lost_page() + 8), live_byte(lost_page() + 8, 0));
	CHECK_EQ(closed, 1);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(atomic_load(&lost->fills), 1);
	CHECK_EQ(atomic_load(&lost->punches), 2);
}

/* --------------------------------------------------------------- the end */

static void removed(void)
{
	int fd = memory_file(), i;
	unsigned char *at;
	size_t fds;

	see_install();
	copy = live_pages(PAGES);
	at = map(fd);
	lost_begin(fd, at, live_page());
	fds = see_fds();
	for (i = 0; i < 3; i++) {
		size_t before, with;

		see_start(BEZ_START_NO_WORKER);
		add(at, fd, BEZ_SHARED_FENCED);
		CHECK(strstr(see_map(at).flags, " um"));
		with = see_fds();
		CHECK_EQ(bez_region_remove(region), 0);
		CHECK_EQ(see_fds(), with - 1);
		/* lowered: a hole is a hole again */
		CHECK(!strstr(see_map(at).flags, " um"));
		punch(fd);
		CHECK_EQ(live_read(at + lost_page()), 0);
		live_fill(at, PAGES * live_page(), 0);
		/* once more, the fence is the same one */
		before = see_fds();
		add(at, fd, BEZ_SHARED_FENCED);
		CHECK_EQ(see_fds(), before + 1);
		punch(fd);
		CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
		CHECK_EQ(bez_stop(), -EBUSY);
		CHECK_EQ(bez_region_remove(region), 0);
		CHECK_EQ(bez_stop(), 0);
		CHECK_EQ(see_fds(), fds);
	}
}

static const struct tap_case cases[] = {
	{ .name = "a hole is filled", .run = hole },
	{ .name = "added again", .run = added_again },
	{ .name = "a system call meets a hole", .run = system_call },
	{ .name = "the lock is never let go", .run = lock_is_held },
	{ .name = "parent and child lose a page at once", .run = forked },
	{ .name = "a bare fork repairs nothing", .run = bare_fork },
	{ .name = "a fork without a fence", .run = fork_without_fence },
	{ .name = "a fork leaves the program's file alone",
	  .run = fork_other_file },
	{ .name = "close on exec", .run = close_on_exec },
	{ .name = "closed: the file", .run = closed_file },
	{ .name = "closed: the fence", .run = closed_fence },
	{ .name = "closed: between hole and page", .run = closed_meanwhile },
	{ .name = "removed and stopped", .run = removed },
};
TAP_MAIN(cases)
