/* SPDX-License-Identifier: MIT */
#include "double.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "sys/sys.h"

#define TRACED	8192
#define RULES	8

static __thread int watched;
static _Atomic int everyone;

static struct {
	struct double_rule rule[RULES];
	_Atomic uint32_t matched[RULES];
	uint32_t rules;
	uint32_t kernel;
	uint64_t step_ns, stopped;
	const char *smaps;
	size_t chunk;
	void (*look)(long nr, const long arg[6]);
	_Atomic uint32_t calls, lies, traced;
	_Atomic uint64_t looks;
	struct double_call trace[TRACED];
} d;

/* ------------------------------------------------------------- the kernel */

static long kernel(long nr, const long arg[6])
{
	int saved = errno;
	long r = syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);

	if (r == -1)
		r = -errno;
	errno = saved;
	return r;
}

/* A file with the text of double_smaps(). */
static long open_text(void)
{
	int saved = errno, fd = memfd_create("smaps", MFD_CLOEXEC);
	size_t len = strlen(d.smaps);
	long r = fd;

	if (fd < 0 || write(fd, d.smaps, len) != (ssize_t)len ||
	    lseek(fd, 0, SEEK_SET))
		r = -EIO;
	errno = saved;
	return r;
}

static int has(uint32_t bit)
{
	return (d.kernel & bit) != 0;
}

/* A kernel other than the real one: 1 and *ret, or 0. */
static int older_uffd(long nr, const long arg[6], long *ret)
{
	if (nr == SYS_userfaultfd) {
		int user = (arg[0] & UFFD_USER_MODE_ONLY) != 0;

		if (has(DOUBLE_NO_UFFD))
			*ret = -ENOSYS;
		else if (has(DOUBLE_ONLY_DEVICE))
			*ret = -EPERM;
		else if (user && has(DOUBLE_NO_USER_MODE))
			*ret = -EINVAL;
		else if (!user && has(DOUBLE_NOT_FULL))
			*ret = -EPERM;
		else
			return 0;
		return 1;
	}
	if (nr == SYS_openat && !strcmp((const char *)arg[1],
					"/dev/userfaultfd")) {
		if (has(DOUBLE_NO_DEVICE | DOUBLE_NO_UFFD))
			*ret = -ENOENT;
		else if (has(DOUBLE_NOT_FULL))
			*ret = -EACCES;
		else
			return 0;
		return 1;
	}
	if (nr != SYS_ioctl || !has(DOUBLE_NO_POISON))
		return 0;
	if ((unsigned long)arg[1] == UFFDIO_POISON ||
	    ((unsigned long)arg[1] == UFFDIO_API &&
	     (((struct uffdio_api *)arg[2])->features & UFFD_FEATURE_POISON))) {
		*ret = -EINVAL;
		return 1;
	}
	return 0;
}

static long old_name(struct utsname *name)
{
	memset(name, 0, sizeof(*name));
	strcpy(name->release, "5.15.216-generic");
	return 0;
}

static int older(long nr, const long arg[6], long *ret)
{
	if (nr == SYS_madvise && arg[2] == MADV_POPULATE_READ &&
	    has(DOUBLE_NO_POPULATE))
		*ret = -EINVAL;
	else if (nr == SYS_madvise && arg[2] == MADV_FREE &&
		 has(DOUBLE_FREE_KEEPS))
		*ret = 0;
	else if (nr == SYS_get_mempolicy && has(DOUBLE_NO_NUMA))
		*ret = -ENOSYS;
	else if (nr == SYS_uname && has(DOUBLE_NO_HUGE_MOVE))
		*ret = old_name((struct utsname *)arg[0]);
	else if (nr == SYS_process_vm_readv && has(DOUBLE_NO_READV))
		*ret = -ENOSYS;
	else if (nr == SYS_openat && d.smaps &&
		 !strcmp((const char *)arg[1], "/proc/self/smaps"))
		*ret = open_text();
	else
		return older_uffd(nr, arg, ret);
	return 1;
}

/* -------------------------------------------------------------- the rules */

/* With sound arguments these always work, and the library relies on it. */
static int can_fail(long nr)
{
	return nr != SYS_gettid && nr != SYS_getpid && nr != SYS_sched_yield &&
	       nr != SYS_rt_sigprocmask && nr != SYS_rt_sigaction;
}

static long what(long nr, const long arg[6])
{
	if (nr == SYS_madvise || nr == SYS_prctl)
		return arg[2];
	if (nr == SYS_ioctl || nr == SYS_fcntl || nr == SYS_futex)
		return arg[1];
	return 0;
}

static const struct double_rule *applies(long nr, const long arg[6])
{
	uint32_t i, n;

	for (i = 0; i < d.rules; i++) {
		const struct double_rule *r = &d.rule[i];

		if (r->nr == DOUBLE_ANY ? !can_fail(nr) : r->nr != nr)
			continue;
		if (r->what && r->what != what(nr, arg))
			continue;
		n = atomic_fetch_add(&d.matched[i], 1) + 1;
		if (!r->nth || r->nth == n)
			return r;
	}
	return NULL;
}

static long answer(long nr, const long arg[6], int *lied)
{
	const struct double_rule *rule = applies(nr, arg);
	long r;

	*lied = rule != NULL;
	/* close(2) gives the number back whatever it says */
	if (rule && nr != SYS_close && !(rule->flags & DOUBLE_EXECUTE))
		return -rule->err;
	if (!older(nr, arg, &r))
		r = kernel(nr, arg);
	return rule ? -rule->err : r;
}

static void look_at(long nr, const long arg[6])
{
	if (!d.look)
		return;
	watched = 0;
	d.look(nr, arg);
	watched = 1;
}

static void note(long nr, const long arg[6], long result, int lied)
{
	uint32_t i = atomic_fetch_add(&d.traced, 1);

	if (lied)
		atomic_fetch_add(&d.lies, 1);
	if (i >= TRACED)
		return;
	d.trace[i] = (struct double_call){ .nr = nr, .result = result,
					   .lied = lied };
	memcpy(d.trace[i].arg, arg, sizeof(d.trace[i].arg));
}

int double_asked(long nr, long with)
{
	long arg[6] = { 0, with, with };	/* where what() looks */
	const struct double_rule *rule;

	if (!watched && !atomic_load(&everyone))
		return 0;
	look_at(nr, arg);
	if (can_fail(nr))
		atomic_fetch_add(&d.calls, 1);
	rule = applies(nr, arg);
	note(nr, arg, rule ? -rule->err : 0, rule != NULL);
	return rule ? rule->err : 0;
}

long bz_sys(long nr, long a, long b, long c, long e, long f, long g)
{
	long arg[6] = { a, b, c, e, f, g }, r;
	int lied;

	if (!watched && !atomic_load(&everyone))
		return kernel(nr, arg);
	look_at(nr, arg);
	if (nr == SYS_read && d.chunk && (size_t)arg[2] > d.chunk)
		arg[2] = (long)d.chunk;
	if (can_fail(nr))
		atomic_fetch_add(&d.calls, 1);
	r = answer(nr, arg, &lied);
	note(nr, arg, r, lied);
	return r;
}

uint64_t bz_now_ns(void)
{
	struct timespec ts;

	uint64_t late = d.step_ns * atomic_fetch_add(&d.looks, 1);

	if (d.stopped)
		return d.stopped + late;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + late;
}

/* ------------------------------------------------------------- for a test */

static void begin(void)
{
	uint32_t i;

	for (i = 0; i < RULES; i++)
		atomic_store(&d.matched[i], 0);
	atomic_store(&d.calls, 0);
	atomic_store(&d.lies, 0);
	atomic_store(&d.traced, 0);
}

void double_watch(void)
{
	begin();
	watched = 1;
}

void double_watch_all(void)
{
	begin();
	atomic_store(&everyone, 1);
}

void double_rest(void)
{
	watched = 0;
	atomic_store(&everyone, 0);
}

void double_reset(void)
{
	double_rest();
	begin();
	d.rules = 0;
	d.kernel = 0;
	d.step_ns = 0;
	d.stopped = 0;
	d.smaps = NULL;
	d.chunk = 0;
	d.look = NULL;
}

void double_before(void (*look)(long nr, const long arg[6]))
{
	d.look = look;
}

void double_rule(const struct double_rule *rule)
{
	if (d.rules == RULES)
		__builtin_trap();
	d.rule[d.rules++] = *rule;
}

void double_fail(uint32_t n, int err)
{
	struct double_rule r = { .nr = DOUBLE_ANY, .nth = n, .err = err };

	double_rule(&r);
}

void double_kernel(uint32_t bits)
{
	d.kernel = bits;
}

void double_clock(uint64_t step_ns)
{
	d.step_ns = step_ns;
}

void double_stop_clock(void)
{
	d.stopped = bz_now_ns();
}

void double_smaps(const char *text, size_t chunk)
{
	d.smaps = text;
	d.chunk = chunk;
}

uint32_t double_calls(void)
{
	return atomic_load(&d.calls);
}

uint32_t double_lies(void)
{
	return atomic_load(&d.lies);
}

uint32_t double_traced(void)
{
	uint32_t n = atomic_load(&d.traced);

	return n < TRACED ? n : TRACED;
}

const struct double_call *double_trace(uint32_t i)
{
	return &d.trace[i];
}

uint32_t double_count(long nr, long with)
{
	uint32_t i, n = 0;

	for (i = 0; i < double_traced(); i++)
		n += d.trace[i].nr == nr &&
		     (!with || what(nr, d.trace[i].arg) == with);
	return n;
}

const char *double_name(long nr)
{
	static const struct {
		long nr;
		const char *name;
	} names[] = {
		{ SYS_madvise, "madvise" }, { SYS_ioctl, "ioctl" },
		{ SYS_mmap, "mmap" }, { SYS_munmap, "munmap" },
		{ SYS_mremap, "mremap" }, { SYS_mprotect, "mprotect" },
		{ SYS_openat, "openat" }, { SYS_read, "read" },
		{ SYS_close, "close" }, { SYS_fstat, "fstat" },
		{ SYS_fcntl, "fcntl" }, { SYS_pread64, "pread" },
		{ SYS_futex, "futex" }, { SYS_tkill, "tkill" },
		{ SYS_userfaultfd, "userfaultfd" }, { SYS_mlock, "mlock" },
		{ SYS_get_mempolicy, "get_mempolicy" },
		{ SYS_process_vm_readv, "process_vm_readv" },
		{ SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo" },
		{ SYS_prctl, "prctl" }, { SYS_msync, "msync" },
		{ SYS_sigaltstack, "sigaltstack" },
		{ SYS_rt_sigaction, "rt_sigaction" },
		{ DOUBLE_THREAD_CREATE, "pthread_create" },
		{ DOUBLE_KEY_CREATE, "pthread_key_create" },
		{ DOUBLE_KEY_SET, "pthread_setspecific" },
		{ DOUBLE_ATFORK, "pthread_atfork" },
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].nr == nr)
			return names[i].name;
	return "a call";
}
