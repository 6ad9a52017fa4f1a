/* SPDX-License-Identifier: MIT */
/*
 * What happens to the memory of a case, step by step, each followed by a look at
 * every byte that is not lost.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

struct camp_progress *camp_progress;

/* What the threads are told. */
struct order {
	size_t page;
	uint32_t arg;
};

static unsigned char *at_page(const struct camp *m, size_t page)
{
	return m->at + page * m->width;
}

/* ---------------------------------------------------------- what threads do */

static void load(struct camp *m, uint32_t self, void *arg)
{
	const struct order *o = arg;
	const unsigned char *is = at_page(m, o->page);
	const unsigned char *want = camp_expected(m, o->page);
	size_t first = o->arg % m->width;

	/* where it is touched first is drawn, too */
	CHECKF(live_read(is + first) == want[first],
	       "thread %u, page %zu: byte %zu is wrong", self, o->page, first);
	CHECKF(!memcmp(is, want, m->width), "thread %u: page %zu is wrong",
	       self, o->page);
}

static void load_refused(struct camp *m, uint32_t self, void *arg)
{
	const struct order *o = arg;
	unsigned char *at = at_page(m, o->page) + o->arg % m->width, byte;
	enum bez_outcome why = camp_refusal(m, o->page);
	struct bez_event e;

	CHECKF(see_lost(at, &byte), "thread %u, page %zu: it could be read, "
	       "not \"%s\"", self, o->page, bez_outcome_name(why));
	/* who jumps out of a handler has the rights that handlers have */
	if (m->key >= 0)
		CHECK_EQ(pkey_set(m->key, 0), 0);
	e = see_event(at);
	CHECKF(e.outcome == BEZ_OUTCOME_DEFAULT && e.why == why,
	       "thread %u, page %zu: \"%s\" (\"%s\"), not \"%s\"", self,
	       o->page, bez_outcome_name(e.outcome), bez_outcome_name(e.why),
	       bez_outcome_name(why));
	atomic_fetch_add(&camp_progress->refused, 1);
}

static void store(struct camp *m, uint32_t self, void *arg)
{
	const struct order *o = arg;

	(void)self;
	*(volatile unsigned char *)(at_page(m, o->page) + o->arg % m->width) =
		(unsigned char)(1 + o->arg % 255);
}

#define SLOT 64u

/* Each thread has bytes of its own in the page. */
static size_t slot(const struct camp *m, const struct order *o, uint32_t self)
{
	return (o->arg + self * 7) % (m->width / SLOT) * SLOT;
}

static void store_slot(struct camp *m, uint32_t self, void *arg)
{
	const struct order *o = arg;

	camp_pattern(at_page(m, o->page) + slot(m, o, self), SLOT,
		     o->arg + self);
}

/* One discards and writes while the others, who get what comes, look on. */
static void race(struct camp *m, uint32_t self, void *arg)
{
	const struct order *o = arg;
	uint32_t i;

	if (self != 1) {
		live_read(at_page(m, o->page) + o->arg % m->width);
		return;
	}
	for (i = 0; i < o->arg % 8000; i++)
		atomic_signal_fence(memory_order_seq_cst);
	camp_drop(m, o->page);
	camp_pattern(at_page(m, o->page), m->width, o->arg);
}

/* -------------------------------------------------------------------- steps */

/* Is it lost and stays so? Then a thread looks that it is, and why. */
static int is_refused(struct camp *m, struct order *o)
{
	if (!m->lost[o->page] || !camp_refusal(m, o->page))
		return 0;
	camp_one(m, o->arg, load_refused, o);
	return 1;
}

static void open_access(struct camp *m, size_t page, int open)
{
	if (m->c.prot == CAMP_R)
		camp_protect(m, page * m->width, m->width,
			     open ? PROT_READ | PROT_WRITE : PROT_READ);
}

static void do_load(struct camp *m, struct order *o, int all)
{
	if (is_refused(m, o))
		return;
	if (all)
		camp_all(m, load, o);
	else
		camp_one(m, o->arg, load, o);
	camp_touched(m, o->page);
}

static void do_store(struct camp *m, struct order *o)
{
	size_t at = o->page * m->width + o->arg % m->width;

	if (is_refused(m, o))
		return;
	open_access(m, o->page, 1);
	camp_one(m, o->arg, store, o);
	open_access(m, o->page, 0);
	camp_touched(m, o->page);
	m->truth[at] = (unsigned char)(1 + o->arg % 255);
	camp_changed(m, at, 1);
}

static void do_crowd(struct camp *m, struct order *o)
{
	uint32_t i;

	if (is_refused(m, o))
		return;
	open_access(m, o->page, 1);
	camp_all(m, store_slot, o);
	open_access(m, o->page, 0);
	camp_touched(m, o->page);
	for (i = 0; i < camp_threads(m); i++) {
		size_t at = o->page * m->width + slot(m, o, i);

		camp_pattern(m->truth + at, SLOT, o->arg + i);
		camp_changed(m, at, SLOT);
	}
}

/* It was written from end to end, by a pattern of @seed. */
static void written(struct camp *m, size_t page, uint64_t seed)
{
	camp_touched(m, page);
	m->lost[page] = 0;
	camp_pattern(m->truth + page * m->width, m->width, seed);
	camp_changed(m, page * m->width, m->width);
}

/*
 * A page that is moved over the place by mremap(2) may come a moment too late:
 * then what was written meanwhile is gone, and what the source had is there.
 */
static void take_either(struct camp *m, struct order *o)
{
	unsigned char *is = at_page(m, o->page), *now = m->truth, *old = m->zeros;
	const unsigned char *was = camp_expected(m, o->page);
	size_t i, base = o->page * m->width;

	memcpy(old + base, was, m->width);
	written(m, o->page, o->arg);
	for (i = base; i < base + m->width; i++, is++) {
		CHECKF(*is == now[i] || *is == old[i],
		       "page %zu: byte %zu is neither", o->page, i - base);
		now[i] = *is;
	}
	memset(old + base, 0, m->width);
	camp_changed(m, base, m->width);
}

static void do_race(struct camp *m, struct order *o)
{
	int is_moved = !camp_is_shared(&m->c) &&
		       (m->c.mremap || camp_is_file(&m->c));

	if (is_refused(m, o) || camp_threads(m) < 2)
		return;
	open_access(m, o->page, 1);
	camp_all(m, race, o);
	open_access(m, o->page, 0);
	if (is_moved)
		take_either(m, o);
	else
		written(m, o->page, o->arg);
}

static void do_write(struct camp *m, struct order *o, int discard)
{
	/* who discards private memory discards the loss with it; but of a file
	 * the next touch finds it again */
	int forgets = discard && (m->c.kind <= CAMP_STACK ||
				  m->c.kind == CAMP_HUGETLB);
	static unsigned char bytes[2 << 20];

	if (!forgets && is_refused(m, o))
		return;
	if (discard)
		camp_drop(m, o->page);
	if (forgets)
		m->lost[o->page] = 0;
	camp_pattern(bytes, m->width, o->arg);
	camp_write(m, o->page * m->width, bytes, m->width);
	written(m, o->page, o->arg);
}

static void do_protect(struct camp *m, struct order *o)
{
	camp_protect(m, o->page * m->width, m->width, PROT_NONE);
	camp_check_others(m, o->page);
	camp_protect(m, o->page * m->width, m->width, camp_prot(m));
}

/* A system call on a lost page fails, and nobody is killed; one on a good page
 * does what it does. */
static void do_call(struct camp *m, struct order *o)
{
	int fd = memfd_create("call", MFD_CLOEXEC), in = o->arg & 1;
	unsigned char *at = at_page(m, o->page);
	ssize_t n, want = m->lost[o->page] ? -1 : (ssize_t)m->width;

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)m->width), 0);
	n = pwrite(fd, at, m->width, 0);
	CHECKF(n == want && (n >= 0 || errno == EFAULT), "pwrite: %zd, %s", n,
	       n < 0 ? strerror(errno) : "no error");
	if (m->lost[o->page] && !camp_refusal(m, o->page))
		do_load(m, o, 0);
	if (!m->lost[o->page]) {
		CHECK_EQ(pwrite(fd, at, m->width, 0), m->width);
		open_access(m, o->page, 1);
		camp_pattern(at, in ? m->width : 0, o->arg);
		CHECK_EQ(pread(fd, at, m->width, 0), m->width);
		open_access(m, o->page, 0);
	}
	close(fd);
}

static int some_lost(const struct camp *m)
{
	return memchr(m->lost, 1, m->pages) != NULL;
}

static void do_again(struct camp *m)
{
	camp_check(m, camp_is_shared(&m->c));
	/* shared memory with a hole, or a file that was cut, is no region */
	if ((camp_is_shared(&m->c) && some_lost(m)) ||
	    (m->c.told && m->in_file < m->pages))
		return;
	CHECK_EQ(bez_region_remove(m->region), 0);
	camp_region_add(m);
}

static void do_remake(struct camp *m)
{
	camp_close(m);
	camp_open(m);
}

/* One byte is enough. */
static void do_spoil(struct camp *m, struct order *o)
{
	static unsigned char bytes[2 << 20];

	memcpy(bytes, m->source + o->page * m->width, m->width);
	bytes[(size_t)o->arg * 97 % m->width] ^= 0x80;
	camp_source_set(m, o->page, bytes);
}

/* Which page: of a file the last that it has, as all behind it goes, too. */
static size_t pick(const struct camp *m, const struct camp_step *s)
{
	size_t page = s->page % m->pages;

	if (camp_is_file(&m->c) && m->in_file &&
	    (s->op == CAMP_LOSE || s->op == CAMP_RUSH || s->op == CAMP_CROWD ||
	     s->op == CAMP_RACE))
		page = m->in_file - 1;
	return page;
}

void camp_do(struct camp *m, const struct camp_step *s)
{
	struct order o = { .page = pick(m, s), .arg = s->arg };

	switch ((enum camp_op)s->op) {
	case CAMP_LOOK:
		camp_check(m, 1);
		camp_check_attributes(m);
		break;
	case CAMP_LOSE:
		if (!camp_lose(m, o.page) && camp_is_file(&m->c))
			do_remake(m);
		break;
	case CAMP_RUSH:
		camp_lose(m, o.page);
		/* fall through */
	case CAMP_LOAD:
		do_load(m, &o, s->op == CAMP_RUSH);
		break;
	case CAMP_STORE:
		do_store(m, &o);
		break;
	case CAMP_CROWD:
		camp_lose(m, o.page);
		do_crowd(m, &o);
		break;
	case CAMP_RACE:
		camp_lose(m, o.page);
		do_race(m, &o);
		break;
	case CAMP_WRITE:
	case CAMP_DISCARD:
		do_write(m, &o, s->op == CAMP_DISCARD);
		break;
	case CAMP_PROTECT:
		do_protect(m, &o);
		break;
	case CAMP_FORK:
		camp_do_fork(m, s, o.page);
		break;
	case CAMP_CALL:
		do_call(m, &o);
		break;
	case CAMP_AGAIN:
		do_again(m);
		break;
	case CAMP_REMAKE:
		do_remake(m);
		break;
	case CAMP_SPOIL:
		do_spoil(m, &o);
		break;
	case CAMP_MEND:
		camp_source_set(m, o.page, m->truth + o.page * m->width);
		break;
	case CAMP_DIE:
		camp_do_die(m, s, o.page);
		break;
	case CAMP_OPS:
	default:
		CHECKF(0, "no such step: %u", s->op);
	}
	camp_check(m, 0);
}

/* ------------------------------------------------------------------ a case */

static size_t threads_now(void)
{
	DIR *dir = opendir("/proc/self/task");
	size_t count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;		/* . and .. */
}

static void start(struct camp *m, const struct camp_case *c)
{
	m->c = *c;
	see_start(c->mremap ? BEZ_START_NO_UFFD : 0);
	camp_open(m);
}

static void stop(struct camp *m)
{
	double end = see_seconds() + 10;

	camp_close(m);
	CHECK_EQ(bez_stop(), 0);
	/* what was joined is not gone yet */
	while (threads_now() > 1 && see_seconds() < end)
		sched_yield();
	CHECK_EQ(threads_now(), 1);
}

/* The first time is for the C library, which keeps what threads once had. */
_Noreturn void camp_run(const struct camp_case *c)
{
	static struct camp m;
	size_t maps, fds;
	uint32_t i;

	see_install();
	camp_lose_ready();
	start(&m, c);
	stop(&m);
	maps = see_maps();
	fds = see_fds();
	start(&m, c);
	for (i = 0; i < c->steps; i++) {
		atomic_store(&camp_progress->step, i);
		camp_do(&m, &c->step[i]);
	}
	atomic_store(&camp_progress->step, c->steps);
	camp_check(&m, 1);
	camp_check_attributes(&m);
	stop(&m);
	CHECK_EQ(see_fds(), fds);
	if (!SANITIZED)			/* that keeps books on threads */
		CHECK_EQ(see_maps(), maps);
	fflush(stdout);
	_exit(0);
}
