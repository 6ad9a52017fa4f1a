/* SPDX-License-Identifier: MIT */
/*
 * System calls that meet a lost page: what the kernel says of it, and what bezoar
 * makes of that (bez_recover(3)). Memory by call.
 */
#define _GNU_SOURCE
#include "calls.h"
#include "live.h"
#include "memory.h"
#include "poison.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

struct point {
	const struct kind *kind;
	const struct call *call;
	int foreign;			/* another has lost the page */
};

/* What @call has moved: @n bytes from @from on. */
static void check_moved(const struct memory *m, const struct call *call,
			size_t from, size_t n, const unsigned char *other)
{
	if (call->into) {
		check_bytes(m, from, n, other);
		return;
	}
	if (!call->word)
		CHECK(!memcmp(other, m->mirror + from, n));
	check_bytes(m, m->len, 0, NULL);
}

/* It fails, or is short, and nobody is signalled; it goes on when the library has
 * been asked. */
static void by_call(void)
{
	const struct point *p = tap_data();
	const struct call *call = p->call;
	const size_t n = call->word ? 4 : 2 * PAGE;
	unsigned char *other = for_all(2 * PAGE);
	struct memory m;
	size_t from;

	begin(&m, p->kind);
	ring_open();
	from = m.bad - (call->word ? 0 : PAGE);
	memset(other, 0xee, 2 * PAGE);
	lose(&m);
	CHECK_EQ(call->run(m.at + m.bad, PAGE, other), -EFAULT);
	if (!call->word)
		CHECK_EQ(call->run(m.at + from, n, other),
			 call->whole ? -EFAULT : (ssize_t)PAGE);
	CHECK_EQ(replaced(), 0);
	if (!can_be_replaced(&m)) {
		CHECK_EQ(bez_recover(m.at + from, n), -EFAULT);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_LEFT), 1);
		CHECK_EQ(call->run(m.at + m.bad, PAGE, other), -EFAULT);
	} else {
		CHECK_EQ(bez_recover(m.at + from, n), 0);
		CHECK_EQ(replaced(), 1);
		CHECK_EQ(call->run(m.at + from, n, other), n);
		check_moved(&m, call, from, n, other);
		CHECK((pagemap(m.at + m.bad) & PAGEMAP_PFN) != m.frame);
	}
	CHECK_EQ(sigbus.count, 0);
	undo(&m);
}

/* ---------------------------------------------- what has the page, and no address */

/*
 * Of a page that is pinned the kernel says that all is well, or that it could do
 * nothing, and has taken it away from the program all the same; but for a huge page,
 * which it can not split.
 */
static void lose_pinned(struct memory *m, int foreign)
{
	note(m);
	if (foreign)
		inject_pfn("corrupt-pfn", m->frame);
	else
		poison_untold(m->at + m->bad);
	CHECK(corrupted_kib() > m->corrupted);
}

/*
 * A ring with a registered buffer goes on with the page that it has, and nobody is
 * told: what it takes is from there, and what it brings does not arrive. That is so
 * after the program has got another page in its place, too, until the buffer is
 * registered anew.
 */
static void by_fixed(void)
{
	const struct point *p = tap_data();
	const struct call *call = p->call;
	unsigned char *other = for_all(PAGE), *news = for_all(PAGE), *bad;
	struct memory m;

	begin(&m, p->kind);
	bad = m.at + m.bad;
	ring_open();
	CHECK_EQ(ring_fix(m.at, m.len), 0);
	lose_pinned(&m, p->foreign);
	memset(other, 0xee, PAGE);
	CHECK_EQ(call->run(bad, PAGE, other), PAGE);
	if (p->kind->splits) {
		CHECK_EQ(bez_recover(bad, PAGE), 0);
		CHECK_EQ(replaced(), 0);
		check_bytes(&m, m.bad, call->into ? PAGE : 0, other);
	} else if (!can_be_replaced(&m)) {
		CHECK_EQ(bez_recover(bad, PAGE), -EFAULT);
		check_told(&m, bad + 123);
	} else {
		CHECK_EQ(bez_recover(bad, PAGE), 0);
		CHECK_EQ(replaced(), 1);
		check_bytes(&m, m.len, 0, NULL);
		memset(bad, 0x33, PAGE);
		memset(other, 0xdd, PAGE);
		CHECK_EQ(call->run(bad, PAGE, other), PAGE);
		memset(news, 0x33, PAGE);
		check_bytes(&m, m.bad, PAGE, news);
		CHECK_EQ(ring_unfix(), 0);
		CHECK_EQ(ring_fix(m.at, m.len), 0);
		CHECK_EQ(call->run(bad, PAGE, other), PAGE);
		check_bytes(&m, m.bad, PAGE, other);
	}
	CHECK_EQ(ring_unfix(), 0);
	undo(&m);
}

/* So it is of a page that was put into a pipe before: whoever reads it there is
 * given what it was. */
static void in_a_pipe(void)
{
	const struct kind *kind = tap_data();
	unsigned char *got = for_all(PAGE);
	struct iovec from;
	struct memory m;
	int fds[2];

	begin(&m, kind);
	from = (struct iovec){ m.at + m.bad, PAGE };
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(vmsplice(fds[1], &from, 1, 0), PAGE);
	lose_pinned(&m, 0);
	if (can_be_replaced(&m)) {
		CHECK_EQ(bez_recover(m.at + m.bad, PAGE), 0);
		CHECK_EQ(replaced(), !kind->splits);
		memset(m.at + m.bad, 0x33, PAGE);
	}
	CHECK_EQ(read(fds[0], got, PAGE), PAGE);
	if (kind->splits)
		CHECK(page_is(got, 0x33));
	else
		CHECK(page_is(got, fill_of(m.bad / PAGE)));
	CHECK_EQ(sigbus.count, 0);
	close(fds[0]);
	close(fds[1]);
	undo(&m);
}

static struct tap_case cases[128];
static size_t count;

static void add(void (*run)(void), const void *data, const char *kind,
		const char *what)
{
	static char names[128][80];

	snprintf(names[count], sizeof(names[0]), "%s: %s", kind, what);
	cases[count] = (struct tap_case){ .name = names[count], .run = run,
					  .data = data };
	count++;
}

static void add_calls(const struct kind *kind)
{
	static struct point points[128];
	static size_t n;
	size_t i, foreign;
	char name[64];

	for (i = 0; i < n_calls; i++)
		for (foreign = 0; foreign <= (size_t)calls[i].fixed; foreign++) {
			points[n] = (struct point){ kind, &calls[i], (int)foreign };
			snprintf(name, sizeof(name), "%s%s", calls[i].name,
				 foreign ? ", foreign" : "");
			add(calls[i].fixed ? by_fixed : by_call, &points[n++],
			    kind->name, name);
		}
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; i < KINDS; i++) {
		add_calls(&kinds[i]);
		add(in_a_pipe, &kinds[i], kinds[i].name, "lost in a pipe");
	}
	return tap_main(cases, count, argc, argv);
}
