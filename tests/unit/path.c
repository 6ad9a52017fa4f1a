/* SPDX-License-Identifier: MIT */
/*
 * The path of a fault: a real touch of a lost page, while each system call of
 * the handler fails. Either the instruction goes on with the right byte, or
 * the former action gets the signal; the thread is as it was before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "region/table.h"
#include "repairing.h"

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM, EBADF,
			      EEXIST, ENOSYS };

static sigjmp_buf back;
static siginfo_t passed;

static void former(int sig, siginfo_t *info, void *context)
{
	(void)context;
	double_rest();
	passed = *info;
	siglongjmp(back, sig);
}

static void begin(uint32_t flags)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK };

	unit_need_poison();
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	repair_begin(flags);
}

static uint64_t mask_now(void)
{
	uint64_t mask = 0;

	CHECK_EQ(bz_sigmask(SIG_BLOCK, NULL, &mask), 0);
	return mask;
}

/* Touch the page: 0, or SIGBUS if the former action had it. */
static int touch(void)
{
	const unsigned char *at = repair_at + REPAIR_LOST * unit_page() + 333;
	int sig = sigsetjmp(back, 1);

	if (!sig) {
		struct bz_mm *mm = atomic_load(&bz_core.mm);
		unsigned char byte;

		memset(mm->repeats, 0, sizeof(mm->repeats));
		memset(&passed, 0, sizeof(passed));
		double_watch();
		byte = live_read(at);
		double_rest();
		CHECK_EQ(byte, live_byte(REPAIR_LOST * unit_page() + 333, 0));
	} else {
		CHECK_EQ(sig, SIGBUS);
		CHECK(passed.si_addr == at);
		CHECK_EQ(passed.si_code, live_code());
	}
	return sig;
}

/* What the thread and the table look like when nobody is inside. */
static void check_quiet(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	stack_t stack;
	uint32_t i;

	CHECK(!bz_walk_any(mm));
	for (i = 0; i < 4; i++)
		CHECK(!mm->walk[i].claim[0] && !mm->walk[i].mark &&
		      !mm->walk[i].placing);
	CHECK_EQ(mask_now(), 0);
	CHECK_EQ(sigaltstack(NULL, &stack), 0);
	CHECK(!(stack.ss_flags & SS_ONSTACK));
}

static struct bez_event last_event(void)
{
	static uint64_t seq;
	struct bez_event e[8];
	int r = bez_events(&seq, e, COUNT_OF(e));

	/* more than one, if it had to be touched again */
	CHECK(r >= 1);
	return e[r - 1];
}

static void every_call(void)
{
	uint32_t flags = *(const uint32_t *)tap_data(), n, calls;
	uint32_t went_on = 0, passed_on = 0;
	size_t e;

	begin(flags);
	/* the first time it may have to learn what memory it is */
	for (n = 0; n < 2; n++) {
		repair_lose();
		double_reset();
		CHECK_EQ(touch(), 0);
		calls = double_calls();
	}
	CHECK_EQ(last_event().outcome, BEZ_OUTCOME_REPLACED);
	repair_mend();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			struct bez_event event;
			int sig, good;

			repair_lose();
			double_reset();
			double_fail(n, errors[e]);
			sig = touch();
			CHECKF(double_lies() == 1, "call %u", n);
			check_quiet();
			event = last_event();
			good = unit_state(repair_at, REPAIR_LOST) == UNIT_GOOD;
			CHECKF(good == !sig, "call %u (%s) says %s", n,
			       double_name(repair_liar()), strerror(errors[e]));
			CHECK_EQ(event.outcome, sig ? BEZ_OUTCOME_DEFAULT :
						      BEZ_OUTCOME_REPLACED);
			CHECK_EQ(event.why != 0, sig != 0);
			CHECK_EQ(event.addr, (uint64_t)(repair_at +
				 REPAIR_LOST * unit_page() + 333));
			went_on += !sig;
			passed_on += sig != 0;
			repair_mend();
			if (sig)
				last_event();	/* of mending it */
		}
	tap_diag("%u calls; went on %u times, passed on %u times", calls,
		 went_on, passed_on);
	CHECK(went_on && passed_on);
}

/* No slot for as long as anybody may be inside: the former action, not an
 * abort and not for ever. */
static void full(void)
{
	struct bz_mm *mm;
	uint32_t i;

	begin(0);
	mm = atomic_load(&bz_core.mm);
	for (i = 0; i < BZ_WALKS; i++)
		CHECK(bz_walk_enter(mm, 100000000 + i, NULL, 0));
	repair_lose();
	double_clock(1000000000);
	CHECK_EQ(touch(), SIGBUS);
	double_reset();
	CHECK_EQ(mask_now(), 0);
	/* one leaves, and it is repaired */
	bz_walk_leave(mm, &mm->walk[BZ_WALKS / 2], NULL);
	CHECK_EQ(touch(), 0);
	CHECK_EQ(mm->walk[BZ_WALKS / 2].owner, 0);
}

/* Another thread has claimed it, and does not finish: the fault climbs after
 * three rounds, whatever the futex says, and the claim stays where it is. */
static void claimed(void)
{
	static const int says[] = { ETIMEDOUT, EINTR, EAGAIN, EPERM };
	struct bz_walk *other;
	struct bez_event event;
	uint64_t word;
	size_t i;

	begin(0);
	other = bz_walk_enter(atomic_load(&bz_core.mm), 1, NULL, 0);
	word = (uint64_t)(repair_at + REPAIR_LOST * unit_page()) | 12 << 2 | 2;
	atomic_store(&other->claim[0], word);
	repair_lose();
	for (i = 0; i < COUNT_OF(says); i++) {
		struct double_rule futex = { .nr = SYS_futex, .err = says[i] };

		double_reset();
		double_clock(50000000);
		double_rule(&futex);
		CHECK_EQ(touch(), SIGBUS);
		double_reset();
		event = last_event();
		CHECK_EQ(event.outcome, BEZ_OUTCOME_DEFAULT);
		CHECK_EQ(event.why, BEZ_OUTCOME_CLAIM_TIMEOUT);
		CHECK(event.took_ns >= 6000000000u);
		CHECK_EQ(other->claim[0], word);
		CHECK_EQ(other->waiters, 0);
		CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_CLOSED);
	}
	bz_walk_unclaim(other, 1);
	CHECK_EQ(touch(), 0);
	bz_walk_leave(atomic_load(&bz_core.mm), other, NULL);
	check_quiet();
}

/* The loop guard: the same page again and again climbs. On a slow machine the
 * losses would be no loop, so no time passes. */
static void loops(void)
{
	struct bez_event event;
	uint32_t i;

	begin(0);
	double_stop_clock();
	for (i = 0; i < 40; i++) {
		int sig;

		repair_lose();
		double_watch();
		sig = sigsetjmp(back, 1);
		if (!sig)
			live_read(repair_at + REPAIR_LOST * unit_page());
		double_rest();
		event = last_event();
		if (sig)
			break;
		CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	}
	CHECK_EQ(i, 16);
	CHECK_EQ(event.why, BEZ_OUTCOME_LOOPING);
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_CLOSED);
	check_quiet();
}

static uint32_t written;

/* The program discards the page and writes to it. */
static void write_anew(void)
{
	unsigned char *page = repair_at + REPAIR_LOST * unit_page();

	if (madvise(page, unit_page(), MADV_DONTNEED))
		return;
	memcpy(page, repair_at, unit_page());
	page[333] = live_byte(REPAIR_LOST * unit_page() + 333, 0);
	written++;
}

/* What it wrote stays, and is there for good. */
static void check_written(void)
{
	unsigned char *page = repair_at + REPAIR_LOST * unit_page();

	CHECK(written);
	CHECK_EQ(last_event().outcome, BEZ_OUTCOME_ALREADY_GOOD);
	CHECK(!memcmp(page, repair_at, 333));
	CHECK(!memcmp(page + 334, repair_at + 334, unit_page() - 334));
	check_quiet();
}

/* The last moment: the handler has looked, and the page is not empty yet. */
static void before_emptied(long nr, const long arg[6])
{
	if (nr == SYS_ioctl && (unsigned long)arg[1] == UFFDIO_REGISTER)
		write_anew();
}

static void written_anew(void)
{
	begin(0);
	repair_lose();
	double_before(before_emptied);
	CHECK_EQ(touch(), 0);
	double_reset();
	check_written();
}

static void while_it_forks(long nr, const long arg[6])
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	if (nr == SYS_futex && arg[0] == (long)&mm->gate && !written)
		write_anew();
}

/* Another thread forks, and takes so long that the handler waits for it and
 * then goes the way that is not kept apart from forks. */
static void written_while_it_forks(void)
{
	struct bz_mm *mm;

	begin(*(const uint32_t *)tap_data());
	mm = atomic_load(&bz_core.mm);
	repair_lose();
	atomic_store(&mm->gate, (uint32_t)getppid());
	double_before(while_it_forks);
	CHECK_EQ(touch(), 0);
	double_reset();
	atomic_store(&mm->gate, 0);
	check_written();
}

/* The mirror can not be read any more when the page is empty already: it is
 * closed, and built after all. And what is used from where it lies stays. */
static void mirror_is_lost_late(void)
{
	const struct double_rule cannot = { .nr = SYS_ioctl,
					    .what = UFFDIO_COPY, .nth = 1,
					    .err = EFAULT };
	uint32_t i;

	begin(0);
	for (i = 0; i < 2; i++) {
		repair_lose();
		double_reset();
		if (i)
			double_rule(&cannot);
		CHECK_EQ(touch(), 0);
		CHECK_EQ(last_event().outcome, BEZ_OUTCOME_REPLACED);
		CHECK_EQ(double_count(SYS_ioctl, UFFDIO_COPY), 1 + i);
		CHECK_EQ(double_count(SYS_ioctl, UFFDIO_POISON), i);
		CHECK_EQ(live_wrong(repair_at, REPAIR_PAGES * unit_page(), 0),
			 0);
		CHECK_EQ(live_wrong(repair_copy, REPAIR_PAGES * unit_page(), 0),
			 0);
		check_quiet();
	}
}

static int from_mirror;

static void looks_at_copy(long nr, const long arg[6])
{
	const struct uffdio_copy *c = (const void *)arg[2];

	if (nr == SYS_ioctl && (unsigned long)arg[1] == UFFDIO_COPY)
		from_mirror = c->src - (uint64_t)repair_copy <
			      REPAIR_PAGES * unit_page();
}

/* Where an empty page can not be poisoned again, nothing may fail late. */
static void nothing_late(void)
{
	const uint32_t *kernel = tap_data();

	double_kernel(*kernel);
	double_watch();
	begin(0);
	repair_lose();
	double_before(looks_at_copy);
	CHECK_EQ(touch(), 0);
	CHECK_EQ(double_count(SYS_ioctl, UFFDIO_COPY), 1);
	CHECK_EQ(from_mirror, !*kernel);
}

static uint32_t closings;

/* Before the first call of that kind, the descriptor that it is about. */
static void close_before(long nr, const long arg[6])
{
	const struct double_rule *kind = tap_data();

	if (!closings && nr == kind->nr && arg[1] == kind->what)
		closings += !close((int)arg[0]);
}

/* The program closes all descriptors, and the new one, too, before it is ready:
 * no reason to do without for ever. */
static void closed_while_opened(void)
{
	struct bez_status status = { .size = sizeof(status) };
	struct bz_mm *mm;

	begin(0);
	mm = atomic_load(&bz_core.mm);
	CHECK_EQ(bez_status(&status), 0);
	if (status.placement == BEZ_PLACEMENT_MREMAP)
		tap_skip("no userfaultfd here");
	CHECK_EQ(close(atomic_load(&mm->uffd) - 1), 0);
	repair_lose();
	double_before(close_before);
	CHECK_EQ(touch(), 0);
	double_reset();
	CHECK_EQ(closings, 1);
	CHECK_EQ(last_event().outcome, BEZ_OUTCOME_REPLACED);
	CHECK(atomic_load(&mm->uffd) > 0);
	CHECK_EQ(bez_status(&status), 0);
	CHECK(status.placement != BEZ_PLACEMENT_MREMAP);
	check_quiet();
}

static const struct double_rule shakes_hands = { .nr = SYS_ioctl,
						 .what = (long)UFFDIO_API },
				takes_it = { .nr = SYS_fcntl,
					     .what = F_SETOWN },
				lifts_it = { .nr = SYS_fcntl,
					     .what = F_DUPFD_CLOEXEC };

/* As deep as faults may be, and one more, which is passed on. */
static struct bez_event one_too_deep(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint32_t i;

	repair_lose();
	for (i = 0; i < BZ_DEPTH; i++)
		unit_enter(mm);
	if (!sigsetjmp(back, 1)) {
		live_read(repair_at + REPAIR_LOST * unit_page() + 333);
		CHECK(0);
	}
	check_quiet();
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_NESTED), 1);
	return last_event();
}

static void too_deep(void)
{
	struct bez_event event;

	begin(0);
	event = one_too_deep();
	CHECK_EQ(event.outcome, BEZ_OUTCOME_NESTED);
	CHECK_EQ(event.addr,
		 (uint64_t)repair_at + REPAIR_LOST * unit_page() + 333);
	CHECK_EQ(event.width, unit_page());
	CHECK(event.region && !strcmp(event.name, "placed"));
}

/* The region table itself is lost: there is no name, and an end to it. */
static void too_deep_for_the_table(void)
{
	struct bez_event event;
	uint64_t root;

	begin(0);
	root = (uint64_t)atomic_load(&bz_table.root);
	live_poison((void *)(root & -(uint64_t)unit_page()));
	event = one_too_deep();
	CHECK_EQ(event.outcome, BEZ_OUTCOME_NESTED);
	CHECK_EQ(event.addr & -(uint64_t)unit_page(),
		 root & -(uint64_t)unit_page());
	CHECK(!event.region && !event.name[0]);
}

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;
static const uint32_t newest = 0, older = DOUBLE_6_1;

static const struct tap_case cases[] = {
	{ .name = "every call fails: userfaultfd", .run = every_call,
	  .data = &by_uffd },
	{ .name = "every call fails: mremap", .run = every_call,
	  .data = &by_mremap },
	{ .name = "no slot is free", .run = full },
	{ .name = "claimed by one that does not finish", .run = claimed },
	{ .name = "the same page again and again", .run = loops },
	{ .name = "closed while it is opened, handshake",
	  .run = closed_while_opened, .data = &shakes_hands },
	{ .name = "closed while it is opened, owner",
	  .run = closed_while_opened, .data = &takes_it },
	{ .name = "closed while it is opened, number",
	  .run = closed_while_opened, .data = &lifts_it },
	{ .name = "too deep", .run = too_deep },
	{ .name = "too deep, the table is lost", .run = too_deep_for_the_table },
	{ .name = "written anew after the look", .run = written_anew },
	{ .name = "the mirror is lost while it is copied",
	  .run = mirror_is_lost_late },
	{ .name = "a mirror is used from where it lies, 6.6",
	  .run = nothing_late, .data = &newest },
	{ .name = "a mirror is used from where it lies, but not before",
	  .run = nothing_late, .data = &older },
	{ .name = "written anew while another thread forks: userfaultfd",
	  .run = written_while_it_forks, .data = &by_uffd },
	{ .name = "written anew while another thread forks: mremap",
	  .run = written_while_it_forks, .data = &by_mremap },
};
TAP_MAIN(cases)
