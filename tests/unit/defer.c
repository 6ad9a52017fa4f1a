/* SPDX-License-Identifier: MIT */
/* The hand-off to the worker: every state of a request, the queue of early
 * notices, and the real worker under load. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/guard.h"
#include "unit.h"
#include "worker/defer.h"
#include "worker/worker.h"

#define WORKER	999999

static struct bz_mm *mm;
static struct bz_walk *w;
static unsigned char *stage;

static int never(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst, (void)len, (void)offset, (void)arg;
	CHECK(0);
	return -1;
}

static struct bz_source source = { .kind = BEZ_SOURCE_DEFERRED, .fill = never,
				   .deadline_ns = 100000000 };

static void begin(void)
{
	mm = unit_mm();
	w = unit_enter(mm);
	stage = mmap(NULL, unit_page(), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(stage != MAP_FAILED);
	unit_patience(30);
}

/* As the path does: use what is there, and wipe it. */
static int take(struct bz_mm *of, struct bz_walk *walk,
		const struct bz_source *from, uint64_t offset, uint64_t len,
		uint64_t taken_ns, void *to)
{
	void *at = to;
	int r = bz_defer(of, walk, from, offset, len, taken_ns, &at);

	if (!r && at != to) {
		memcpy(to, at, len);
		memset(at, 0, len);
	}
	return r;
}

static int defer(void)
{
	return take(mm, w, &source, 5 * unit_page(), unit_page(),
			bz_now_ns(), stage);
}

/* --------------------------------------------- a worker played by the test */

static uint32_t naps, act_at;
static void (*act)(struct bz_request *);

/* Between the walker's looks: at its n-th sleep the worker does something. */
static void while_it_waits(long nr, const long arg[6])
{
	if (nr != SYS_futex || arg[1] != FUTEX_WAIT_PRIVATE)
		return;
	if (++naps == act_at)
		act(&w->request);
}

static void play(void (*what)(struct bz_request *), uint32_t at)
{
	static const struct double_rule no_sleep = { .nr = SYS_futex,
						     .what = FUTEX_WAIT_PRIVATE,
						     .err = EAGAIN };

	naps = 0;
	act = what;
	act_at = at;
	double_reset();
	double_stop_clock();
	double_clock(10000000);
	double_rule(&no_sleep);
	double_before(while_it_waits);
	double_watch();
}

static void answers(struct bz_request *req)
{
	CHECK_EQ(req->state, BZ_REQ_POSTED);
	CHECK_EQ(req->offset, 5 * unit_page());
	CHECK(req->fill == never);
	memset(bz_mm_page(mm, w, BZ_PAGE_DEFER, 1), 0x5a, unit_page());
	req->result = 0;
	atomic_store(&req->state, BZ_REQ_DONE);
}

static void refuses(struct bz_request *req)
{
	req->result = -EIO;
	atomic_store(&req->state, BZ_REQ_DONE);
}

static void runs(struct bz_request *req)
{
	CHECK_EQ(req->state, BZ_REQ_POSTED);
	atomic_store(&req->state, BZ_REQ_RUNNING);
}

static void comes_back(struct bz_request *req)
{
	atomic_store(&req->state, BZ_REQ_IDLE);
}

static void nothing(struct bz_request *req)
{
	(void)req;
}

static void answered(void)
{
	const unsigned char *page;
	size_t i;

	begin();
	atomic_store(&mm->worker_tid, WORKER);
	atomic_store(&w->mark, 77);
	play(answers, 3);
	CHECK_EQ(defer(), 0);
	double_reset();
	page = bz_mm_page(mm, w, BZ_PAGE_DEFER, 1);
	for (i = 0; i < unit_page(); i++)
		CHECK(stage[i] == 0x5a && !page[i]);
	CHECK_EQ(w->request.state, BZ_REQ_IDLE);
	CHECK_EQ(w->request.mark, 77);
	CHECK_EQ(mm->posted[0], 1ull << (w - mm->walk));
	CHECK_EQ(mm->bell, 1);
	play(refuses, 1);
	CHECK_EQ(defer(), -EIO);
	double_reset();
	CHECK_EQ(w->request.state, BZ_REQ_IDLE);
}

/* Too late before the worker took it: taken back. After: left to it. */
static void too_late(void)
{
	uint32_t state, bell = 0;

	begin();
	atomic_store(&mm->worker_tid, WORKER);
	play(nothing, 1);
	CHECK_EQ(defer(), -ETIMEDOUT);
	double_reset();
	CHECK(naps >= 5);
	CHECK_EQ(w->request.state, BZ_REQ_IDLE);

	play(runs, 2);
	CHECK_EQ(defer(), -ETIMEDOUT);
	double_reset();
	CHECK_EQ(w->request.state, BZ_REQ_ABANDONED);
	/* until it comes back, this slot asks nothing, and waits */
	for (state = BZ_REQ_POSTED; state <= BZ_REQ_ABANDONED; state++) {
		if (state == BZ_REQ_DONE)
			continue;
		atomic_store(&w->request.state, state);
		bell = mm->bell;
		play(nothing, 1);
		CHECK_EQ(defer(), -EBUSY);
		double_reset();
		CHECK(naps >= 5);
		CHECK_EQ(mm->bell, bell);
		CHECK_EQ(w->request.state, state);
	}
	/* when it comes back in time, the next is asked for */
	atomic_store(&w->request.state, BZ_REQ_ABANDONED);
	play(comes_back, 3);
	CHECK_EQ(defer(), -ETIMEDOUT);
	double_reset();
	CHECK_EQ(mm->bell, bell + 1);
	/* an answer that nobody fetched is of no use any more */
	atomic_store(&w->request.state, BZ_REQ_DONE);
	play(answers, 1);
	CHECK_EQ(defer(), 0);
	double_reset();
	/* the deadline is over before it is asked */
	source.deadline_ns = 0;
	play(nothing, 1);
	CHECK_EQ(defer(), -ETIMEDOUT);
	double_reset();
	CHECK_EQ(w->request.state, BZ_REQ_IDLE);
}

/* Whatever the futex says: the deadline holds, and the answer is fetched. */
static void futex_fails(void)
{
	static const int errors[] = { EAGAIN, EINTR, ETIMEDOUT, EINVAL, EPERM,
				      ENOSYS, EFAULT };
	struct double_rule rule = { .nr = SYS_futex };
	size_t e;

	begin();
	atomic_store(&mm->worker_tid, WORKER);
	atomic_store(&mm->asleep, 1);
	for (e = 0; e < COUNT_OF(errors); e++) {
		double_reset();
		double_stop_clock();
		double_clock(1000000);
		rule.err = errors[e];
		double_rule(&rule);
		double_watch();
		CHECK_EQ(defer(), -ETIMEDOUT);
		/* one to wake the worker, the others to wait */
		CHECK_EQ(double_count(SYS_futex, FUTEX_WAKE_PRIVATE), 1);
		CHECK(double_count(SYS_futex, FUTEX_WAIT_PRIVATE) >= 10);
		double_reset();
		CHECK_EQ(w->request.state, BZ_REQ_IDLE);
	}
}

static void nobody(void)
{
	begin();
	CHECK_EQ(defer(), -EBUSY);
	/* nor itself, in a fault of its own */
	atomic_store(&mm->worker_tid, (int32_t)bz_walk_tid(w));
	w->depth = 2;
	CHECK_EQ(defer(), -EBUSY);
	CHECK_EQ(w->request.state, BZ_REQ_IDLE);
	CHECK_EQ(mm->bell, 0);
}

static int calls;

static int counts(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset, (void)arg;
	memset(dst, 1, len);
	return calls++;
}

/* The worker calls by itself in normal context, and not in its handler: there it
 * has interrupted on_lost, which may hold anything. */
static void itself(void)
{
	begin();
	source.fill = counts;
	atomic_store(&mm->worker_tid, (int32_t)bz_walk_tid(w));
	CHECK_EQ(defer(), 0);
	CHECK_EQ(calls, 1);
	bz_walk_leave(mm, w, NULL);
	w = bz_walk_enter(mm, (uint32_t)bz_gettid(), __builtin_frame_address(0),
			  0);
	CHECK(w);
	CHECK_EQ(w->depth, 1);
	CHECK_EQ(defer(), -EBUSY);
	CHECK_EQ(calls, 1);
}

/* ----------------------------------------------------------------- notices */

static void notices(void)
{
	uint64_t page, base = 0x7f0000000000;
	uint32_t i, set = 0;

	begin();
	page = unit_page();
	for (i = 0; i < BZ_NOTICES; i++) {
		CHECK_EQ(bz_notice(mm, base + i * page + 123, 12), 0);
		/* the same once more is no second */
		CHECK_EQ(bz_notice(mm, base + i * page, 12), 0);
	}
	CHECK_EQ(bz_notice(mm, base + i * page, 12), -ENOSPC);
	CHECK_EQ(bz_notice(mm, base + 5 * page, 12), 0);
	for (i = 0; i < BZ_NOTICES; i++) {
		CHECK_EQ(mm->notice[i] & -page, base + i * page);
		set += mm->notice[i] != 0;
	}
	CHECK_EQ(set, BZ_NOTICES);
	atomic_store(&mm->notice[9], 0);
	CHECK_EQ(bz_notice(mm, base + 100 * page, 12), 0);
	CHECK_EQ(mm->notice[9] & -page, base + 100 * page);
	CHECK_EQ(mm->bell, 2 * BZ_NOTICES + 2);
}

/* --------------------------------------------------------- the real worker */

static _Atomic uint32_t served, gate, inside;

static int serve(void *dst, size_t len, uint64_t offset, void *arg)
{
	memset(dst, (int)(uintptr_t)arg, len);
	atomic_fetch_add(&served, 1);
	return offset == 7 * unit_page() ? -EIO : 0;
}

static int hangs(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset, (void)arg;
	atomic_store(&inside, 1);
	while (!atomic_load(&gate))
		sched_yield();
	memset(dst, 0x77, len);
	return 0;
}

static void started(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_NO_EARLY_KILL | BEZ_START_NO_UFFD;
	CHECK_EQ(bez_start(&options), 0);
	mm = atomic_load(&bz_core.mm);
	unit_patience(50);
}

static void *asks(void *arg)
{
	struct bz_walk *mine = unit_enter(mm);
	uint64_t id = (uintptr_t)arg, offset;
	unsigned char *mine_stage = bz_mm_page(mm, mine, BZ_PAGE_STAGE, 1);
	struct bz_source s = { .kind = BEZ_SOURCE_DEFERRED, .fill = serve,
			       .arg = arg, .deadline_ns = 20000000000u };
	size_t i;

	for (offset = 0; offset < 400; offset++) {
		int r = take(mm, mine, &s, offset * unit_page(),
				 unit_page(), bz_now_ns(), mine_stage);

		CHECK_EQ(r, offset == 7 ? -EIO : 0);
		for (i = 0; i < unit_page() && !r; i += 97)
			CHECK_EQ(mine_stage[i], id);
	}
	bz_walk_leave(mm, mine, NULL);
	return NULL;
}

static void served_all(void)
{
	pthread_t t[4];
	uintptr_t i;

	started();
	for (i = 0; i < COUNT_OF(t); i++)
		CHECK_EQ(pthread_create(&t[i], NULL, asks, (void *)(i + 1)), 0);
	for (i = 0; i < COUNT_OF(t); i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(served, 400 * COUNT_OF(t));
	CHECK_EQ(bez_stop(), 0);
}

/* A callback that does not come back in time; when it does, its page is wiped
 * and the slot may ask again. The region stays marked until then. */
static void forgotten(void)
{
	struct bz_source s = { .kind = BEZ_SOURCE_DEFERRED, .fill = hangs,
			       .deadline_ns = 2000000 };
	struct bz_walk *me = NULL;
	unsigned char *page, mine[65536];
	size_t i;

	started();
	w = unit_enter(mm);
	atomic_store(&w->mark, 3);
	/* too early for the worker to have begun: once more */
	do
		CHECK_EQ(take(mm, w, &s, 0, unit_page(), bz_now_ns(), mine),
			 -ETIMEDOUT);
	while (atomic_load(&w->request.state) == BZ_REQ_IDLE);
	CHECK_EQ(w->request.state, BZ_REQ_ABANDONED);
	while (!atomic_load(&inside))
		sched_yield();
	for (i = 0; i < BZ_WALKS; i++)
		if (bz_walk_tid(&mm->walk[i]) == (uint32_t)mm->worker_tid)
			me = &mm->walk[i];
	CHECK(me);
	CHECK_EQ(me->mark, 3);
	CHECK_EQ(take(mm, w, &s, 0, unit_page(), bz_now_ns(), mine),
		 -EBUSY);
	atomic_store(&gate, 1);
	while (atomic_load(&w->request.state) != BZ_REQ_IDLE ||
	       atomic_load(&me->mark))
		sched_yield();
	page = bz_mm_page(mm, w, BZ_PAGE_DEFER, 1);
	for (i = 0; i < unit_page(); i++)
		CHECK_EQ(page[i], 0);
	s.deadline_ns = 20000000000u;
	CHECK_EQ(take(mm, w, &s, 0, unit_page(), bz_now_ns(), mine), 0);
	CHECK_EQ(mine[17], 0x77);
	bz_walk_unmark(w);
	bz_walk_leave(mm, w, NULL);
	CHECK_EQ(bez_stop(), 0);
}

/* A callback that meets a lost page is abandoned; the worker lives. */
static int is_lost(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	memcpy(dst, arg, len);
	return 0;
}

static void lost(void)
{
	struct bz_source s = { .kind = BEZ_SOURCE_DEFERRED, .fill = is_lost,
			       .deadline_ns = 20000000000u };
	int fd = memfd_create("nothing", MFD_CLOEXEC), i;
	unsigned char mine[65536];

	started();
	s.arg = mmap(NULL, unit_page(), PROT_READ, MAP_SHARED, fd, 0);
	CHECK(s.arg != MAP_FAILED);
	w = unit_enter(mm);
	for (i = 0; i < 20; i++)
		CHECK_EQ(take(mm, w, &s, 0, unit_page(), bz_now_ns(),
				  mine), BZ_GUARD_LOST);
	s.fill = serve;
	CHECK_EQ(take(mm, w, &s, 0, unit_page(), bz_now_ns(), mine), 0);
	bz_walk_leave(mm, w, NULL);
	CHECK_EQ(bez_stop(), 0);
}

/* A notice about memory of no region comes to nothing, and is told so. */
static void stale_notice(void)
{
	uint32_t i;

	started();
	for (i = 0; i < 200; i++)
		if (bz_notice(mm, (uint64_t)&mm->threads, 12))
			i--;
	while (!bez_outcome_count(BEZ_OUTCOME_STALE))
		sched_yield();
	for (i = 0; i < BZ_NOTICES; i++)
		while (atomic_load(&mm->notice[i]))
			sched_yield();
	CHECK_EQ(bez_stop(), 0);
	CHECK(!bz_walk_any(mm));
}

static const struct tap_case cases[] = {
	{ .name = "answered", .run = answered },
	{ .name = "too late", .run = too_late },
	{ .name = "the futex fails", .run = futex_fails },
	{ .name = "nobody to ask", .run = nobody },
	{ .name = "the worker asks", .run = itself },
	{ .name = "early notices", .run = notices },
	{ .name = "the worker serves all", .run = served_all },
	{ .name = "a callback that hangs", .run = forgotten },
	{ .name = "a callback that is lost", .run = lost },
	{ .name = "a notice about nothing", .run = stale_notice },
};
TAP_MAIN(cases)
